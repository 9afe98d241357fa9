//! Connections.

use keyferry_domain::connection::{Health, HealthStatus};
use keyferry_domain::id::UserId;
use keyferry_domain::{Scope, Timestamp};
use keyferry_store::connection_members::{self, Chosen};
use keyferry_store::connections::{self, ConnectionFilter};
use keyferry_store::groups::{self, GroupRecord};
use keyferry_store::{StoreError, fold};

use crate::world::{each, page_after, page_of};

#[tokio::test]
async fn another_organization_sees_and_changes_nothing() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let owner = world.member(&one).await;
        let credential = world.credential(&one, &owner).await;
        let mut record = world.connection(&credential, "staging").await;
        let id = record.id.clone();
        assert_eq!(connections::find(&world.store, &one, &id).await.unwrap(), Some(record.clone()));
        assert_eq!(connections::find(&world.store, &two, &id).await.unwrap(), None);
        assert_eq!(connections::find_with_deleted(&world.store, &two, &id).await.unwrap(), None);
        let all = ConnectionFilter::default();
        let page = connections::list(&world.store, &two, &all, &page_of(9)).await.unwrap();
        assert!(page.items.is_empty());
        assert!(connections::list_ids(&world.store, &two, None, 9).await.unwrap().is_empty());
        assert!(!connections::is_visible_to(&world.store, &two, &id, &owner).await.unwrap());
        record.organization_id = two;
        assert!(matches!(
            connections::update(&world.store, &record).await,
            Err(StoreError::Stale { current_version: None, .. })
        ));
        assert!(connections::delete(&world.store, &record, world.now()).await.is_err());
        let found = connections::find(&world.store, &one, &id).await.unwrap().unwrap();
        assert_eq!(found.version, 1);
    })
    .await;
}

#[tokio::test]
async fn the_same_id_serves_two_organizations() {
    each(async |world| {
        for _ in 0..2 {
            let organization = world.organization().await;
            let owner = world.member(&organization).await;
            let credential = world.credential(&organization, &owner).await;
            world.connection(&credential, "staging").await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_id_is_never_used_again() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let record = world.connection(&credential, "staging").await;
        let taken = connections::create(&world.store, &record).await;
        assert!(matches!(taken, Err(StoreError::AlreadyExists { what: "connection" })));
        assert_eq!(connections::delete(&world.store, &record, world.now()).await.unwrap(), 2);
        assert!(connections::delete(&world.store, &record, world.now()).await.is_err());
        let id = &record.id;
        assert_eq!(connections::find(&world.store, &organization, id).await.unwrap(), None);
        let stone = connections::find_with_deleted(&world.store, &organization, id).await;
        assert_eq!(stone.unwrap().unwrap().deleted_at, Some(world.now()));
        let again = connections::create(&world.store, &record).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })));
        let mut changed = record.clone();
        changed.version = 2;
        assert!(connections::update(&world.store, &changed).await.is_err());
        let ids = connections::list_ids(&world.store, &organization, None, 9).await.unwrap();
        assert!(ids.is_empty());
    })
    .await;
}

#[tokio::test]
async fn changes_are_kept_but_for_what_never_changes() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let other = world.credential(&organization, &owner).await;
        let mut record = world.connection(&credential, "staging").await;
        record.name = "Renamed".to_owned();
        record.scope = Scope::Public;
        record.credential_id = other.id.clone();
        record.settings.insert("ca".to_owned(), "pem".to_owned());
        record.connection_type = "gitea".to_owned();
        assert_eq!(connections::update(&world.store, &record).await.unwrap(), 2);
        record.connection_type = "git".to_owned();
        record.version = 2;
        let found = connections::find(&world.store, &organization, &record.id).await.unwrap();
        assert_eq!(found, Some(record));
    })
    .await;
}

