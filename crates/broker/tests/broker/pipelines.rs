//! Saving pipelines: all or nothing, and with exactly the rights that their authors can give.

use keyferry_domain::page::PageRequest;
use keyferry_domain::run::RunState;
use keyferry_domain::{ErrorKind, Role, Scope};

use crate::fixture::{TestBroker, assert_code, user};
use crate::scenes::{TWO_STAGES, git, pipeline, rights, run, save, start, states, with_connection};

async fn names(test: &TestBroker, actor: &keyferry_domain::Actor) -> Vec<String> {
    let page = PageRequest::default();
    let found = test.broker.list_pipelines(actor, &test.organization, None, &page).await.unwrap();
    found.items.into_iter().map(|one| one.name).collect()
}

#[tokio::test]
async fn what_the_author_may_use_is_approved_at_save() {
    let test = TestBroker::start().await;
    let member = test.add(Role::Member).await;
    git(&test, &member, "forge", Scope::Private).await;
    let made = pipeline(&test, &member, "Build", &with_connection("forge", "make")).await;
    assert_eq!(
        rights(&made.bindings),
        ["sources.app approved", "stages.build.jobs.compile approved"]
    );
    assert_eq!(made.bindings[0].approved_by, Some(user(&member)));
    assert_eq!((made.pipeline.current_revision, made.revision.number), (1, 1));
    assert_eq!(made.pipeline.owner_id, user(&member));
    let events = test.events("pipeline.create").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].data["places_waiting"], "0");
}

#[tokio::test]
async fn with_any_mistake_nothing_is_saved_and_each_is_told_with_its_place() {
    let test = TestBroker::start().await;
    let organization = &test.organization;
    git(&test, &test.owner, "forge", Scope::Public).await;
    for (yaml, wanted) in [
        ("stages: [", "line 1, column"),
        ("{a: 1, a: 2}", "line 1, column"),
        (&TWO_STAGES.replace("run: echo roll", "ruun: echo roll"), "`ruun`"),
        (&with_connection("froge", "make"), "did you mean `forge`"),
        (&with_connection("Not An Id", "make"), "line 6, column"),
        ("", "line"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "line"),
        ("stages: \"\0\"", "line 1"),
    ] {
        let made = test.broker.create_pipeline(&test.owner, organization, "Broken", yaml).await;
        let error = assert_code(made, "pipeline_invalid");
        let fields = &error.details().fields;
        assert!(fields.iter().all(|field| field.pointer == "/yaml"), "{fields:?}");
        assert!(fields.iter().any(|field| field.message.contains(wanted)), "{yaml}: {fields:?}");
        let found = test.broker.check_pipeline(&test.owner, organization, yaml).await.unwrap();
        assert_eq!(found.len(), fields.len(), "{yaml}");
    }
    assert!(names(&test, &test.owner).await.is_empty());
    assert!(test.events("pipeline.create").await.is_empty());

    let made = pipeline(&test, &test.owner, "Whole", TWO_STAGES).await.pipeline;
    let bad = "stages: [";
    let saved = test
        .broker
        .update_pipeline(&test.owner, organization, &made.id, Some("Other"), Some(bad), 1)
        .await;
    assert_code(saved, "pipeline_invalid");
    let after = test.broker.get_pipeline(&test.owner, organization, &made.id).await.unwrap();
    assert_eq!((after.pipeline.name.as_str(), after.revision.number), ("Whole", 1));
    assert_eq!(after.revision.yaml, TWO_STAGES);
}

