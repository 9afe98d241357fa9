//! Pipelines, revisions and their members.

use keyferry_domain::PipelineRole;
use keyferry_store::pipelines::{self, PipelineMemberRecord};
use keyferry_store::{StoreError, bindings};

use crate::world::{each, page_after, page_of};

#[tokio::test]
async fn another_organization_sees_nothing() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let owner = world.member(&one).await;
        let record = world.pipeline(&one, &owner, "Build").await;
        let id = &record.id;
        assert_eq!(pipelines::find(&world.store, &one, id).await.unwrap(), Some(record.clone()));
        assert_eq!(pipelines::find(&world.store, &two, id).await.unwrap(), None);
        assert_eq!(pipelines::find_by_name(&world.store, &two, "build").await.unwrap(), None);
        assert_eq!(pipelines::find_revision(&world.store, &two, id, 1).await.unwrap(), None);
        assert!(pipelines::revisions(&world.store, &two, id, None, 9).await.unwrap().is_empty());
        let page = pipelines::list(&world.store, &two, None, &page_of(9)).await.unwrap();
        assert!(page.items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn of_two_saves_at_once_one_is_stale_and_its_revision_is_not_kept() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let mut record = world.pipeline(&organization, &owner, "Build").await;
        let revision = world.revision_record(&record, 2);
        record.current_revision = 2;
        let (a, b) = tokio::join!(
            pipelines::save_revision(&world.store, &record, &revision),
            pipelines::save_revision(&world.store, &record, &revision)
        );
        let lost: Vec<_> = [a, b].into_iter().filter_map(Result::err).collect();
        assert!(matches!(lost[..], [StoreError::Stale { .. }]), "{lost:?}");
        let id = &record.id;
        let revisions = pipelines::revisions(&world.store, &organization, id, None, 9).await;
        let numbers: Vec<_> = revisions.unwrap().iter().map(|r| r.number).collect();
        assert_eq!(numbers, [2, 1]);
        let older = pipelines::revisions(&world.store, &organization, id, Some(2), 9).await;
        assert_eq!(older.unwrap().len(), 1);
        let found = pipelines::find_revision(&world.store, &organization, id, 2).await.unwrap();
        assert_eq!(found, Some(revision));
    })
    .await;
}

#[tokio::test]
async fn a_name_is_taken_until_its_pipeline_is_deleted() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let record = world.pipeline(&organization, &owner, "Build").await;
        let mut other = world.pipeline(&organization, &owner, "Other").await;
        let mut same = record.clone();
        same.id = world.pipeline_id();
        same.name_folded = "build".to_owned();
        let first = world.revision_record(&same, 1);
        let taken = pipelines::create(&world.store, &same, &first).await;
        assert!(matches!(taken, Err(StoreError::AlreadyExists { what: "pipeline" })));
        other.name_folded = "build".to_owned();
        let taken = pipelines::update(&world.store, &other).await;
        assert!(matches!(taken, Err(StoreError::AlreadyExists { what: "pipeline" })));

        assert_eq!(pipelines::delete(&world.store, &record, world.now()).await.unwrap(), 2);
        assert!(pipelines::delete(&world.store, &record, world.now()).await.is_err());
        assert_eq!(pipelines::find(&world.store, &organization, &record.id).await.unwrap(), None);
        pipelines::create(&world.store, &same, &first).await.unwrap();
        let found = pipelines::find_by_name(&world.store, &organization, " BUILD").await.unwrap();
        assert_eq!(found.map(|p| p.id), Some(same.id));
    })
    .await;
}

#[tokio::test]
async fn deleting_takes_the_bindings_along() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        let credential = world.credential(&organization, &owner).await;
        let connection = world.connection(&credential, "staging").await;
        let record = world.pipeline(&organization, &owner, "Build").await;
        let binding = world.binding_record(&record, &connection.id, "source app");
        bindings::create(&world.store, &binding).await.unwrap();
        pipelines::delete(&world.store, &record, world.now()).await.unwrap();
        let left = bindings::list_by_connection(&world.store, &organization, &connection.id, 9);
        assert!(left.await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn lists_follow_the_names_and_search_in_them() {
    each(async |world| {
        let organization = world.organization().await;
        let owner = world.member(&organization).await;
        for name in ["zeta", "Alpha", "beta"] {
            world.pipeline(&organization, &owner, name).await;
        }
        let first = pipelines::list(&world.store, &organization, None, &page_of(2)).await.unwrap();
        let names: Vec<_> = first.items.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["Alpha", "beta"]);
        let rest = page_after(2, first.next_cursor);
        let rest = pipelines::list(&world.store, &organization, None, &rest).await.unwrap();
        assert_eq!((rest.items[0].name.as_str(), rest.next_cursor), ("zeta", None));
        let found = pipelines::list(&world.store, &organization, Some("ETA"), &page_of(9)).await;
        assert_eq!(found.unwrap().items.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn members_have_one_role_each_and_stale_changes_lose() {
    each(async |world| {
        let (organization, elsewhere) = (world.organization().await, world.organization().await);
        let owner = world.member(&organization).await;
        let record = world.pipeline(&organization, &owner, "Build").await;
        let id = &record.id;
        let first = pipelines::find_member(&world.store, &organization, id, &owner).await.unwrap();
        assert_eq!(first.unwrap().role, PipelineRole::Owner);
        let other = world.member(&organization).await;
        let mut member = PipelineMemberRecord {
            organization_id: organization.clone(),
            pipeline_id: id.clone(),
            user_id: other.clone(),
            role: PipelineRole::Viewer,
            version: 1,
        };
        pipelines::create_member(&world.store, &member).await.unwrap();
        assert!(pipelines::create_member(&world.store, &member).await.is_err());
        member.role = PipelineRole::Admin;
        assert_eq!(pipelines::update_member(&world.store, &member).await.unwrap(), 2);
        let stale = pipelines::update_member(&world.store, &member).await;
        assert!(matches!(stale, Err(StoreError::Stale { current_version: Some(2), .. })));
        let found = pipelines::find_member(&world.store, &organization, id, &other).await.unwrap();
        assert_eq!(found.unwrap().role, PipelineRole::Admin);
        let seen = pipelines::find_member(&world.store, &elsewhere, id, &other).await.unwrap();
        assert_eq!(seen, None);
        assert_eq!(pipelines::members(&world.store, &organization, id).await.unwrap().len(), 2);
        let gone = pipelines::delete_member(&world.store, &organization, id, &other).await;
        assert!(gone.unwrap());
        let gone = pipelines::delete_member(&world.store, &organization, id, &other).await;
        assert!(!gone.unwrap());
        let leave = async |place| {
            pipelines::delete_member_everywhere(&world.store, place, &owner).await.unwrap()
        };
        assert_eq!((leave(&elsewhere).await, leave(&organization).await), (0, 1));
    })
    .await;
}
