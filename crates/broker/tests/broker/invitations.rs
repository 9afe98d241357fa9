//! Accepting invitations: an account takes the place of its placeholder with everything that was
//! shared with it, and nothing tells an organization of accounts elsewhere. On SQLite, and on a real
//! PostgreSQL.

use std::collections::BTreeSet;

use keyferry_broker::connections::ConnectionChanges;
use keyferry_broker::members::{Member, NewMember};
use keyferry_domain::actor::Identity;
use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::page::PageRequest;
use keyferry_domain::secret::SecretString;
use keyferry_domain::{Actor, PipelineRole, Role, Scope};
use keyferry_testkit::databases::{dump, execute};

use crate::fixture::{TestBroker, assert_code, each, signed_in, user};
use crate::scenes::{TWO_STAGES, git, pipeline};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery";
const WRONG: &str = "not the password at all";
const PAGE: PageRequest = PageRequest { limit: 50, cursor: None };

fn anonymous(test: &TestBroker) -> Actor {
    Actor { identity: Identity::Anonymous, ..test.broker.system_actor() }
}

async fn invite(test: &TestBroker, organization: &OrganizationId, role: Role) -> NewMember {
    test.broker.create_member(&test.owner, organization, EMAIL, "Typed", role).await.unwrap()
}

async fn accept(
    test: &TestBroker,
    invitation: &SecretString,
    password: &str,
) -> Result<UserId, keyferry_domain::Error> {
    let password = password.into();
    let session = test.broker.accept_invitation(&anonymous(test), invitation, &password).await?;
    Ok(session.user.user.id)
}

/// Gives the address an account, by another organization.
async fn account(test: &TestBroker) -> (UserId, OrganizationId) {
    let other = test.broker.create_organization(&test.owner, "Other").await.unwrap().id;
    let made = test.broker.create_member(&test.owner, &other, EMAIL, "Ann", Role::Owner).await;
    (accept(test, &made.unwrap().invitation, PASSWORD).await.unwrap(), other)
}

async fn members(test: &TestBroker, organization: &OrganizationId) -> Vec<Member> {
    test.broker.list_members(&test.owner, organization, &PAGE).await.unwrap().items
}