#[tokio::test]
async fn texts_and_names_have_their_limits() {
    let test = TestBroker::start().await;
    let organization = &test.organization;
    let long = format!("{TWO_STAGES}#{}", "x".repeat(256 * 1024));
    let made = test.broker.create_pipeline(&test.owner, organization, "Long", &long).await;
    assert_eq!(assert_code(made, "invalid_input").details().fields[0].pointer, "/yaml");
    assert_code(
        test.broker.check_pipeline(&test.owner, organization, &long).await,
        "invalid_input",
    );
    for name in ["", " ", " x", "x\n", &"x".repeat(101)] {
        let made = test.broker.create_pipeline(&test.owner, organization, name, TWO_STAGES).await;
        let error = assert_code(made, "invalid_input");
        assert_eq!(error.details().fields[0].pointer, "/name", "{name:?}");
    }
    pipeline(&test, &test.owner, "Taken", TWO_STAGES).await;
    let made = test.broker.create_pipeline(&test.owner, organization, "TAKEN", TWO_STAGES).await;
    assert_code(made, "already_exists");
    let other = pipeline(&test, &test.owner, "Other", TWO_STAGES).await.pipeline;
    for yaml in [None, Some(TWO_STAGES)] {
        let saved = test
            .broker
            .update_pipeline(&test.owner, organization, &other.id, Some("taken"), yaml, 1)
            .await;
        assert_code(saved, "already_exists");
    }
    let saved =
        test.broker.update_pipeline(&test.owner, organization, &other.id, None, None, 1).await;
    assert_code(saved, "nothing_to_change");
    assert_eq!(names(&test, &test.owner).await, ["Other", "Taken"]);
}

#[tokio::test]
async fn a_connection_that_the_author_may_not_see_is_neither_suggested_nor_told_of() {
    let test = TestBroker::start().await;
    let (member, other) = (test.add(Role::Member).await, test.add(Role::Member).await);
    git(&test, &other, "hidden-forge", Scope::Private).await;
    let organization = &test.organization;
    let near = with_connection("hidden-forg", "make");
    let found = test.broker.check_pipeline(&member, organization, &near).await.unwrap();
    assert!(!found.is_empty());
    assert!(!format!("{found:?}").contains("hidden-forge"), "{found:?}");
    // Whoever got to know the ID may name it; that gives no right.
    let made = pipeline(&test, &member, "Pasted", &with_connection("hidden-forge", "make")).await;
    assert_eq!(
        rights(&made.bindings),
        ["sources.app needs_approval", "stages.build.jobs.compile needs_approval"]
    );
    assert_eq!(test.events("pipeline.create").await[0].data["places_waiting"], "2");
    // Its type is not told either.
    let wrong = with_connection("hidden-forge", "make").replace("type: git", "type: gitee");
    let found = test.broker.check_pipeline(&member, organization, &wrong).await.unwrap();
    assert!(!format!("{found:?}").contains("`git`"), "{found:?}");
}

#[tokio::test]
async fn an_approval_holds_only_as_long_as_its_place_is_unchanged() {
    let test = TestBroker::start().await;
    let (member, admin) = (test.add(Role::Member).await, test.add(Role::Admin).await);
    git(&test, &member, "forge", Scope::Private).await;
    let first = with_connection("forge", "make");
    let made = pipeline(&test, &member, "Build", &first).await;
    let id = &made.pipeline.id;

    // An admin may edit the pipeline and may not use the connection. What only people read is free.
    let renamed = first.replace("      compile:\n", "      compile:\n        name: Compile it\n");
    let saved = save(&test, &admin, id, &renamed).await;
    assert_eq!(
        rights(&saved.bindings),
        ["sources.app approved", "stages.build.jobs.compile approved"]
    );
    assert_eq!(saved.bindings[0].approved_by, Some(user(&member)), "who approved stays");

    // Another script loses the job's approval, and that of the source which the script can read.
    let stolen = with_connection("forge", "./steal");
    let saved = save(&test, &admin, id, &stolen).await;
    assert_eq!(
        rights(&saved.bindings),
        ["sources.app needs_approval", "stages.build.jobs.compile needs_approval"]
    );
    assert_eq!(saved.bindings[1].approved_by, None);
    // Going back does not bring it back.
    let saved = save(&test, &admin, id, &first).await;
    assert_eq!(rights(&saved.bindings)[1], "stages.build.jobs.compile needs_approval");

    // Another address of the source, another variable that the script sees.
    let saved = save(&test, &member, id, &first).await;
    assert_eq!(rights(&saved.bindings)[1], "stages.build.jobs.compile approved");
    let moved = first.replace("team/app.git", "team/other.git");
    let saved = save(&test, &admin, id, &moved).await;
    assert_eq!(
        rights(&saved.bindings),
        ["sources.app needs_approval", "stages.build.jobs.compile needs_approval"]
    );
    save(&test, &member, id, &first).await;
    let variables = format!("variables:\n  - {{key: LD_PRELOAD, value: ./evil.so}}\n{first}");
    let saved = save(&test, &admin, id, &variables).await;
    assert_eq!(rights(&saved.bindings)[1], "stages.build.jobs.compile needs_approval");

    // The pipeline of somebody who has left goes on.
    save(&test, &member, id, &first).await;
    test.broker.delete_member(&test.owner, &test.organization, &user(&member)).await.unwrap();
    let saved = save(&test, &admin, id, &renamed).await;
    assert_eq!(
        rights(&saved.bindings),
        ["sources.app approved", "stages.build.jobs.compile approved"]
    );
}

