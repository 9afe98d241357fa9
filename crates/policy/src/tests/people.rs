//! Roles, ownership, tokens, and the wall between organizations.

use super::*;

fn member(digit: u8, role: Role) -> Target {
    Target::Member { user: id("user", digit), role }
}

#[test]
fn somebody_without_a_role_may_nothing() {
    let policy = policy();
    for action in Action::ALL {
        for target in [
            Target::Organization,
            member(2, Role::Member),
            Target::Group(id("group", 1)),
            Target::Token { token: id("tok", 1), owner: id("user", 2) },
            Target::Credential {
                credential: id("cred", 1),
                owner: Some(id("user", 1)),
                is_deleted: false,
            },
            connection(1, Scope::Public, &[1], &[1]),
            Target::Pipeline {
                pipeline: id("pipe", 1),
                owner: Some(id("user", 1)),
                members: vec![(PipelineMember::User(id("user", 1)), PipelineRole::Admin)],
                is_deleted: false,
            },
            Target::Workload { workload: id("work", 1), owner: id("user", 1) },
            Target::Runner(id("runner", 1)),
        ] {
            let asked = request(in_group(user(1, None), 1), *action, target);
            assert!(!policy.allows(&asked), "{action} on {:?}", asked.resource);
        }
    }
}

#[test]
fn nothing_reaches_across_organizations() {
    let policy = policy();
    let foreign = id("org", 2);
    for action in Action::ALL {
        for target in [
            Target::Organization,
            member(1, Role::Member),
            Target::Token { token: id("tok", 1), owner: id("user", 1) },
            connection(1, Scope::Public, &[1], &[1]),
            Target::Workload { workload: id("work", 1), owner: id("user", 1) },
            Target::Runner(id("runner", 1)),
        ] {
            for principal in [
                user(1, OWNER),
                Principal::Job { job: id("job", 1), organization: home(), is_over: false },
                Principal::Workload {
                    workload: id("work", 1),
                    organization: home(),
                    is_over: false,
                },
                Principal::Runner {
                    runner: id("runner", 1),
                    organization: Some(home()),
                    is_deleted: false,
                },
            ] {
                let mut asked = request(principal, *action, target.clone());
                asked.facts = Facts { is_bound: true, is_holder: true, grants_ownership: false };
                asked.resource.organization.clone_from(&foreign);
                assert!(!policy.allows(&asked), "{asked:?}");
            }
        }
    }
    let mut asked = request(user(1, OWNER), Action::OrganizationRead, Target::Organization);
    asked.resource.organization = foreign;
    assert_eq!(denied_by(policy.decide(&asked)).0, ["other-organization"]);
}

#[test]
fn disabled_users_and_organizations_are_refused() {
    let policy = policy();
    let mut principal = user(1, OWNER);
    if let Principal::User { is_disabled, .. } = &mut principal {
        *is_disabled = true;
    }
    let asked = request(principal, Action::OrganizationRead, Target::Organization);
    assert_eq!(denied_by(policy.decide(&asked)).0, ["disabled-user"]);
    let mut asked = request(user(1, OWNER), Action::OrganizationRead, Target::Organization);
    asked.resource.organization_is_disabled = true;
    assert_eq!(denied_by(policy.decide(&asked)).0, ["disabled-organization"]);
    asked.principal = Principal::System;
    assert!(policy.allows(&asked));
}

#[test]
fn roles_in_the_organization() {
    let all = |role, table: &[(Action, bool)]| check(&user(1, role), &Target::Organization, table);
    all(
        OWNER,
        &[
            (Action::MemberCreate, true),
            (Action::AuditRead, true),
            (Action::OrganizationCreate, false),
        ],
    );
    all(
        ADMIN,
        &[
            (Action::MemberCreate, true),
            (Action::RunnerRegister, true),
            (Action::OrganizationCreate, false),
        ],
    );
    all(
        MEMBER,
        &[
            (Action::ConnectionCreate, true),
            (Action::PipelineCreate, true),
            (Action::WorkloadCreate, true),
            (Action::MemberCreate, false),
            (Action::OrganizationUpdate, false),
            (Action::RunnerRegister, false),
            (Action::GroupCreate, false),
            (Action::AuditRead, false),
        ],
    );
    all(
        AUDITOR,
        &[
            (Action::AuditRead, true),
            (Action::ConnectionList, true),
            (Action::ConnectionCreate, false),
            (Action::CredentialCreate, false),
            (Action::PipelineCreate, false),
            (Action::WorkloadCreate, false),
            (Action::OrganizationUpdate, false),
            (Action::MemberCreate, false),
        ],
    );
}

#[test]
fn only_owners_make_change_and_remove_owners() {
    let policy = policy();
    let ask = |role, action, target, grants_ownership| {
        let mut asked = request(user(1, role), action, target);
        asked.facts.grants_ownership = grants_ownership;
        policy.decide(&asked)
    };
    for (action, target) in [
        (Action::MemberCreate, Target::Organization),
        (Action::MemberUpdate, member(2, Role::Member)),
        (Action::MemberUpdate, member(1, Role::Admin)),
    ] {
        let refused = denied_by(ask(ADMIN, action, target.clone(), true)).0;
        assert_eq!(refused, ["ownership-given-by-owners"]);
        assert!(ask(OWNER, action, target, true).is_allowed());
    }
    for action in [Action::MemberUpdate, Action::MemberDelete] {
        let refused = denied_by(ask(ADMIN, action, member(2, Role::Owner), false));
        assert_eq!(refused.0, ["owners-changed-by-owners"]);
        assert_eq!(refused.1, ["an owner of the organization"]);
        assert!(ask(OWNER, action, member(2, Role::Owner), false).is_allowed());
    }
}

#[test]
fn members_leave_and_remove_nobody_else() {
    check(
        &user(1, MEMBER),
        &member(1, Role::Member),
        &[(Action::MemberDelete, true), (Action::MemberRead, true), (Action::MemberUpdate, false)],
    );
    check(
        &user(1, MEMBER),
        &member(2, Role::Member),
        &[(Action::MemberDelete, false), (Action::MemberUpdate, false)],
    );
}

#[test]
fn tokens_are_their_owners_and_admins_may_end_them() {
    let token = Target::Token { token: id("tok", 1), owner: id("user", 2) };
    check(&user(2, MEMBER), &token, &[(Action::TokenRead, true), (Action::TokenDelete, true)]);
    check(&user(1, MEMBER), &token, &[(Action::TokenRead, false), (Action::TokenDelete, false)]);
    check(&user(1, ADMIN), &token, &[(Action::TokenRead, true), (Action::TokenDelete, true)]);
    check(&user(1, AUDITOR), &token, &[(Action::TokenRead, true), (Action::TokenDelete, false)]);
}
