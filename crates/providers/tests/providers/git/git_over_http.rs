//! The type `git` over HTTP and HTTPS, against lighttpd and `git http-backend`.

use std::time::Duration;

use keyferry_domain::lease::Narrowing;
use keyferry_domain::material::Material;
use keyferry_domain::operation::{Access, Operation, RepositoryPath};
use keyferry_providers::ProviderError;
use keyferry_providers::provider::{MergeRequest, MergeStrategy};
use keyferry_testkit::children::{command, run};
use keyferry_testkit::peers::git_http::{GitHttp, PROGRAMS, TLS_PROGRAMS, USER};
use keyferry_testkit::{Authority, Git, Scratch, require};

use super::world::{
    CANARY, context, git, password, repositories, settings, ssh_key, target, token,
};

fn path(text: &str) -> RepositoryPath {
    text.parse().unwrap()
}

fn server() -> Option<GitHttp> {
    require(PROGRAMS).then(|| GitHttp::start(CANARY).unwrap())
}

#[tokio::test]
async fn branches_are_listed_with_default_and_commit() {
    let Some(server) = server() else { return };
    server.create_repository("team/app").unwrap();
    let settings = settings(&[("url", &server.url())]);
    {
        let credential = password(USER, CANARY);
        let page = repositories()
            .list_branches(
                &context(),
                target(&settings, &credential),
                &path("team/app"),
                None,
                None,
                50,
            )
            .await
            .unwrap();
        let found: Vec<_> =
            page.items.iter().map(|branch| (branch.name.as_str(), branch.is_default)).collect();
        assert_eq!(found, [("feature/login", Some(false)), ("main", Some(true))]);
        assert_eq!(page.items[1].commit, server.tip("team/app", "main").unwrap().unwrap());
        assert_eq!(page.next, None);
    }
}

#[tokio::test]
async fn the_address_of_one_repository_works_too() {
    let Some(server) = server() else { return };
    let url = server.create_repository("team/app").unwrap();
    let settings = settings(&[("url", &url)]);
    let credential = password(USER, CANARY);
    let page = repositories()
        .list_branches(
            &context(),
            target(&settings, &credential),
            &path("team/app"),
            Some("LOGIN"),
            None,
            50,
        )
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1);
    let yes = git().verify(&context(), target(&settings, &credential)).await.unwrap();
    assert!(yes.contains("can be read"), "{yes}");
}

#[tokio::test]
async fn a_thousand_branches_are_paged_to_the_end() {
    let Some(server) = server() else { return };
    server.create_repository("app").unwrap();
    let tip = server.tip("app", "main").unwrap().unwrap();
    let lines: Vec<_> =
        (0..1_200).map(|number| format!("{tip} refs/heads/many/{number:04}\n")).collect();
    std::fs::write(
        server.repositories().join("app.git/packed-refs"),
        format!("# pack-refs with: peeled fully-peeled sorted\n{}", lines.concat()),
    )
    .unwrap();
    let settings = settings(&[("url", &server.url())]);
    let credential = password(USER, CANARY);
    let mut names = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = repositories()
            .list_branches(
                &context(),
                target(&settings, &credential),
                &path("app"),
                Some("many/"),
                cursor.as_deref(),
                200,
            )
            .await
            .unwrap();
        names.extend(page.items.into_iter().map(|branch| branch.name));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..1_200).map(|number| format!("many/{number:04}")).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_branch_is_deleted_when_it_is_where_expected() {
    let Some(server) = server() else { return };
    server.create_repository("team/app").unwrap();
    let settings = settings(&[("url", &server.url())]);
    let credential = password(USER, CANARY);
    let target = target(&settings, &credential);
    let (context, repository) = (context(), path("team/app"));
    let delete = |branch: &'static str, expected: Option<String>| {
        let (context, repository) = (&context, &repository);
        async move {
            repositories()
                .delete_branch(context, target, repository, branch, expected.as_deref())
                .await
        }
    };
    let tip = server.tip("team/app", "feature/login").unwrap().unwrap();
    let main = server.tip("team/app", "main").unwrap().unwrap();

    let error = delete("feature/login", Some(main.clone())).await.unwrap_err();
    assert_eq!(error, ProviderError::Moved { name: "feature/login".into(), actual: tip.clone() });
    assert!(server.tip("team/app", "feature/login").unwrap().is_some());

    let error = delete("feature/login", Some(tip[..12].to_owned())).await.unwrap_err();
    assert!(matches!(error, ProviderError::Misconfigured { .. }), "{error}");

    delete("feature/login", Some(tip.to_uppercase())).await.unwrap();
    assert_eq!(server.tip("team/app", "feature/login").unwrap(), None);

    let error = delete("feature/login", Some(tip)).await.unwrap_err();
    let ProviderError::Moved { actual, .. } = error else { panic!("{error}") };
    assert_eq!(actual, "gone");
    let error = delete("feature/login", None).await.unwrap_err();
    assert_eq!(error, ProviderError::NotFound { what: "branch `feature/login`".into() });

    let error = delete("main", None).await.unwrap_err();
    let ProviderError::Refused { reason } = error else { panic!("{error}") };
    assert!(reason.contains("deletion of the current branch prohibited"), "{reason}");
    assert!(server.tip("team/app", "main").unwrap().is_some());

    for name in ["../../etc", "a b", "x\0y", "", "refs/heads/\n"] {
        let result = repositories().delete_branch(&context, target, &repository, name, None).await;
        assert!(matches!(result, Err(ProviderError::Misconfigured { .. })), "{name:?}");
    }
}

