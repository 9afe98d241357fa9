//! Who is chosen for a custom scope.

use keyferry_store::connection_members::{self, Chosen};
use keyferry_store::connections;

use crate::world::each;

#[tokio::test]
async fn the_chosen_are_replaced_as_a_whole_and_go_with_the_connection() {
    each(async |world| {
        let (organization, elsewhere) = (world.organization().await, world.organization().await);
        let owner = world.member(&organization).await;
        let (ann, bob) = (world.member(&organization).await, world.member(&organization).await);
        let credential = world.credential(&organization, &owner).await;
        let record = world.connection(&credential, "staging").await;
        let id = &record.id;
        let group = world.group_id();
        let first =
            Chosen { users: vec![bob.clone(), ann.clone(), ann.clone()], groups: vec![group] };
        connection_members::replace(&world.store, &organization, id, &first).await.unwrap();
        let found = connection_members::list(&world.store, &organization, id).await.unwrap();
        assert_eq!(found.users, [ann.clone(), bob.clone()]);
        assert_eq!(found.groups, first.groups);
        let seen = connection_members::list(&world.store, &elsewhere, id).await.unwrap();
        assert_eq!(seen, Chosen::default());

        let gone = connection_members::delete_by_user(&world.store, &organization, &ann).await;
        assert_eq!(gone.unwrap(), 1);
        let second = Chosen { users: vec![bob.clone()], groups: vec![] };
        connection_members::replace(&world.store, &organization, id, &second).await.unwrap();
        let found = connection_members::list(&world.store, &organization, id).await.unwrap();
        assert_eq!(found, second);
        connections::delete(&world.store, &record, world.now()).await.unwrap();
        let found = connection_members::list(&world.store, &organization, id).await.unwrap();
        assert_eq!(found, Chosen::default());
    })
    .await;
}