#[tokio::test]
async fn an_edit_costs_the_approval_of_the_places_that_it_touches_only() {
    let test = TestBroker::start().await;
    let (member, admin) = (test.add(Role::Member).await, test.add(Role::Admin).await);
    git(&test, &member, "forge", Scope::Private).await;
    let apart = "      apart:
        sourceOption: []
        steps:
          do: {step: Command, with: {connections: {forge: forge}, run: echo one}}
";
    let yaml = format!("{}{apart}", with_connection("forge", "make"));
    let made = pipeline(&test, &member, "Build", &yaml).await;
    assert!(rights(&made.bindings).iter().all(|one| one.ends_with(" approved")));
    let edited =
        save(&test, &admin, &made.pipeline.id, &yaml.replace("echo one", "echo two")).await;
    assert_eq!(
        rights(&edited.bindings),
        [
            "sources.app approved",
            "stages.build.jobs.apart needs_approval",
            "stages.build.jobs.compile approved"
        ]
    );
    assert_eq!(test.events("pipeline.update").await[0].data["places_waiting"], "1");
}

#[tokio::test]
async fn a_right_that_the_text_no_longer_names_is_gone() {
    let test = TestBroker::start().await;
    git(&test, &test.owner, "forge", Scope::Public).await;
    let made = pipeline(&test, &test.owner, "Build", &with_connection("forge", "make")).await;
    let saved = save(&test, &test.owner, &made.pipeline.id, TWO_STAGES).await;
    assert!(saved.bindings.is_empty());
    assert_eq!((saved.pipeline.current_revision, saved.revision.yaml.as_str()), (2, TWO_STAGES));
    let old = test
        .broker
        .get_revision(&test.owner, &test.organization, &made.pipeline.id, 1)
        .await
        .unwrap();
    assert_eq!(old.yaml, with_connection("forge", "make"));
    for number in [0, 3, -1, i64::MAX] {
        let found = test
            .broker
            .get_revision(&test.owner, &test.organization, &made.pipeline.id, number)
            .await;
        assert_code(found, "not_found");
    }
}

#[tokio::test]
async fn of_two_saves_at_once_one_wins() {
    let test = TestBroker::start().await;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let again = test.open_again().await;
    let other = TWO_STAGES.replace("echo roll", "echo other");
    let (one, two) = tokio::join!(
        test.broker.update_pipeline(
            &test.owner,
            &test.organization,
            &id,
            None,
            Some(TWO_STAGES),
            1
        ),
        again.update_pipeline(&test.owner, &test.organization, &id, None, Some(&other), 1),
    );
    let lost = match (one, two) {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        both => panic!("{both:?}"),
    };
    assert_eq!((lost.code(), lost.details().current_version), ("stale_version", Some(2)));
    let stale = test
        .broker
        .update_pipeline(&test.owner, &test.organization, &id, Some("Late"), None, 1)
        .await;
    assert_eq!(assert_code(stale, "stale_version").details().current_version, Some(2));
}