/// Returns the one member with the address.
async fn found(test: &TestBroker) -> Member {
    let mut all = members(test, &test.organization).await;
    all.retain(|member| member.user.email == EMAIL);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// The tables in which a text occurs.
fn tables_with(test: &TestBroker, text: &str) -> BTreeSet<String> {
    let mut table = String::new();
    let mut found = BTreeSet::new();
    for line in dump(&test.url).unwrap().lines() {
        let rows = line.strip_prefix("INSERT INTO ").or(line.strip_prefix("COPY public."));
        if let Some(word) = rows.and_then(|rows| rows.split([' ', '(']).next()) {
            word.trim_matches('"').clone_into(&mut table);
        }
        if line.contains(text) {
            found.insert(table.clone());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_takes_the_place_with_all_that_was_shared_with_it() {
    each(async |test| {
        let (broker, organization, owner) = (&test.broker, &test.organization, &test.owner);
        let (ann, _) = account(test).await;
        let made = invite(test, organization, Role::Admin).await;
        let invited = made.member.user.id.clone();
        assert_ne!(invited, ann);
        let before = found(test).await;
        assert_eq!((before.user.name.as_str(), before.is_invited()), ("Typed", true));

        let both = [user(owner), invited.clone()];
        broker.create_group(owner, organization, "Builders", &both).await.unwrap();
        let shared = git(test, owner, "shared", Scope::Private).await;
        let changes = ConnectionChanges {
            scope: Some(Scope::Custom),
            users: Some(vec![invited.clone()]),
            ..ConnectionChanges::default()
        };
        broker.update_connection(owner, organization, &shared, &changes, 1).await.unwrap();
        let given = git(test, owner, "given", Scope::Private).await;
        broker.transfer_connection(owner, organization, &given, &invited, 1).await.unwrap();
        let built = pipeline(test, owner, "Build", TWO_STAGES).await.pipeline.id;
        broker
            .set_pipeline_member(owner, organization, &built, &invited, PipelineRole::Owner, None)
            .await
            .unwrap();
        // With that the pipeline belongs to the placeholder.
        broker.delete_pipeline_member(owner, organization, &built, &user(owner)).await.unwrap();

        assert_eq!(accept(test, &made.invitation, PASSWORD).await.unwrap(), ann);
        let member = found(test).await;
        assert_eq!((&member.user.id, member.user.name.as_str()), (&ann, "Ann"));
        assert_eq!((member.member.role, member.is_invited()), (Role::Admin, false));
        let as_ann = signed_in(broker, &ann);
        let groups = broker.list_groups(owner, organization, &PAGE).await.unwrap().items;
        assert_eq!(groups[0].users.iter().collect::<BTreeSet<_>>(), [&user(owner), &ann].into());
        let shared = broker.get_connection(&as_ann, organization, &shared).await.unwrap();
        assert_eq!(shared.chosen.users, [ann.clone()]);
        let given = broker.get_connection(&as_ann, organization, &given).await.unwrap().connection;
        assert_eq!(given.owner_id, ann);
        let credential =
            broker.get_credential(&as_ann, organization, &given.credential_id).await.unwrap();
        assert_eq!(credential.credential.owner_id, ann);
        let places = broker.list_pipeline_members(&as_ann, organization, &built).await.unwrap();
        assert_eq!((places.len(), &places[0].user_id), (1, &ann));
        // Of the placeholder there is only what has ended, and what was recorded.
        let left = tables_with(test, invited.as_str());
        assert_eq!(left, ["audit_events", "tokens", "users"].map(str::to_owned).into());

        let events = test.events("invitation.accept").await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].target.as_ref().unwrap().id, ann.as_str());
        assert_eq!(events[0].data["invited_as"], invited.as_str());
        assert_code(accept(test, &made.invitation, PASSWORD).await, "unauthenticated");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_changes_nothing_and_is_not_told_to_the_organization() {
    each(async |test| {
        let (ann, _) = account(test).await;
        let made = invite(test, &test.organization, Role::Member).await;
        let record = |text: String| {
            let kept = text.lines().filter(|line| !line.contains("invitation.accept"));
            kept.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = record(dump(&test.url).unwrap());
        for _ in 0..2 {
            let error = assert_code(accept(test, &made.invitation, WRONG).await, "unauthenticated");
            assert!(!error.to_string().contains(ann.as_str()), "{error}");
        }
        assert_eq!(record(dump(&test.url).unwrap()), before);
        assert_eq!(test.events("invitation.accept").await, []);
        assert!(found(test).await.is_invited());
        assert_eq!(accept(test, &made.invitation, PASSWORD).await.unwrap(), ann);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_accepts_nothing() {
    each(async |test| {
        let (ann, _) = account(test).await;
        let made = invite(test, &test.organization, Role::Member).await;
        execute(&test.url, &format!("UPDATE users SET disabled_at = 1 WHERE id = '{ann}';"))
            .unwrap();
        assert_code(accept(test, &made.invitation, PASSWORD).await, "unauthenticated");
        assert!(found(test).await.is_invited());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_became_a_member_by_another_way_keeps_the_role_and_the_placeholder_ends() {
    each(async |test| {
        let organization = &test.organization;
        let (ann, _) = account(test).await;
        let made = invite(test, organization, Role::Owner).await;
        let shared = git(test, &test.owner, "shared", Scope::Private).await;
        let invited = made.member.user.id.clone();
        test.broker
            .transfer_connection(&test.owner, organization, &shared, &invited, 1)
            .await
            .unwrap();
        let place = format!(
            "INSERT INTO members (organization_id, user_id, role, created_at, version) \
             VALUES ('{organization}', '{ann}', 'auditor', 1, 1);"
        );
        execute(&test.url, &place).unwrap();
        assert_eq!(accept(test, &made.invitation, PASSWORD).await.unwrap(), ann);
        let member = found(test).await;
        assert_eq!((member.user.id, member.member.role), (ann.clone(), Role::Auditor));
        let left = tables_with(test, invited.as_str());
        assert_eq!(left, ["audit_events", "tokens", "users"].map(str::to_owned).into());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_invitations_accepted_at_once_comes_one_account() {
    each(async |test| {
        let other = test.broker.create_organization(&test.owner, "Other").await.unwrap().id;
        let here = invite(test, &test.organization, Role::Member).await.invitation;
        let there = invite(test, &other, Role::Auditor).await.invitation;
        let (first, second) =
            tokio::join!(accept(test, &here, PASSWORD), accept(test, &there, PASSWORD));
        let mut people = Vec::new();
        for (outcome, invitation) in [(first, &here), (second, &there)] {
            people.push(match outcome {
                Ok(person) => person,
                // The address got its account a moment earlier: the invitation still works.
                Err(error) => {
                    assert_eq!(error.code(), "already_exists", "{error:?}");
                    accept(test, invitation, PASSWORD).await.unwrap()
                }
            });
        }
        assert_eq!(people[0], people[1]);
        let me = test.broker.get_current_user(&signed_in(&test.broker, &people[0])).await.unwrap();
        assert_eq!(me.memberships.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_removal_and_an_acceptance_at_once_neither_leaves_half_a_member() {
    each(async |test| {
        let (ann, _) = account(test).await;
        let made = invite(test, &test.organization, Role::Member).await;
        let invited = &made.member.user.id;
        let (accepted, removed) = tokio::join!(
            accept(test, &made.invitation, PASSWORD),
            test.broker.delete_member(&test.owner, &test.organization, invited)
        );
        let here = members(test, &test.organization).await;
        let is_member = here.iter().any(|member| member.user.id == ann);
        assert_eq!(accepted.is_ok(), is_member, "{accepted:?} {removed:?}");
        assert_ne!(accepted.is_ok(), removed.is_ok(), "{accepted:?} {removed:?}");
        assert!(here.iter().all(|member| member.user.id != *invited), "{here:?}");
    })
    .await;
}
