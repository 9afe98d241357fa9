//! Which connections a pipeline names, and which of them cannot be meant.

use keyferry_pipeline::diagnostic::render_all;
use keyferry_pipeline::places::{PlaceKind, Purpose};
use keyferry_pipeline::{Definition, KnownConnection};

use crate::accepted::{GIT_AND_IMAGES, MINIMAL};

fn known(all: &[(&str, &str)]) -> Vec<KnownConnection> {
    all.iter()
        .map(|(id, kind)| KnownConnection {
            id: (*id).to_owned(),
            kind: (*kind).to_owned(),
            is_visible: true,
        })
        .collect()
}

#[test]
fn places_name_their_connections_and_what_for() {
    let places = Definition::parse(GIT_AND_IMAGES).unwrap().places();
    let shown: Vec<String> = places
        .iter()
        .flat_map(|place| {
            place.connections.iter().map(move |one| {
                format!(
                    "{} {}={} {:?} {}:{}",
                    place.path, one.name, one.id, one.purpose, one.line, one.column
                )
            })
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    sources.app app=forge Clone 7:63
    stages.merge.jobs.merge app=forge ChangeRepository 7:63
    stages.publish.jobs.push serviceConnection=images RegistryLogin 29:86
    stages.publish.jobs.push api=release-api Command 33:34
    stages.publish.jobs.push images=images Command 33:55
    ");
    assert_eq!(places[0].kind, PlaceKind::Source("app".to_owned()));
}

#[test]
fn a_step_that_changes_a_repository_makes_its_job_a_place() {
    let places = Definition::parse(GIT_AND_IMAGES).unwrap().places();
    let merge = places.iter().find(|place| place.path == "stages.merge.jobs.merge").unwrap();
    assert_eq!(merge.connections.len(), 1);
    assert_eq!(merge.connections[0].purpose, Purpose::ChangeRepository);
}

#[test]
fn a_pipeline_without_connections_has_no_places() {
    let definition = Definition::parse(MINIMAL).unwrap();
    assert_eq!(definition.places(), []);
    assert_eq!(definition.check_connections(&[]), []);
}

#[test]
fn fitting_connections_are_accepted() {
    let definition = Definition::parse(GIT_AND_IMAGES).unwrap();
    let all = known(&[
        ("forge", "gitea"),
        ("images", "private_docker_registry"),
        ("release-api", "generic"),
    ]);
    assert_eq!(definition.check_connections(&all), []);
}

#[test]
fn unknown_and_unfitting_connections_are_explained() {
    let definition = Definition::parse(GIT_AND_IMAGES).unwrap();
    let all = known(&[
        ("f0rge", "git"),
        ("forge-two", "gitea"),
        ("images", "git"),
        ("release-apl", "generic"),
    ]);
    let shown = render_all(&definition.check_connections(&all), "pipeline.yaml");
    insta::assert_snapshot!(shown, @r#"
    error[unknown_connection]: there is no connection `forge`
     --> pipeline.yaml:7:63 (sources.app)
    7 |     certificate: {type: serviceConnection, serviceConnection: forge}
      |                                                               ^
      = hint: did you mean `f0rge`?

    error[wrong_connection_type]: the connection `images` has the type `git`, which cannot log in to an image registry
      --> pipeline.yaml:29:86 (stages.publish.jobs.push)
    29 |             with: {dockerRepository: "registry.example.com:5000", serviceConnection: images}
       |                                                                                      ^
       = hint: connections that can: `forge-two`

    error[unknown_connection]: there is no connection `release-api`
      --> pipeline.yaml:33:34 (stages.publish.jobs.push)
    33 |               connections: {api: release-api, images: images}
       |                                  ^
       = hint: did you mean `release-apl`?
    "#);
}

#[test]
fn look_alikes_are_found_before_anything_nearer() {
    let text =
        GIT_AND_IMAGES.replace("serviceConnection: forge", "serviceConnection: k7l4mzIq9rtxw3hb");
    let definition = Definition::parse(&text).unwrap();
    let all = known(&[("k7l4mzlq9rtxw3hb", "git"), ("k7l4mzaq9rtxw3hb", "git")]);
    let first = definition.check_connections(&all).remove(0);
    assert_eq!(first.hint.as_deref(), Some("did you mean `k7l4mzlq9rtxw3hb`?"));
}

#[test]
fn hidden_connections_are_no_mistake_and_are_never_suggested() {
    let definition = Definition::parse(GIT_AND_IMAGES).unwrap();
    let mut all = known(&[
        ("forge", "gitea"),
        ("images", "private_docker_registry"),
        ("release-apl", "generic"),
    ]);
    for one in &mut all {
        one.is_visible = false;
    }
    let diagnostics = definition.check_connections(&all);
    assert_eq!(diagnostics.len(), 1);
    assert_eq!((diagnostics[0].line, &diagnostics[0].hint), (33, &None));
}

#[test]
fn the_spelling_of_ids_is_checked_without_a_server() {
    let definition = Definition::parse(GIT_AND_IMAGES).unwrap();
    assert_eq!(definition.check_connection_spelling(), []);
    let text =
        GIT_AND_IMAGES.replace("serviceConnection: forge", "serviceConnection: UIuvaR8vFrIjY4lj");
    let diagnostics = Definition::parse(&text).unwrap().check_connection_spelling();
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics[0].code, "unknown_connection");
}

#[test]
fn a_connection_whose_type_was_not_looked_up_is_suggested() {
    let definition = Definition::parse(GIT_AND_IMAGES).unwrap();
    let all =
        known(&[("forgee", ""), ("images", "private_docker_registry"), ("release-api", "generic")]);
    let diagnostics = definition.check_connections(&all);
    assert_eq!(diagnostics[0].hint.as_deref(), Some("did you mean `forgee`?"));
}

#[test]
fn the_type_of_a_hidden_connection_is_not_told() {
    let definition = Definition::parse(GIT_AND_IMAGES).unwrap();
    let mut all =
        known(&[("forge", "gitea"), ("images", "kubernetes"), ("release-api", "generic")]);
    all[1].is_visible = false;
    let diagnostics = definition.check_connections(&all);
    assert_eq!(
        diagnostics[0].message,
        "the connection `images` has a type that cannot log in to an image registry"
    );
}