#[tokio::test]
async fn who_has_no_part_in_a_pipeline_is_told_the_same_as_about_none() {
    let test = TestBroker::start().await;
    let member = test.add(Role::Member).await;
    let id = pipeline(&test, &member, "Mine", TWO_STAGES).await.pipeline.id;
    let organization = &test.organization;
    let none: keyferry_domain::id::PipelineId = "pipe_00000000000000000000000000".parse().unwrap();
    let (outsider, other) = test.outsider().await;
    for who in [test.add(Role::Member).await, outsider.clone()] {
        assert!(
            names(&test, &test.owner).await == ["Mine"],
            "the owner of the organization sees it"
        );
        let mut texts = Vec::new();
        for wanted in [&id, &none] {
            let broker = &test.broker;
            let got = broker.get_pipeline(&who, organization, wanted).await.unwrap_err();
            let revision = broker.get_revision(&who, organization, wanted, 1).await.unwrap_err();
            let saved = broker
                .update_pipeline(&who, organization, wanted, Some("x"), None, 1)
                .await
                .unwrap_err();
            let deleted = broker.delete_pipeline(&who, organization, wanted).await.unwrap_err();
            let started = broker
                .create_run(&who, organization, wanted, keyferry_broker::runs::NewRun::default())
                .await
                .unwrap_err();
            let all = [got, revision, saved, deleted, started];
            assert!(all.iter().all(|error| error.kind() == ErrorKind::NotFound), "{all:?}");
            let told: Vec<String> = all
                .iter()
                .map(|error| {
                    format!("{error} {:?}", error.details()).replace(wanted.as_str(), "ID")
                })
                .collect();
            texts.push(told);
        }
        assert_eq!(texts[0], texts[1]);
    }
    assert_code(
        test.broker.list_pipelines(&outsider, organization, None, &PageRequest::default()).await,
        "not_found",
    );
    // By way of another organization that one belongs to, neither.
    assert_code(test.broker.get_pipeline(&outsider, &other, &id).await, "not_found");
    assert!(names(&test, &test.add(Role::Member).await).await.is_empty());
}

#[tokio::test]
async fn auditors_see_and_change_nothing() {
    let test = TestBroker::start().await;
    let auditor = test.add(Role::Auditor).await;
    let organization = &test.organization;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    assert_eq!(names(&test, &auditor).await, ["Build"]);
    let broker = &test.broker;
    assert_code(broker.create_pipeline(&auditor, organization, "New", TWO_STAGES).await, "denied");
    assert_code(
        broker.update_pipeline(&auditor, organization, &id, Some("x"), None, 1).await,
        "denied",
    );
    assert_code(broker.delete_pipeline(&auditor, organization, &id).await, "denied");
    let refused = test.events("pipeline.update").await;
    assert_eq!(refused.len(), 1);
    assert!(refused[0].reason.is_some());
}

#[tokio::test]
async fn a_deleted_pipeline_takes_its_runs_and_rights_with_it_and_leaves_their_record() {
    let test = TestBroker::start().await;
    git(&test, &test.owner, "forge", Scope::Public).await;
    let organization = &test.organization;
    let id = pipeline(&test, &test.owner, "Build", TWO_STAGES).await.pipeline.id;
    let started = start(&test, &test.owner, &id).await.run.id;
    test.broker.delete_pipeline(&test.owner, organization, &id).await.unwrap();
    assert_code(test.broker.get_pipeline(&test.owner, organization, &id).await, "not_found");
    assert_code(test.broker.delete_pipeline(&test.owner, organization, &id).await, "not_found");
    let after = run(&test, &started).await;
    assert_eq!(after.run.state, RunState::Canceled);
    assert_eq!(states(&after), ["build.compile canceled", "deploy.roll canceled"]);
    assert_eq!(after.pipeline_name, "Build");
    let job = &after.jobs[0].0.id;
    assert_code(
        test.broker.retry_job(&test.owner, organization, &started, job).await,
        "pipeline_deleted",
    );
    assert_eq!(test.events("run.cancel").await.len(), 1);
    pipeline(&test, &test.owner, "Build", TWO_STAGES).await;
}
