//! Jobs, workloads and runners: they do their one thing and nothing else.

use super::*;

fn job(is_over: bool) -> Principal {
    Principal::Job { job: id("job", 1), organization: home(), is_over }
}

fn workload(is_over: bool) -> Principal {
    Principal::Workload { workload: id("work", 1), organization: home(), is_over }
}

fn ask(principal: &Principal, action: Action, target: &Target, facts: Facts) -> Decision {
    let mut asked = request(principal.clone(), action, target.clone());
    asked.facts = facts;
    policy().decide(&asked)
}

const BOUND: Facts = Facts { is_bound: true, is_holder: false, grants_ownership: false };
const HOLDER: Facts = Facts { is_bound: false, is_holder: true, grants_ownership: false };
const EVERYTHING: Facts = Facts { is_bound: true, is_holder: true, grants_ownership: true };

#[test]
fn a_lease_needs_a_binding_whatever_the_scope() {
    for scope in [Scope::Private, Scope::Public, Scope::Custom] {
        let target = connection(2, scope, &[1], &[]);
        for principal in [job(false), workload(false)] {
            assert!(ask(&principal, Action::LeaseIssue, &target, BOUND).is_allowed());
            for facts in [Facts::default(), HOLDER] {
                let decision = ask(&principal, Action::LeaseIssue, &target, facts);
                assert_eq!(decision.sentence(), "there is no approved binding to the connection");
                assert!(denied_by(decision).1.contains(&"the connection's owner".to_owned()));
            }
        }
    }
}

#[test]
fn a_lease_is_never_issued_to_people_runners_or_the_system() {
    let target = connection(1, Scope::Public, &[], &[]);
    let runner =
        Principal::Runner { runner: id("runner", 1), organization: None, is_deleted: false };
    for principal in [user(1, OWNER), user(1, MEMBER), runner, Principal::System] {
        assert!(!ask(&principal, Action::LeaseIssue, &target, EVERYTHING).is_allowed());
    }
}

#[test]
fn who_is_over_leases_nothing_and_gives_back_what_it_holds() {
    let target = connection(2, Scope::Public, &[], &[]);
    for (principal, policy) in [(job(true), "job-over"), (workload(true), "workload-over")] {
        assert_eq!(denied_by(ask(&principal, Action::LeaseIssue, &target, BOUND)).0, [policy]);
        assert!(ask(&principal, Action::LeaseEnd, &target, HOLDER).is_allowed());
        assert!(!ask(&principal, Action::LeaseEnd, &target, BOUND).is_allowed());
    }
}

#[test]
fn deleted_and_disabled_connections_are_not_leased() {
    for (deleted, disabled, expected) in
        [(true, false, "deleted-connection"), (false, true, "disabled-connection")]
    {
        let mut target = connection(2, Scope::Public, &[], &[]);
        if let Target::Connection { is_deleted, is_disabled, .. } = &mut target {
            (*is_deleted, *is_disabled) = (deleted, disabled);
        }
        assert_eq!(denied_by(ask(&job(false), Action::LeaseIssue, &target, BOUND)).0, [expected]);
        assert!(ask(&job(false), Action::LeaseEnd, &target, HOLDER).is_allowed());
    }
}

#[test]
fn jobs_and_workloads_may_nothing_else() {
    let own = Target::Workload { workload: id("work", 1), owner: id("user", 2) };
    let other = Target::Workload { workload: id("work", 2), owner: id("user", 2) };
    for action in Action::ALL {
        for target in [&Target::Organization, &connection(2, Scope::Public, &[], &[]), &own, &other]
        {
            for principal in [job(false), workload(false)] {
                let is_own_end = *action == Action::WorkloadEnd
                    && *target == own
                    && matches!(principal, Principal::Workload { .. });
                let is_lease = matches!(action, Action::LeaseIssue | Action::LeaseEnd)
                    && matches!(target, Target::Connection { .. });
                let allowed = ask(&principal, *action, target, EVERYTHING).is_allowed();
                assert_eq!(allowed, is_own_end || is_lease, "{action} on {target:?}");
            }
        }
    }
}

#[test]
fn runners_claim_and_do_nothing_else() {
    let policy = policy();
    let runner = |organization, is_deleted| Principal::Runner {
        runner: id("runner", 1),
        organization,
        is_deleted,
    };
    for action in Action::ALL {
        for target in [
            Target::Organization,
            connection(2, Scope::Public, &[], &[]),
            Target::Runner(id("runner", 1)),
        ] {
            for organization in [Some(home()), None] {
                let asked = request(runner(organization, false), *action, target.clone());
                let expected = *action == Action::RunnerClaim && target == Target::Organization;
                assert_eq!(policy.allows(&asked), expected, "{action} on {target:?}");
            }
        }
    }
    let claim = |principal| request(principal, Action::RunnerClaim, Target::Organization);
    assert_eq!(denied_by(policy.decide(&claim(runner(None, true)))).0, ["deleted-runner"]);
    let mut disabled = claim(runner(None, false));
    disabled.resource.organization_is_disabled = true;
    assert_eq!(denied_by(policy.decide(&disabled)).0, ["disabled-organization-runner"]);
    let foreign = claim(runner(Some(id("org", 2)), false));
    assert_eq!(denied_by(policy.decide(&foreign)).0, ["other-organization-runner"]);
}