#[tokio::test]
async fn a_tag_is_deleted_and_a_hook_may_refuse() {
    let Some(server) = server() else { return };
    server.create_repository("app").unwrap();
    let scratch = Scratch::new().unwrap();
    let program = Git::new(scratch.path()).unwrap();
    let bare = server.repositories().join("app.git");
    let bare_text = bare.to_string_lossy();
    program.run(["-C", &bare_text, "tag", "v1", "main"]).unwrap();
    program.run(["-C", &bare_text, "tag", "--annotate", "--message", "x", "v2", "main"]).unwrap();
    let settings = settings(&[("url", &server.url())]);
    let credential = password(USER, CANARY);
    let target = target(&settings, &credential);
    for tag in ["v1", "v2"] {
        repositories().delete_tag(&context(), target, &path("app"), tag).await.unwrap();
    }
    assert_eq!(program.run(["-C", &bare_text, "tag"]).unwrap(), "");
    let error =
        repositories().delete_tag(&context(), target, &path("app"), "v1").await.unwrap_err();
    assert_eq!(error, ProviderError::NotFound { what: "tag `v1`".into() });

    let hook = bare.join("hooks/update");
    std::fs::create_dir_all(bare.join("hooks")).unwrap();
    std::fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    run(command("chmod").arg("755").arg(&hook)).unwrap();
    let error = repositories()
        .delete_branch(&context(), target, &path("app"), "feature/login", None)
        .await
        .unwrap_err();
    assert_eq!(error, ProviderError::Refused { reason: "hook declined".into() });
}

#[tokio::test]
async fn sha256_repositories_are_spoken_to() {
    let Some(server) = server() else { return };
    let scratch = Scratch::new().unwrap();
    let program = Git::new(scratch.path()).unwrap();
    let bare = server.repositories().join("new.git");
    let bare = bare.to_string_lossy();
    program.run(["init", "--quiet", "--bare", "--object-format=sha256", &bare]).unwrap();
    let tree = program.run(["-C", &bare, "mktree"]).unwrap();
    let commit = program.run(["-C", &bare, "commit-tree", "-m", "x", &tree]).unwrap();
    for name in ["main", "old"] {
        program.run(["-C", &bare, "update-ref", &format!("refs/heads/{name}"), &commit]).unwrap();
    }
    let settings = settings(&[("url", &server.url())]);
    let credential = password(USER, CANARY);
    let target = target(&settings, &credential);
    let page = repositories()
        .list_branches(&context(), target, &path("new"), None, None, 50)
        .await
        .unwrap();
    assert_eq!(page.items[0].commit, commit);
    repositories()
        .delete_branch(&context(), target, &path("new"), "old", Some(&commit))
        .await
        .unwrap();
}

#[tokio::test]
async fn verify_says_yes_only_to_the_right_password() {
    let Some(server) = server() else { return };
    server.create_repository("team/app").unwrap();
    let with_path = settings(&[("url", &server.url()), ("verify_repository", "team/app")]);
    let without_path = settings(&[("url", &server.url())]);
    let right = password(USER, CANARY);
    let wrong = password(USER, "wrong-canary-1");

    let yes = git().verify(&context(), target(&with_path, &right)).await.unwrap();
    assert_eq!(yes, "repository `team/app` can be read");

    for settings in [&with_path, &without_path] {
        let error = git().verify(&context(), target(settings, &wrong)).await.unwrap_err();
        assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
        assert!(!error.to_string().contains("wrong-canary-1"), "{error}");
    }
    let error = git().verify(&context(), target(&without_path, &right)).await.unwrap_err();
    let ProviderError::Misconfigured { field, .. } = &error else { panic!("{error}") };
    assert_eq!(field, "verify_repository");

    let missing = settings(&[("url", &server.url()), ("verify_repository", "team/none")]);
    let error = git().verify(&context(), target(&missing, &right)).await.unwrap_err();
    assert_eq!(error, ProviderError::NotFound { what: "repository `team/none`".into() });

    server.change_password("another").unwrap();
    let error = git().verify(&context(), target(&with_path, &right)).await.unwrap_err();
    assert!(matches!(error, ProviderError::Rejected { .. }), "{error}");
    assert!(!server.log().unwrap().contains(CANARY));
}

