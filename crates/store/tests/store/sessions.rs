//! Sessions.

use keyferry_domain::id::UserId;
use keyferry_store::sessions::{self, SessionRecord};

use crate::world::{World, each};

async fn session(world: &World, user: &UserId) -> SessionRecord {
    let id = world.session_id();
    let record = SessionRecord {
        user_id: user.clone(),
        token_hash: format!("hash-of-{id}"),
        created_at: world.now(),
        expires_at: world.after(60),
        last_used_at: None,
        ended_at: None,
        id,
    };
    sessions::create(&world.store, &record).await.unwrap();
    record
}

#[tokio::test]
async fn ending_the_other_sessions_keeps_the_one_in_use() {
    each(async |world| {
        let organization = world.organization().await;
        let (ann, bob) = (world.member(&organization).await, world.member(&organization).await);
        let in_use = session(world, &ann).await;
        let other = session(world, &ann).await;
        let of_bob = session(world, &bob).await;
        let now = world.now();
        let count = sessions::end_by_user(&world.store, &ann, Some(&in_use.id), now).await;
        assert_eq!(count.unwrap(), 1);
        let open = sessions::list_by_user(&world.store, &ann, now).await.unwrap();
        assert_eq!(open, [in_use.clone()]);
        let ended = sessions::find_by_hash(&world.store, &other.token_hash).await.unwrap();
        assert_eq!(ended.unwrap().ended_at, Some(now));
        assert_eq!(sessions::list_by_user(&world.store, &bob, now).await.unwrap(), [of_bob]);
        assert_eq!(sessions::end_by_user(&world.store, &ann, None, now).await.unwrap(), 1);
        assert!(!sessions::end(&world.store, &in_use.id, now).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn expired_sessions_are_not_listed_and_go() {
    each(async |world| {
        let organization = world.organization().await;
        let ann = world.member(&organization).await;
        let old = session(world, &ann).await;
        sessions::touch(&world.store, &old.id, world.now()).await.unwrap();
        let found = sessions::find_by_hash(&world.store, &old.token_hash).await.unwrap().unwrap();
        assert_eq!(found.last_used_at, Some(world.now()));
        let later = world.after(60);
        assert!(sessions::list_by_user(&world.store, &ann, later).await.unwrap().is_empty());
        assert_eq!(sessions::delete_expired(&world.store, world.now()).await.unwrap(), 0);
        assert_eq!(sessions::delete_expired(&world.store, world.after(61)).await.unwrap(), 1);
        assert_eq!(sessions::find_by_hash(&world.store, &old.token_hash).await.unwrap(), None);
    })
    .await;
}
