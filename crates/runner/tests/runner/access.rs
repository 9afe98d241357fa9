//! How tools in a job get access: helpers, files and variables; what is refused; what logs show.

use std::collections::BTreeMap;

use keyferry_api::leases::LeaseMaterial;
use keyferry_domain::operation::{Access, Operation};
use keyferry_domain::run::JobState;
use keyferry_domain::secret::SecretString;
use keyferry_testkit::peers::registry::{self, Registry};
use keyferry_testkit::{images, require};

use crate::server::{Running, Server, assert_succeeded, run_one, script};

const REGISTRY: (&str, &str, &str) = ("images", "private_docker_registry", "r.example.com:5000");

#[tokio::test(flavor = "multi_thread")]
async fn two_tools_that_ask_at_once_get_one_lease() {
    let server = Server::start().await;
    server.give("images", "bob", "hunter2-hunter2");
    let yaml = script(
        "for i in 1 2 3 4 5 6 7 8; do (printf r.example.com:5000 | docker-credential-keyferry get | grep -c Secret) & done; wait",
    );
    let (finished, log) = run_one(&server, &yaml, &[REGISTRY]).await;
    assert_succeeded(&finished, &log);
    assert_eq!(log.lines().filter(|line| *line == "1").count(), 8, "{log}");
    assert_eq!(finished.uses["images"], 8);
    server.seen("01", |seen| {
        assert_eq!(seen.leases, [Operation::Registry { repository: None, access: Access::Write }]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_hidden_however_they_are_printed() {
    let server = Server::start().await;
    server.give("images", "bob", "hunter2/hunter3+x");
    let yaml = script(
        "secret=$(keyferry ask images)\nprintf '%s' \"${secret%????????}\"; sleep 0.4; printf '%s\\n' \"${secret#?????????}\"\n\
         echo \"$secret\"; printf '%s' \"$secret\" | base64; printf 'bob:%s' \"$secret\" | base64 >&2; echo visible",
    );
    let (finished, log) = run_one(&server, &yaml, &[REGISTRY]).await;
    assert_succeeded(&finished, &log);
    assert!(log.contains("visible") && log.contains("****"), "{log}");
    for shown in ["hunter2", "hunter3", "aHVudGVyMi9odW50ZXIzK3g", "Ym9iOmh1bnRlcjIv"] {
        assert!(!log.contains(shown), "{shown}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_docker_swallows_is_in_the_log() {
    let server = Server::start().await;
    let yaml = script(
        "printf r.example.com:5000 | docker-credential-keyferry get >/dev/null 2>&1 || echo went on",
    );
    let (finished, log) = run_one(&server, &yaml, &[REGISTRY]).await;
    assert_succeeded(&finished, &log);
    assert!(
        log.contains("refused (connection_not_bound): connection `images`: nobody approved this"),
        "{log}"
    );
    assert!(log.contains("hint: ask bob"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_not_the_connections_gets_nothing() {
    let server = Server::start().await;
    server.give("images", "bob", "hunter2-hunter2");
    let yaml = script(
        "for r in r.example.com r.example.com:5001 r.example.com.evil.test:5000 evil.test; do\n\
         printf $r | docker-credential-keyferry get || echo none; done\ndocker-credential-keyferry list",
    );
    let (finished, log) = run_one(&server, &yaml, &[REGISTRY]).await;
    assert_succeeded(&finished, &log);
    assert_eq!(log.matches("credentials not found in native keychain").count(), 4, "{log}");
    assert!(log.contains("{\"r.example.com:5000\":\"\"}"), "{log}");
    server.seen("01", |seen| assert!(seen.leases.is_empty()));
}

fn login(host: &str) -> String {
    format!(
        "stages:\n  s:\n    jobs:\n      j:\n        steps:\n          login:\n            step: DockerLogin\n            with: {{dockerRepository: '{host}', serviceConnection: images}}\n          show:\n            step: Command\n            with: {{run: 'cat $DOCKER_CONFIG/config.json $REGISTRY_AUTH_FILE'}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_writes_no_password_and_fails_when_it_is_refused() {
    let server = Server::start().await;
    let (finished, log) = run_one(&server, &login("r.example.com:5000"), &[REGISTRY]).await;
    assert_eq!(finished.state, JobState::Failed);
    assert!(finished.reason.unwrap().contains("nobody approved this"), "{log}");

    let server = Server::start().await;
    server.give("images", "bob", "hunter2-hunter2");
    let (finished, log) = run_one(&server, &login("r.example.com:5000"), &[REGISTRY]).await;
    assert_succeeded(&finished, &log);
    assert!(log.contains("\"credHelpers\":{\"r.example.com:5000\":\"keyferry\"}"), "{log}");
    assert!(!log.contains("****"), "there was something to hide: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_to_another_registry_is_refused() {
    let server = Server::start().await;
    server.give("images", "bob", "hunter2-hunter2");
    let (finished, _) = run_one(&server, &login("evil.example.com"), &[REGISTRY]).await;
    assert_eq!(finished.state, JobState::Failed);
    assert!(
        finished
            .reason
            .unwrap()
            .contains("is for `r.example.com:5000`, not for `evil.example.com`")
    );
    server.seen("01", |seen| assert!(seen.leases.is_empty()));
}

fn values(names: &[(&str, &str)]) -> LeaseMaterial {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<_, _> {
        pairs
            .iter()
            .map(|(name, text)| ((*name).to_owned(), SecretString::from(*text).into()))
            .collect()
    };
    LeaseMaterial::Values { values: map(names), files: map(&[("ca.pem", "AAH/")]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_files_and_variables_of_the_step_that_names_them() {
    let server = Server::start().await;
    server.give_material(
        "settings",
        values(&[("type", "postgresql"), ("password", "hunter2-hunter2")]),
    );
    let yaml = "stages:\n  s:\n    jobs:\n      j:\n        steps:\n          one:\n            step: Command\n            with:\n              connections: {db: settings}\n              env: {URL: 'pg://u:${db.password}@h'}\n              run: |\n                test $(cat $SERVICE_BINDING_ROOT/db/type) = postgresql && echo typed; od -An -tx1 $SERVICE_BINDING_ROOT/db/ca.pem\n                test $(cat $SERVICE_BINDING_ROOT/db/password) = hunter2-hunter2 && echo same\n                test \"$URL\" = pg://u:hunter2-hunter2@h && echo url; echo $URL\n                stat -c %a $SERVICE_BINDING_ROOT/db/password\n          two:\n            step: Command\n            with: {run: 'test -z \"$URL\" && echo gone'}\n";
    let (finished, log) = run_one(&server, yaml, &[("settings", "generic", "")]).await;
    assert_succeeded(&finished, &log);
    for text in ["typed", "00 01 ff", "same", "url", "600", "gone"] {
        assert!(log.contains(text), "{text}: {log}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_not_there_fails_the_step_with_what_there_is() {
    let server = Server::start().await;
    server.give_material("settings", values(&[("password", "hunter2-hunter2")]));
    let yaml = "stages:\n  s:\n    jobs:\n      j:\n        steps:\n          one:\n            step: Command\n            with:\n              connections: {db: settings}\n              env: {URL: '${db.pasword}'}\n              run: echo ran\n";
    let (finished, log) = run_one(&server, yaml, &[("settings", "generic", "")]).await;
    assert_eq!(finished.state, JobState::Failed);
    assert!(
        finished
            .reason
            .unwrap()
            .contains("find `pasword` in the connection `db`; it has `password`")
    );
    assert!(!log.contains("ran\n"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_stays_on_the_machine() {
    let server = Server::start().await;
    server.give_material("settings", values(&[("password", "hunter2-hunter2-unique")]));
    let yaml = "stages:\n  s:\n    jobs:\n      j:\n        steps:\n          one:\n            step: Command\n            with:\n              connections: {db: settings}\n              run: 'cp -r $SERVICE_BINDING_ROOT $HOME; cp -r $SERVICE_BINDING_ROOT /tmp/keyferry-copy-of-bindings; echo root=$SERVICE_BINDING_ROOT; chmod -R 000 $HOME || true'\n";
    let (finished, log) = run_one(&server, yaml, &[("settings", "generic", "")]).await;
    assert_succeeded(&finished, &log);
    let root = log.lines().find_map(|line| line.strip_prefix("root=")).unwrap();
    assert!(
        !std::path::Path::new(root).exists()
            && !std::path::Path::new("/tmp/keyferry-copy-of-bindings").exists()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_to_end_is_not_handed_out_again() {
    let server = Server::start().await;
    server.give("images", "bob", "hunter2-hunter2");
    // Less than a minute: whoever gets it could not use it for long.
    server.set_lease_seconds(59);
    let yaml = script("for i in 1 2 3; do keyferry ask images >/dev/null && echo got; done");
    let (finished, log) = run_one(&server, &yaml, &[REGISTRY]).await;
    assert_succeeded(&finished, &log);
    assert_eq!(log.matches("got\n").count(), 3, "{log}");
    server.seen("01", |seen| assert_eq!(seen.leases.len(), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_go_to_a_real_registry_and_no_password_lies_around() {
    const PASSWORD: &str = "correct-horse-battery";
    if !(require(registry::PROGRAMS) && require(images::PROGRAMS)) {
        return;
    }
    let registry = Registry::start(PASSWORD).unwrap();
    let host = registry.host();
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    images::write_image(&image).unwrap();
    let run = format!(
        "skopeo copy --quiet --dest-tls-verify=false oci:{}:latest docker://{host}/team/app:1\n         skopeo list-tags --tls-verify=false docker://{host}/team/app\n         skopeo inspect --tls-verify=false --format '{{{{.Digest}}}}' docker://{host}/team/app:1\n         cat $DOCKER_CONFIG/config.json; grep -r battery $HOME $DOCKER_CONFIG && exit 3; echo finished",
        image.display()
    );
    let script = run.lines().map(|line| format!("                {line}")).collect::<Vec<_>>();
    let script = script.join("\n") + "\n";
    let yaml = format!(
        "stages:\n  s:\n    jobs:\n      j:\n        steps:\n          login:\n            step: DockerLogin\n            with: {{serviceConnection: images, dockerRepository: {host}}}\n          push:\n            step: Command\n            with:\n              run: |\n{script}"
    );
    for (password, isolated) in [(PASSWORD, true), (PASSWORD, false), ("stale-password", true)] {
        let server = Server::start().await;
        server.give("images", registry::USER, password);
        let job = server.queue(&yaml, &[("images", "private_docker_registry", &host)]);
        let runner = Running::start(&server, |settings| {
            settings.visible_paths = vec![image.clone()];
            settings.use_namespaces = isolated;
        });
        let finished = server.wait_for_end(&job).await;
        let log = server.log(&job);
        assert!(!log.contains(password), "{log}");
        if password == PASSWORD {
            assert_succeeded(&finished, &log);
            assert!(log.contains("\"1\"") && log.contains("sha256:"), "{log}");
            assert!(log.contains("finished") && log.contains("credHelpers"), "{log}");
            server.seen(&job, |seen| assert_eq!(seen.leases.len(), 1));
        } else {
            assert_eq!(finished.state, JobState::Failed, "{log}");
            assert!(
                log.contains("unauthorized") || log.contains("authentication required"),
                "{log}"
            );
        }
        runner.shut_down();
        runner.ended().await.unwrap();
    }
}