#[tokio::test]
async fn https_needs_the_right_authority() {
    if !require(PROGRAMS) || !require(TLS_PROGRAMS) {
        return;
    }
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = GitHttp::start_tls(CANARY, &authority).unwrap();
    server.create_repository("app").unwrap();
    let pem = |authority: &Authority| std::fs::read_to_string(authority.certificate()).unwrap();
    let credential = password(USER, CANARY);
    let verify = |ca: String| {
        let settings = settings(&[
            ("url", &server.url()),
            ("verify_repository", "app"),
            ("ca_certificate", &ca),
        ]);
        let credential = &credential;
        async move { git().verify(&context(), target(&settings, credential)).await }
    };
    verify(pem(&authority)).await.unwrap();
    for ca in [pem(&other), String::new(), "hello".into()] {
        let error = verify(ca).await.unwrap_err();
        let ProviderError::Misconfigured { field, .. } = &error else { panic!("{error}") };
        assert_eq!(field, "ca_certificate");
    }
}

#[tokio::test]
async fn what_git_cannot_do_is_said() {
    let settings = settings(&[("url", "https://git.example.com")]);
    let credential = password("ci", CANARY);
    let target = target(&settings, &credential);
    let error =
        repositories().list_repositories(&context(), target, None, None, 50).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unsupported { .. }));
    let request = MergeRequest {
        from: "a".into(),
        into: "b".into(),
        strategy: MergeStrategy::Merge,
        message: None,
        expected_commit: None,
    };
    let error = repositories().merge(&context(), target, &path("x"), &request).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unsupported { .. }));
    let operation = Operation::Registry { repository: None, access: Access::Read };
    let error = git().plan(target, &operation, "kf-1").unwrap_err();
    assert!(matches!(error, ProviderError::Misconfigured { .. }));
}

#[tokio::test]
async fn a_lease_hands_over_the_stored_credential_as_residue() {
    let settings = settings(&[("url", "https://git.example.com")]);
    let operation = Operation::Git { repository: Some(path("team/app")), access: Access::Write };
    for (credential, user, residue) in [
        (password("ci", CANARY), "ci", "the stored password was handed over"),
        (token(CANARY), "oauth2", "the stored token was handed over"),
    ] {
        let target = target(&settings, &credential);
        let plan = git().plan(target, &operation, "kf-1").unwrap();
        assert_eq!((&plan.narrowing, &plan.handle), (&Narrowing::Stored, &None));
        let issued = git()
            .issue(&context(), target, &operation, &plan, Duration::from_mins(1))
            .await
            .unwrap();
        let Material::Password { username, password } = &issued.material else { panic!() };
        assert_eq!((username.as_str(), password.expose().as_str()), (user, CANARY));
        assert_eq!(issued.residue.as_ref().unwrap().what, residue);
        assert!(!format!("{issued:?}").contains(CANARY));
        let left = git().revoke(&context(), target, &plan.narrowing, "kf-1").await.unwrap();
        assert_eq!(left, None);
    }
}

#[tokio::test]
async fn a_credential_that_does_not_fit_the_address_is_refused() {
    let https = settings(&[("url", "https://git.example.com")]);
    let ssh = settings(&[("url", "ssh://git.example.com"), ("known_hosts", "x")]);
    let no_hosts = settings(&[("url", "ssh://git.example.com")]);
    let (password, key) = (password("ci", CANARY), ssh_key("x"));
    for (settings, credential, wrong) in [
        (&https, &key, "credential"),
        (&ssh, &password, "credential"),
        (&no_hosts, &key, "known_hosts"),
    ] {
        let error =
            git().plan(target(settings, credential), &Operation::Material, "kf-1").unwrap_err();
        let ProviderError::Misconfigured { field, .. } = &error else { panic!("{error}") };
        assert_eq!(field, wrong);
    }
    let secret_in_url = settings(&[("url", "https://ci:hunter2@git.example.com")]);
    let error =
        git().plan(target(&secret_in_url, &password), &Operation::Material, "kf-1").unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let colon = super::world::password("a:b", CANARY);
    assert!(git().plan(target(&https, &colon), &Operation::Material, "kf-1").is_err());
}
