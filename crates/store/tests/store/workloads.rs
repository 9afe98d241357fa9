//! Workloads.

use keyferry_domain::id::{OrganizationId, TokenId, UserId};
use keyferry_store::workloads::{self, WorkloadRecord};

use crate::world::{World, each, page_of};

async fn workload(world: &World, organization: &OrganizationId, user: &UserId) -> WorkloadRecord {
    let id = world.workload_id();
    let record = WorkloadRecord {
        organization_id: organization.clone(),
        user_id: user.clone(),
        token_id: None,
        label: "make deploy".to_owned(),
        connections: vec!["staging".parse().unwrap()],
        token_hash: format!("hash-of-{id}"),
        created_at: world.now(),
        expires_at: world.after(60),
        ended_at: None,
        id,
    };
    workloads::create(&world.store, &record).await.unwrap();
    record
}

#[tokio::test]
async fn a_workload_ends_once_and_in_its_organization_only() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let user = world.member(&one).await;
        let record = workload(world, &one, &user).await;
        let now = world.now();
        assert_eq!(workloads::find(&world.store, &two, &record.id).await.unwrap(), None);
        assert!(!workloads::end(&world.store, &two, &record.id, now).await.unwrap());
        let found = workloads::find_by_token(&world.store, &record.token_hash).await.unwrap();
        assert_eq!(found, Some(record.clone()));
        assert!(workloads::end(&world.store, &one, &record.id, now).await.unwrap());
        assert!(!workloads::end(&world.store, &one, &record.id, now).await.unwrap());
        let found = workloads::find(&world.store, &one, &record.id).await.unwrap().unwrap();
        assert_eq!(found.ended_at, Some(now));
    })
    .await;
}

#[tokio::test]
async fn workloads_end_with_their_time_and_with_their_user() {
    each(async |world| {
        let organization = world.organization().await;
        let (ann, bob) = (world.member(&organization).await, world.member(&organization).await);
        let of_ann = workload(world, &organization, &ann).await;
        let of_bob = workload(world, &organization, &bob).await;
        let all = workloads::list(&world.store, &organization, None, &page_of(9)).await.unwrap();
        assert_eq!(all.items, [of_bob.clone(), of_ann.clone()]);
        let only = workloads::list(&world.store, &organization, Some(&ann), &page_of(9)).await;
        assert_eq!(only.unwrap().items, [of_ann.clone()]);
        let ended =
            workloads::end_by_user(&world.store, &organization, &ann, world.now()).await.unwrap();
        assert_eq!(ended.iter().map(|w| &w.id).collect::<Vec<_>>(), [&of_ann.id]);
        let early = workloads::end_expired(&world.store, world.now(), 9).await.unwrap();
        assert!(early.is_empty());
        let late = workloads::end_expired(&world.store, world.after(60), 9).await.unwrap();
        assert_eq!(late.iter().map(|w| &w.id).collect::<Vec<_>>(), [&of_bob.id]);
    })
    .await;
}

#[tokio::test]
async fn workloads_end_with_the_token_that_started_them_and_no_other() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let user = world.member(&one).await;
        let token: TokenId = "tok_01arz3ndektsv4rrffq69g5fav".parse().unwrap();
        let other: TokenId = "tok_01arz3ndektsv4rrffq69g5faw".parse().unwrap();
        let mut with_token = Vec::new();
        for started_with in [Some(&token), Some(&other), None] {
            let id = world.workload_id();
            let record = WorkloadRecord {
                token_id: started_with.cloned(),
                token_hash: format!("hash-of-{id}"),
                id,
                ..workload(world, &one, &user).await
            };
            workloads::create(&world.store, &record).await.unwrap();
            with_token.push(record);
        }
        let now = world.now();
        let elsewhere = workloads::end_by_token(&world.store, &two, &token, now).await.unwrap();
        assert!(elsewhere.is_empty());
        let ended = workloads::end_by_token(&world.store, &one, &token, now).await.unwrap();
        assert_eq!(ended.iter().map(|w| &w.id).collect::<Vec<_>>(), [&with_token[0].id]);
        assert_eq!(ended[0].ended_at, Some(now));
        let again = workloads::end_by_token(&world.store, &one, &token, now).await.unwrap();
        assert!(again.is_empty(), "what has ended is ended once");
    })
    .await;
}
