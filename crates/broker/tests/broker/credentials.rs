//! Credentials: sealed when they go in, shown to nobody, gone when they are wiped.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyferry_broker::audit::AuditFilter;
use keyferry_broker::credentials::NewSecrets;
use keyferry_domain::credential::{CredentialKind, VersionState};
use keyferry_domain::id::CredentialId;
use keyferry_domain::page::PageRequest;
use keyferry_domain::{ErrorKind, Role};
use keyferry_testkit::Canary;

use crate::fixture::{TestBroker, assert_code, new_connection, password, secrets};
use crate::gitea::Gitea;

fn values(fields: &[(&str, &str)], files: &[(&str, &[u8])]) -> NewSecrets {
    let files =
        files.iter().map(|(name, bytes)| ((*name).to_owned(), STANDARD.encode(bytes).into()));
    NewSecrets { files: files.collect(), ..secrets(CredentialKind::Values, fields) }
}

fn page() -> PageRequest {
    PageRequest { limit: 50, cursor: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_every_shape_go_in_and_are_found_nowhere() {
    let test = TestBroker::start().await;
    let words = Canary::awkward("text").unwrap();
    let lines = Canary::new("lines").unwrap();
    let file = Canary::new("file").unwrap();
    let large = [b"\0".repeat(512 * 1024), file.value().as_bytes().to_vec()].concat();
    let given = values(
        &[("api", words.value()), ("pem", &format!("first\n{}\nlast\n", lines.value()))],
        &[("blob.bin", &large), ("nothing", b"")],
    );
    let canaries = [&words, &lines, &file];
    let made = test
        .broker
        .create_credential(&test.owner, &test.organization, "Values", &given)
        .await
        .unwrap();
    assert_eq!(made.value_names, ["api", "pem", "blob.bin", "nothing"]);
    assert!(made.public_fields.is_empty());

    let listed =
        test.broker.list_credentials(&test.owner, &test.organization, &page()).await.unwrap();
    let events = test.events_by(&AuditFilter::default()).await;
    let shown = format!("{given:?}{made:?}{listed:?}{events:?}");
    assert!(shown.contains("credential.create"));
    for canary in canaries {
        canary.assert_absent_in("what is shown", &shown);
        canary.assert_absent_in_files(test.folder());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_secret_is_refused_without_being_repeated() {
    let test = TestBroker::start().await;
    let canary = Canary::new("refused").unwrap();
    let secret = canary.value();
    let too_large = vec![b'x'; 1024 * 1024 + 1];
    let mut not_base64 = values(&[("a", secret)], &[]);
    not_base64.files = BTreeMap::from([("f".to_owned(), "%%%".into())]);
    for (given, pointer) in [
        (password(&format!("{secret}\n")), "/credential/fields/password"),
        (password(&format!("{secret}\0")), "/credential/fields/password"),
        (password(&secret.repeat(64 * 1024)), "/credential/fields/password"),
        (password(" "), "/credential/fields/password"),
        (secrets(CredentialKind::Token, &[("tokn", secret)]), "/credential/fields/tokn"),
        (
            secrets(CredentialKind::SshKey, &[("private_key", secret)]),
            "/credential/fields/private_key",
        ),
        (values(&[], &[]), "/credential/fields"),
        (values(&[("a b", secret)], &[]), "/credential/fields/a b"),
        (values(&[("a", &format!("{secret}\0"))], &[]), "/credential/fields/a"),
        (values(&[], &[("f", &too_large)]), "/credential/files/f"),
        (values(&[], &[("../f", secret.as_bytes())]), "/credential/files/..~1f"),
        (not_base64, "/credential/files/f"),
    ] {
        let made =
            test.broker.create_credential(&test.owner, &test.organization, "Bad", &given).await;
        let error = assert_code(made, "invalid_input");
        let fields = &error.details().fields;
        assert!(fields.iter().any(|field| field.pointer == pointer), "{pointer}: {fields:?}");
        canary.assert_absent_in("an error", format!("{error:?}{:?}", error.details()));
    }
    for name in ["", " ", "a\nb"] {
        let made = test
            .broker
            .create_credential(&test.owner, &test.organization, name, &password("x"))
            .await;
        assert_code(made, "invalid_input");
    }
    let listed =
        test.broker.list_credentials(&test.owner, &test.organization, &page()).await.unwrap();
    assert!(listed.items.is_empty(), "nothing is half-written");
    canary.assert_absent_in_files(test.folder());
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_credential_and_none_look_the_same() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let [alice, bob] = [test.add(Role::Member).await, test.add(Role::Member).await];
    let (outsider, other) = test.outsider().await;
    let made = broker
        .create_credential(&alice, organization, "Alice's", &password("secret-1"))
        .await
        .unwrap();
    let id = &made.credential.id;
    let missing: CredentialId = "cred_00000000000000000000000000".parse().unwrap();
    for actor in [&bob, &outsider] {
        let hidden = broker.get_credential(actor, organization, id).await.unwrap_err();
        let absent = broker.get_credential(actor, organization, &missing).await.unwrap_err();
        assert_eq!(hidden.kind(), ErrorKind::NotFound);
        assert_eq!(hidden.message().replace(id.as_str(), missing.as_str()), absent.message());
        for refused in [
            broker.update_credential(actor, organization, id, "Mine", 1).await.map(drop),
            broker.delete_credential(actor, organization, id).await,
        ] {
            assert_code(refused, "not_found");
        }
    }
    // Not by way of one's own organization either.
    assert_code(broker.get_credential(&outsider, &other, id).await, "not_found");
    let listed = broker.list_credentials(&bob, organization, &page()).await.unwrap();
    assert!(listed.items.is_empty());
    assert_code(broker.list_credentials(&outsider, organization, &page()).await, "not_found");

    // An auditor sees it and changes nothing.
    let auditor = test.add(Role::Auditor).await;
    broker.get_credential(&auditor, organization, id).await.unwrap();
    assert_code(broker.delete_credential(&auditor, organization, id).await, "denied");
    let created = broker.create_credential(&auditor, organization, "Own", &password("x")).await;
    assert_code(created, "denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_rename_is_refused_and_changes_nothing() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let made = broker
        .create_credential(&test.owner, organization, "First", &password("secret-1"))
        .await
        .unwrap();
    let id = &made.credential.id;
    let renamed =
        broker.update_credential(&test.owner, organization, id, "Second", 1).await.unwrap();
    assert_eq!((renamed.credential.version, renamed.credential.name.as_str()), (2, "Second"));
    let stale = broker.update_credential(&test.owner, organization, id, "Third", 1).await;
    assert_eq!(assert_code(stale, "stale_version").details().current_version, Some(2));
    let found = broker.get_credential(&test.owner, organization, id).await.unwrap();
    assert_eq!(found.credential.name, "Second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_in_use_stays_and_an_unused_one_is_wiped() {
    let test = TestBroker::start().await;
    let (broker, organization) = (&test.broker, &test.organization);
    let gitea = Gitea::start("secret-1").await;
    let made = broker
        .create_credential(&test.owner, organization, "Shared", &password("secret-1"))
        .await
        .unwrap();
    let id = &made.credential.id;
    let mut new = new_connection("forge", gitea.url(), "");
    new.credential = None;
    new.credential_id = Some(id.clone());
    let forge = test.connect_as(&test.owner, new).await;
    let refused = broker.delete_credential(&test.owner, organization, id).await;
    assert_eq!(assert_code(refused, "credential_in_use").details().used_by, ["forge"]);
    let events = test.events("credential.delete").await;
    assert_eq!(events.len(), 1, "{events:?}");

    let other = broker
        .create_credential(&test.owner, organization, "Unused", &password("secret-2"))
        .await
        .unwrap()
        .credential
        .id;
    broker.delete_credential(&test.owner, organization, &other).await.unwrap();
    assert_code(broker.get_credential(&test.owner, organization, &other).await, "not_found");
    broker.sweep_credentials(&broker.system_actor()).await.unwrap();
    let wiped = test.events("credential.wipe").await;
    assert_eq!(wiped.len(), 1);
    assert_eq!(wiped[0].target.as_ref().unwrap().id, other.to_string());

    // The one in use was not touched by that.
    let found = broker.get_credential(&test.owner, organization, id).await.unwrap();
    assert!(matches!(found.versions[0].state, VersionState::Current));
    broker.verify_connection(&test.owner, organization, &forge).await.unwrap();
}