#[tokio::test]
async fn everyone_sees_what_their_scope_gives_and_no_more() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let (chosen, grouped, other) = (
            world.member(&organization).await,
            world.member(&organization).await,
            world.member(&organization).await,
        );
        let credential = world.credential(&organization, &owner).await;
        for (id, scope) in
            [("private", Scope::Private), ("public", Scope::Public), ("custom", Scope::Custom)]
        {
            let mut record = world.connection_record(&credential, id);
            record.scope = scope;
            connections::create(&world.store, &record).await.unwrap();
        }
        let group = GroupRecord {
            organization_id: organization.clone(),
            id: world.group_id(),
            name: "Ops".to_owned(),
            name_folded: "ops".to_owned(),
            created_at: world.now(),
            version: 1,
        };
        groups::create(&world.store, &group, std::slice::from_ref(&grouped)).await.unwrap();
        // Chosen for the private one too: that must not open it while its scope is private.
        for id in ["custom", "private"] {
            connection_members::replace(
                &world.store,
                &organization,
                &id.parse().unwrap(),
                &Chosen { users: vec![chosen.clone()], groups: vec![group.id.clone()] },
            )
            .await
            .unwrap();
        }
        let seen = async |user: &UserId| {
            let wanted = ConnectionFilter { visible_to: Some(user.clone()), ..Default::default() };
            let page =
                connections::list(&world.store, &organization, &wanted, &page_of(9)).await.unwrap();
            let listed: Vec<_> = page.items.iter().map(|c| c.id.to_string()).collect();
            let ids = connections::list_ids(&world.store, &organization, Some(user), 9).await;
            assert_eq!(ids.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), listed);
            for id in ["custom", "private", "public"] {
                let id_of = id.parse().unwrap();
                let is_visible =
                    connections::is_visible_to(&world.store, &organization, &id_of, user);
                assert_eq!(is_visible.await.unwrap(), listed.iter().any(|l| l == id));
            }
            listed
        };
        assert_eq!(seen(&owner).await, ["custom", "private", "public"]);
        assert_eq!(seen(&chosen).await, ["custom", "public"]);
        assert_eq!(seen(&grouped).await, ["custom", "public"]);
        assert_eq!(seen(&other).await, ["public"]);
        groups::delete(&world.store, &organization, &group.id).await.unwrap();
        assert_eq!(seen(&grouped).await, ["public"]);
    })
    .await;
}

#[tokio::test]
async fn filters_narrow_and_pages_follow_the_names() {
    each(async |world| {
        let organization = world.organization().await;
        let (ann, bob) = (world.member(&organization).await, world.member(&organization).await);
        let of_ann = world.credential(&organization, &ann).await;
        let of_bob = world.credential(&organization, &bob).await;
        for (number, name) in ["Zebra", "apple", "Mango", "100%_real"].iter().enumerate() {
            let mut record = world.connection_record(&of_ann, &format!("conn-{number}"));
            record.name = (*name).to_owned();
            record.name_folded = fold(name);
            connections::create(&world.store, &record).await.unwrap();
        }
        let mut other = world.connection_record(&of_bob, "registry");
        other.connection_type = "private_docker_registry".to_owned();
        other.health_status = HealthStatus::Rejected;
        other.scope = Scope::Public;
        connections::create(&world.store, &other).await.unwrap();

        let names = async |wanted: ConnectionFilter| {
            let (mut names, mut cursor) = (Vec::new(), None);
            loop {
                let request = page_after(2, cursor);
                let page = connections::list(&world.store, &organization, &wanted, &request);
                let page = page.await.unwrap();
                names.extend(page.items.into_iter().map(|record| record.name));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    return names;
                }
            }
        };
        let all = ConnectionFilter::default();
        assert_eq!(
            names(all.clone()).await,
            ["100%_real", "apple", "Mango", "The registry", "Zebra"]
        );
        let search = |text: &str| ConnectionFilter {
            search: Some(text.to_owned()),
            ..ConnectionFilter::default()
        };
        assert_eq!(names(search("MAN")).await, ["Mango"]);
        assert_eq!(names(search("conn-0")).await, ["Zebra"]);
        assert_eq!(names(search("%_")).await, ["100%_real"]);
        assert!(names(search("x%")).await.is_empty());
        for wanted in [
            ConnectionFilter { owner: Some(bob), ..all.clone() },
            ConnectionFilter { credential: Some(of_bob.id), ..all.clone() },
            ConnectionFilter { scope: Some(Scope::Public), ..all.clone() },
            ConnectionFilter { health: Some(HealthStatus::Rejected), ..all.clone() },
            ConnectionFilter {
                connection_type: Some("private_docker_registry".to_owned()),
                ..all.clone()
            },
        ] {
            assert_eq!(names(wanted).await, ["The registry"]);
        }
        let broken = page_after(2, Some("conn-1".to_owned()));
        let error = connections::list(&world.store, &organization, &all, &broken).await;
        assert!(matches!(error, Err(StoreError::InvalidCursor)));
    })
    .await;
}

