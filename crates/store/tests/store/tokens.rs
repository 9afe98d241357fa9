//! Tokens.

use keyferry_domain::id::{OrganizationId, UserId};
use keyferry_domain::token::TokenKind;
use keyferry_store::tokens::{self, TokenFilter, TokenRecord};
use keyferry_store::{Store, StoreError};

use crate::world::{World, each, page_of};

fn record(
    world: &World,
    organization: Option<&OrganizationId>,
    user: Option<&UserId>,
    kind: TokenKind,
) -> TokenRecord {
    let id = world.token_id();
    TokenRecord {
        organization_id: organization.cloned(),
        user_id: user.cloned(),
        runner_id: None,
        kind,
        name: "laptop".to_owned(),
        hash: format!("hash-of-{id}"),
        hint: "kf_pat_abcde".to_owned(),
        created_at: world.now(),
        expires_at: Some(world.after(3600)),
        last_used_at: None,
        revoked_at: None,
        id,
    }
}

#[tokio::test]
async fn a_one_time_token_is_used_up_by_exactly_one() {
    each(async |world| {
        let token = record(world, None, None, TokenKind::Setup);
        tokens::create(&world.store, &token).await.unwrap();
        let now = world.now();
        let tries = (0..8).map(|_| {
            let (store, id): (Store, _) = (world.store.clone(), token.id.clone());
            tokio::spawn(async move { tokens::use_up(&store, &id, now).await.unwrap() })
        });
        let mut winners = 0;
        for one in tries.collect::<Vec<_>>() {
            winners += usize::from(one.await.unwrap());
        }
        assert_eq!(winners, 1);
    })
    .await;
}

#[tokio::test]
async fn an_expired_or_revoked_one_time_token_cannot_be_used() {
    each(async |world| {
        let late = record(world, None, None, TokenKind::Setup);
        tokens::create(&world.store, &late).await.unwrap();
        assert!(!tokens::use_up(&world.store, &late.id, world.after(3600)).await.unwrap());
        assert_eq!(tokens::revoke_server_setup(&world.store, world.now()).await.unwrap(), 1);
        assert!(!tokens::use_up(&world.store, &late.id, world.now()).await.unwrap());
        assert_eq!(tokens::revoke_server_setup(&world.store, world.now()).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn tokens_are_found_by_hash_and_revoked_in_their_organization_only() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let user = world.member(&one).await;
        let token = record(world, Some(&one), Some(&user), TokenKind::Personal);
        tokens::create(&world.store, &token).await.unwrap();
        let found = tokens::find_by_hash(&world.store, &token.hash).await.unwrap();
        assert_eq!(found, Some(token.clone()));
        assert_eq!(tokens::find_by_hash(&world.store, "hash-of-").await.unwrap(), None);
        assert_eq!(tokens::find(&world.store, &two, &token.id).await.unwrap(), None);
        assert!(!tokens::revoke(&world.store, &two, &token.id, world.now()).await.unwrap());
        assert!(tokens::revoke(&world.store, &one, &token.id, world.now()).await.unwrap());
        assert!(!tokens::revoke(&world.store, &one, &token.id, world.now()).await.unwrap());
        let found = tokens::find_by_hash(&world.store, &token.hash).await.unwrap().unwrap();
        assert_eq!(found.revoked_at, Some(world.now()));
        let same = TokenRecord { id: world.token_id(), ..token };
        let error = tokens::create(&world.store, &same).await;
        assert!(matches!(error, Err(StoreError::AlreadyExists { what: "token" })));
    })
    .await;
}

#[tokio::test]
async fn lists_hold_what_works_of_the_kind_and_person_asked_for() {
    each(async |world| {
        let (one, two) = (world.organization().await, world.organization().await);
        let (ann, bob) = (world.member(&one).await, world.member(&one).await);
        let of_ann = record(world, Some(&one), Some(&ann), TokenKind::Personal);
        let revoked = record(world, Some(&one), Some(&ann), TokenKind::Personal);
        let runner = TokenRecord {
            runner_id: Some(world.runner_id()),
            ..record(world, Some(&one), None, TokenKind::Runner)
        };
        let of_bob = record(world, Some(&one), Some(&bob), TokenKind::Personal);
        let elsewhere = record(world, Some(&two), Some(&ann), TokenKind::Personal);
        for token in [&of_ann, &revoked, &runner, &of_bob, &elsewhere] {
            tokens::create(&world.store, token).await.unwrap();
        }
        tokens::revoke(&world.store, &one, &revoked.id, world.now()).await.unwrap();
        let wanted = TokenFilter { kind: Some(TokenKind::Personal), user: Some(ann.clone()) };
        let page = tokens::list(&world.store, &one, &wanted, &page_of(9)).await.unwrap();
        assert_eq!(page.items, [of_ann.clone()]);
        let any = TokenFilter::default();
        let all = tokens::list(&world.store, &one, &any, &page_of(9)).await.unwrap();
        assert_eq!(all.items.len(), 3);

        let runner_id = runner.runner_id.as_ref().unwrap();
        let now = world.now();
        assert_eq!(tokens::revoke_by_runner(&world.store, runner_id, now).await.unwrap(), 1);
        assert_eq!(tokens::revoke_by_user(&world.store, Some(&one), &ann, now).await.unwrap(), 1);
        assert_eq!(tokens::revoke_by_user(&world.store, None, &ann, now).await.unwrap(), 1);
        assert_eq!(tokens::revoke_by_user(&world.store, None, &bob, now).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn use_is_written_down_once_a_minute() {
    each(async |world| {
        let token = record(world, None, None, TokenKind::Runner);
        tokens::create(&world.store, &token).await.unwrap();
        let first = world.now();
        tokens::touch(&world.store, &token.id, first).await.unwrap();
        tokens::touch(&world.store, &token.id, world.after(59)).await.unwrap();
        let found = tokens::find_by_hash(&world.store, &token.hash).await.unwrap().unwrap();
        assert_eq!(found.last_used_at, Some(first));
        tokens::touch(&world.store, &token.id, world.after(61)).await.unwrap();
        let found = tokens::find_by_hash(&world.store, &token.hash).await.unwrap().unwrap();
        assert_eq!(found.last_used_at, Some(world.after(61)));
    })
    .await;
}
