//! What is loaded, what is refused at load, and what happens when a policy fails.

use super::*;

const MINI: &str = r#"
entity User { age?: Long };
entity Thing;
action "see" appliesTo { principal: [User], resource: Thing, context: {} };
"#;

fn load(text: &str) -> Result<Policy, PolicyError> {
    Policy::from_text(MINI, &[("a.cedar", text)])
}

#[test]
fn the_builtin_policies_fit_the_schema_strictly() {
    assert!(policy().policies().num_of_policies() > 30);
}

#[test]
fn code_and_schema_know_the_same_actions() {
    let policy = policy();
    let mut schema: Vec<String> = policy
        .schema()
        .actions()
        .map(|action| AsRef::<str>::as_ref(action.id()).to_owned())
        .collect();
    let mut code: Vec<String> =
        Action::ALL.iter().map(|action| action.as_str().to_owned()).collect();
    schema.sort();
    code.sort();
    assert_eq!(schema, code);
}

#[test]
fn action_names_are_read_back_and_others_are_refused() {
    for (index, action) in Action::ALL.iter().enumerate() {
        assert_eq!(action.as_str().parse(), Ok(*action));
        assert_eq!(*action as usize, index);
    }
    for text in ["", "connection", "connection.", "Connection.Use", "connection.own"] {
        assert!(text.parse::<Action>().is_err(), "{text}");
    }
}

#[test]
fn every_file_of_the_folder_is_loaded() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "schema.cedarschema")
        .collect();
    let mut loaded: Vec<String> = BUILTIN.iter().map(|(name, _)| (*name).to_owned()).collect();
    found.sort();
    loaded.sort();
    assert_eq!(found, loaded);
}

#[test]
fn broken_policies_are_refused_at_load() {
    let ok = r#"@id("a") permit (principal, action, resource);"#;
    assert!(load(ok).is_ok());
    assert!(matches!(load("permit ("), Err(PolicyError::Text { .. })));
    assert!(matches!(load("permit (principal, action, resource);"), Err(PolicyError::Id { .. })));
    assert!(matches!(load(&format!("{ok}{ok}")), Err(PolicyError::Id { .. })));
    for text in [
        r#"@id("a") permit (principal, action == Action::"sea", resource);"#,
        r#"@id("a") permit (principal, action, resource) when { principal.agee > 1 };"#,
        r#"@id("a") permit (principal, action, resource) when { principal.age > 1 };"#,
        r#"@id("a") permit (principal is Robot, action, resource);"#,
    ] {
        assert!(matches!(load(text), Err(PolicyError::Invalid(_))), "{text}");
    }
    let silent = r#"@id("a") forbid (principal, action, resource);"#;
    assert!(matches!(load(silent), Err(PolicyError::Silent { .. })));
    let template = r#"@id("a") permit (principal == ?principal, action, resource);"#;
    assert!(matches!(load(template), Err(PolicyError::Text { .. })));
    assert!(matches!(Policy::from_text("entity", &[]), Err(PolicyError::Schema(_))));
}

#[test]
fn no_policy_at_all_allows_nothing() {
    let policy = Policy::from_text(SCHEMA, &[]).unwrap();
    let asked = request(user(1, OWNER), Action::OrganizationRead, Target::Organization);
    assert_eq!(denied_by(policy.decide(&asked)).0, [Reason::NOTHING_ALLOWS]);
}

#[test]
fn a_policy_that_fails_refuses_whatever_others_allow() {
    // Adding to the greatest number fails when it is asked, which no validation can foresee.
    let failing = r#"
        @id("all") permit (principal, action, resource);
        @id("fails") @says("no") forbid (principal is User, action, resource)
        when { 9223372036854775807 + (if principal.is_disabled then 0 else 1) > 0 };
    "#;
    let policy = Policy::from_text(SCHEMA, &[("a.cedar", failing)]).unwrap();
    let asked = request(user(1, OWNER), Action::OrganizationRead, Target::Organization);
    assert!(!policy.allows(&asked));
    assert_eq!(denied_by(policy.decide(&asked)).0, [Reason::UNANSWERABLE]);
}

#[test]
fn a_question_that_makes_no_sense_is_refused() {
    let policy = policy();
    for (action, target) in [
        (Action::ConnectionUse, Target::Organization),
        (Action::RunnerClaim, Target::Organization),
        (Action::MemberUpdate, connection(1, Scope::Public, &[], &[])),
    ] {
        let asked = request(user(1, OWNER), action, target);
        assert_eq!(denied_by(policy.decide(&asked)).0, [Reason::UNANSWERABLE]);
    }
}
