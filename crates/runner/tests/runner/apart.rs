//! What a hostile script can see and reach: nothing of the runner, the server or another job.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use keyferry_delivery::socket::{Answer, Question};

use crate::server::{JOB_TOKEN, Running, Server, assert_succeeded, script};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_namespaces_sees_neither_files_nor_processes_of_others() {
    let server = Server::start().await;
    let runner = Running::start(&server, |_| ());
    let data = runner.folder.parent().unwrap().join("data");
    let job = server.queue(
        &script(&format!(
            "cat {data}/root.key 2>&1 || true\nls -R {data} {work} / /root 2>&1 | head -200 || true\n\
             for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; tr '\\0' '\\n' < $p/environ | grep -c CARGO || true; done 2>/dev/null\n\
             echo count $(ls -d /proc/[0-9]* | wc -l)\n\
             touch /usr/x 2>&1 || true\ntouch /x 2>&1 || true\ncat /etc/shadow 2>&1 || true\n\
             mount -t tmpfs x /mnt 2>&1 || true\necho 1 > /proc/sys/vm/drop_caches 2>&1 || true\necho finished",
            data = data.display(),
            work = runner.folder.display(),
        )),
        &[],
    );
    let finished = server.wait_for_end(&job).await;
    let log = server.log(&job);
    assert_succeeded(&finished, &log);
    assert!(log.contains("finished"), "{log}");
    assert!(!log.contains("CANARY-ROOT-KEY"), "{log}");
    assert!(!log.contains("root:"), "{log}");
    assert!(!log.contains("deps/runner"), "{log}");
    assert!(!log.contains("Cargo.toml"), "{log}");
    assert!(!std::path::Path::new("/usr/x").exists() && !std::path::Path::new("/x").exists());
    let count = log.lines().find_map(|line| line.strip_prefix("count ")).unwrap();
    assert!(count.parse::<u32>().unwrap() < 10, "{count} processes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_listed_one_and_descriptors_are_three() {
    for use_namespaces in [true, false] {
        let server = Server::start().await;
        let job = server
            .queue(&script("env -0 | tr '\\0' '\\n'\nls -l /proc/self/fd; echo finished"), &[]);
        let _runner = Running::start(&server, |settings| settings.use_namespaces = use_namespaces);
        server.wait_for_end(&job).await;
        let log = server.log(&job);
        assert!(log.contains("finished"), "{log}");
        for foreign in ["CARGO", "RUST", "SSH_AUTH_SOCK", JOB_TOKEN, "kf_runner"] {
            assert!(!log.contains(foreign), "{foreign}: {log}");
        }
        // 0, 1, 2, and the folder that `ls` itself reads.
        let descriptors = log.lines().filter(|line| line.contains(" -> ")).count();
        assert!(descriptors <= 4, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_variables_act_on_nothing_outside_its_namespaces() {
    let server = Server::start().await;
    let runner = Running::start(&server, |_| ());
    let outside = runner.folder.parent().unwrap().join("escaped");
    let outside = outside.display();
    // The first step leaves programs under the names of what is started outside the namespaces;
    // the second is started with a path that finds them first.
    let yaml = format!(
        r#"variables:
  - {{key: PATH, value: "tools:/usr/sbin:/usr/bin:/sbin:/bin"}}
  - {{key: BASH_ENV, value: tools/env}}
  - {{key: LD_PRELOAD, value: ./tools/absent.so}}
stages:
  s:
    jobs:
      j:
        steps:
          prepare:
            step: Command
            with:
              run: |
                mkdir tools
                echo 'touch {outside} 2>/dev/null || true' > tools/env
                for name in setsid bwrap bash; do
                  printf '#!/bin/sh\ntouch {outside} 2>/dev/null\nexec /usr/bin/%s "$@"\n' $name > tools/$name
                done
                chmod +x tools/*
          use:
            step: Command
            with: {{run: "echo the path is $PATH"}}
"#
    );
    let job = server.queue(&yaml, &[]);
    let finished = server.wait_for_end(&job).await;
    let log = server.log(&job);
    assert_succeeded(&finished, &log);
    assert!(log.contains("the path is tools:"), "{log}");
    let escaped = runner.folder.parent().unwrap().join("escaped");
    assert!(!escaped.exists(), "a program of the job was run outside: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_another_job_does_not_answer() {
    for use_namespaces in [true, false] {
        let server = Server::start().await;
        server.give("images", "bob", "hunter2-hunter2");
        let connections = [("images", "private_docker_registry", "r.example.com")];
        let runner = Running::start(&server, |settings| settings.use_namespaces = use_namespaces);
        let first = server.queue(
            &script("echo socket=$KEYFERRY_SOCKET\nkeyferry ask images >/dev/null && echo own answered\nsleep 98766"),
            &connections,
        );
        server.wait_for_log(&first, "own answered").await;
        let log = server.log(&first);
        let socket = log.lines().find_map(|line| line.strip_prefix("socket=")).unwrap().to_owned();

        let second = server.queue(
            &script(&format!("KEYFERRY_SOCKET={socket} keyferry ask images 2>&1 || true\nexport KEYFERRY_SOCKET={socket}\nfor i in 1 2 3; do setsid keyferry ask images 2>&1 || true; done; echo tried")),
            &[],
        );
        server.wait_for_end(&second).await;
        let log = server.log(&second);
        assert!(log.contains("tried") && !log.contains("hunter2"), "{log}");
        assert!(!log.contains("****"), "nothing had to be hidden: {log}");

        // This process has the same user and can open the socket, and is no process of the job.
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(Question::Material { name: "images".into() }.render().as_bytes()).unwrap();
        let mut line = Vec::new();
        stream.read_to_end(&mut line).unwrap();
        let answer = Answer::parse(&line).unwrap();
        assert!(matches!(answer, Answer::Refusal(refusal) if refusal.code == "not_in_job"));
        server.seen(&first, |seen| assert_eq!(seen.leases.len(), 1));
        runner.shut_down();
        runner.ended().await.unwrap();
    }
}
