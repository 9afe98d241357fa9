//! The policy as tables: who asks, for what, on what. Refusals outnumber permissions.

use keyferry_domain::id::{GroupId, OrganizationId, UserId};
use keyferry_domain::{Role, Scope};

use super::*;
use crate::request::{Facts, PipelineMember, PipelineRole, Resource, Target};

mod loading;
mod machines;
mod people;
mod resources;

/// Makes an id out of its prefix and one digit.
fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(prefix: &str, digit: u8) -> T {
    format!("{prefix}_0000000000000000000000000{digit}").parse().unwrap()
}

fn home() -> OrganizationId {
    id("org", 1)
}

fn user(digit: u8, role: Option<Role>) -> Principal {
    Principal::User {
        user: id("user", digit),
        organization: home(),
        role,
        groups: Vec::new(),
        is_disabled: false,
    }
}

fn in_group(mut principal: Principal, group: u8) -> Principal {
    if let Principal::User { groups, .. } = &mut principal {
        groups.push(id("group", group));
    }
    principal
}

const OWNER: Option<Role> = Some(Role::Owner);
const ADMIN: Option<Role> = Some(Role::Admin);
const MEMBER: Option<Role> = Some(Role::Member);
const AUDITOR: Option<Role> = Some(Role::Auditor);

fn connection(owner: u8, scope: Scope, users: &[u8], groups: &[u8]) -> Target {
    Target::Connection {
        connection: "example".parse().unwrap(),
        owner: Some(id("user", owner)),
        scope,
        users: users.iter().map(|digit| id::<UserId>("user", *digit)).collect(),
        groups: groups.iter().map(|digit| id::<GroupId>("group", *digit)).collect(),
        is_disabled: false,
        is_deleted: false,
    }
}

fn request(principal: Principal, action: Action, target: Target) -> Request {
    let resource = Resource::new(home(), target);
    Request { principal, action, resource, facts: Facts::default() }
}

/// The built-in policy, loaded once: loading takes longer than all questions of a test.
fn policy() -> &'static Policy {
    static POLICY: std::sync::LazyLock<Policy> =
        std::sync::LazyLock::new(|| Policy::builtin().unwrap());
    &POLICY
}

/// Asks each action of the table for one principal on one thing.
fn check(principal: &Principal, target: &Target, table: &[(Action, bool)]) {
    let policy = policy();
    for (action, expected) in table {
        let decision = policy.decide(&request(principal.clone(), *action, target.clone()));
        assert_eq!(decision.is_allowed(), *expected, "{action} by {principal:?}: {decision:?}");
        if let Decision::Deny { reasons, .. } = &decision {
            assert!(!reasons.is_empty() && !decision.sentence().is_empty());
            let unanswerable = |reason: &Reason| reason.policy == Reason::UNANSWERABLE;
            assert!(!reasons.iter().any(unanswerable), "{action}: {decision:?}");
        }
    }
}

fn denied_by(decision: Decision) -> (Vec<String>, Vec<String>) {
    match decision {
        Decision::Allow { by } => panic!("allowed by {by:?}"),
        Decision::Deny { reasons, who_can } => {
            (reasons.into_iter().map(|reason| reason.policy).collect(), who_can)
        }
    }
}
