//! A real forge with more than a thousand repositories: somebody picks one of them.

use std::collections::BTreeSet;

use anyhow::Result;
use keyferry_api::connections::ConnectionView;
use keyferry_api::repositories::RepositoryView;
use keyferry_testkit::peers::gitea::{self, Gitea, LIBRARIAN, Options, REPOSITORIES};

use crate::world::World;

#[test]
fn every_one_of_a_thousand_repositories_is_found() -> Result<()> {
    if !gitea::require() {
        return Ok(());
    }
    let forge = Gitea::start_with(&Options { has_library: true, ..Options::default() })?;
    let world = World::start()?;
    let password = world.secret("librarians-password")?;
    forge.change_password(&forge.librarian(), password.value())?;
    let mia = world.invite("mia", "member")?;
    let url = format!("base_url={}", forge.url());
    let username = format!("username={LIBRARIAN}");
    let create = ["connection", "create", "--type", "gitea", "--id", "library", "--name"];
    let fields = ["Library", "--set", &url, "--set", &username, "--secret", "password=-"];
    let create = [&create[..], &fields].concat();
    mia.ask_with_input::<ConnectionView>(&create, password.value())?;

    let list = ["repository", "list", "library"];
    let all: Vec<RepositoryView> = mia.ask(&list)?;
    let found: BTreeSet<String> = all.iter().map(|one| one.path.clone()).collect();
    let expected: BTreeSet<String> =
        (0..REPOSITORIES).map(|number| format!("{LIBRARIAN}/library-{number:04}")).collect();
    assert!(expected.len() > 1000);
    assert_eq!(found, expected);
    assert_eq!(all.len(), expected.len(), "each once");

    let search = |text: &str| -> Result<Vec<RepositoryView>> {
        mia.ask(&[&list[..], &["--search", text]].concat())
    };
    // Those of the last hundred, which are on the last pages of the whole list.
    assert_eq!(search("library-10")?.len(), REPOSITORIES - 1000);
    assert_eq!(search("library-1039")?.len(), 1);
    assert_eq!(search("library-9999")?.len(), 0);
    let some: Vec<RepositoryView> = mia.ask(&[&list[..], &["--limit", "203"]].concat())?;
    assert_eq!(some.len(), 203);
    let said = mia.read(&[&list[..], &["--limit", "3"]].concat())?;
    assert!(said.contains("these are the first 3"), "{said}");
    world.hunt();
    Ok(())
}