#[tokio::test]
async fn a_check_of_an_outdated_version_is_not_written_down() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let record = world.connection(&credential, "staging").await;
        let health = Health {
            status: HealthStatus::Rejected,
            reason: Some("bad credentials".to_owned()),
            field: None,
            checked_at: Some(world.now()),
        };
        let next = Some(world.after(60));
        assert!(connections::set_health(&world.store, &record, &health, next).await.unwrap());
        let found =
            connections::find(&world.store, &organization, &record.id).await.unwrap().unwrap();
        assert_eq!((found.health(), found.version), (health.clone(), 1));
        connections::update(&world.store, &found).await.unwrap();
        assert!(!connections::set_health(&world.store, &record, &health, None).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_due_check_is_claimed_by_one_server() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        for number in 0..40 {
            let mut record = world.connection_record(&credential, &format!("conn-{number}"));
            record.next_check_at = Some(world.now());
            connections::create(&world.store, &record).await.unwrap();
        }
        let (now, retry_at) = (world.now(), world.after(300));
        let claims: Vec<_> = (0..4)
            .map(|_| {
                let store = world.store.clone();
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    for _ in 0..20 {
                        let due = connections::claim_due_checks(&store, now, retry_at, 7).await;
                        ids.extend(due.unwrap().into_iter().map(|record| record.id));
                    }
                    ids
                })
            })
            .collect();
        let mut ids = Vec::new();
        for claim in claims {
            ids.extend(claim.await.unwrap());
        }
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!((ids.len(), count), (40, 40));
        let again = connections::claim_due_checks(&world.store, retry_at, world.after(999), 100);
        assert_eq!(again.await.unwrap().len(), 40);
    })
    .await;
}

#[tokio::test]
async fn connections_of_some_types_get_a_first_check_when_they_have_none() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let make = async |id: &str, connection_type: &str, due: Option<Timestamp>| {
            let mut record = world.connection_record(&credential, id);
            record.connection_type = connection_type.to_owned();
            record.next_check_at = due;
            connections::create(&world.store, &record).await.unwrap();
            record
        };
        make("one", "git", None).await;
        make("two", "gitea", None).await;
        make("values", "generic", None).await;
        let gone = make("gone", "git", None).await;
        connections::delete(&world.store, &gone, world.now()).await.unwrap();
        make("later", "git", Some(world.after(5_000))).await;
        let schedule = async |types: &[&str], limit| {
            let at = world.after(300);
            connections::schedule_checks(&world.store, types, at, limit).await.unwrap()
        };
        assert_eq!(schedule(&[], 10).await, 0);
        assert_eq!(schedule(&["git", "gitea"], 1).await, 1);
        assert_eq!(schedule(&["git", "gitea"], 10).await, 1);
        assert_eq!(schedule(&["git", "gitea"], 10).await, 0);
        let due = async |at| {
            let claim = connections::claim_due_checks(&world.store, at, world.after(9_999), 10);
            let mut ids: Vec<_> =
                claim.await.unwrap().into_iter().map(|record| record.id.to_string()).collect();
            ids.sort();
            ids
        };
        assert!(due(world.after(299)).await.is_empty());
        assert_eq!(due(world.after(300)).await, ["one", "two"]);
        assert_eq!(due(world.after(5_000)).await, ["later"]);
    })
    .await;
}

#[tokio::test]
async fn use_is_written_down_without_making_versions_stale() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let record = world.connection(&credential, "staging").await;
        connections::touch(&world.store, &organization, &record.id, world.now()).await.unwrap();
        connections::update(&world.store, &record).await.unwrap();
        let found = connections::find(&world.store, &organization, &record.id).await.unwrap();
        assert_eq!(found.unwrap().last_used_at, Some(world.now()));
    })
    .await;
}
