//! Credentials, connections and pipelines: looking after is not using.

use super::*;

const USES: [Action; 6] = [
    Action::ConnectionUse,
    Action::ConnectionBrowse,
    Action::BranchMerge,
    Action::BranchDelete,
    Action::TagDelete,
    Action::BindingApprove,
];
const MANAGES: [Action; 5] = [
    Action::ConnectionUpdate,
    Action::ConnectionReconfigure,
    Action::ConnectionVerify,
    Action::ConnectionDelete,
    Action::LeaseEnd,
];

fn all(actions: &[Action], expected: bool) -> Vec<(Action, bool)> {
    actions.iter().map(|action| (*action, expected)).collect()
}

#[test]
fn a_connection_is_used_by_its_scope_only_whatever_the_role() {
    let private = connection(2, Scope::Private, &[1], &[1]);
    let public = connection(2, Scope::Public, &[], &[]);
    let custom = connection(2, Scope::Custom, &[1], &[3]);
    for role in [OWNER, ADMIN, MEMBER] {
        check(&in_group(user(1, role), 1), &private, &all(&USES, false));
        check(&user(2, role), &private, &all(&USES, true));
        check(&user(1, role), &public, &all(&USES, true));
        check(&user(1, role), &custom, &all(&USES, true));
        check(&in_group(user(4, role), 3), &custom, &all(&USES, true));
        check(&in_group(user(4, role), 2), &custom, &all(&USES, false));
        check(&user(2, role), &custom, &all(&USES, true));
    }
    for target in [private, public, custom, connection(1, Scope::Private, &[], &[])] {
        check(&user(1, AUDITOR), &target, &all(&USES, false));
        check(&user(1, AUDITOR), &target, &all(&MANAGES, false));
        check(
            &user(1, AUDITOR),
            &target,
            &[(Action::ConnectionRead, true), (Action::LeaseRead, true)],
        );
    }
}

#[test]
fn admins_manage_every_connection_and_members_their_own() {
    for scope in [Scope::Private, Scope::Public, Scope::Custom] {
        let target = connection(2, scope, &[1], &[]);
        check(&user(3, ADMIN), &target, &all(&MANAGES, true));
        check(
            &user(3, ADMIN),
            &target,
            &[(Action::ConnectionRead, true), (Action::ConnectionTransfer, true)],
        );
        check(&user(2, MEMBER), &target, &all(&MANAGES, true));
        check(&user(2, MEMBER), &target, &[(Action::ConnectionTransfer, true)]);
        check(&user(2, AUDITOR), &target, &[(Action::ConnectionTransfer, false)]);
        check(&user(1, MEMBER), &target, &[(Action::ConnectionTransfer, false)]);
        check(&user(1, MEMBER), &target, &all(&MANAGES, false));
    }
    let private = connection(2, Scope::Private, &[], &[]);
    check(
        &user(1, MEMBER),
        &private,
        &[
            (Action::ConnectionRead, false),
            (Action::ConnectionExplain, false),
            (Action::LeaseRead, false),
            (Action::BindingRevoke, false),
        ],
    );
}

#[test]
fn deleted_disabled_and_ownerless_connections() {
    let with = |change: fn(&mut bool, &mut bool, &mut Option<UserId>)| {
        let mut target = connection(2, Scope::Private, &[], &[]);
        if let Target::Connection { is_deleted, is_disabled, owner, .. } = &mut target {
            change(is_deleted, is_disabled, owner);
        }
        target
    };
    let deleted = with(|is_deleted, _, _| *is_deleted = true);
    check(&user(2, OWNER), &deleted, &all(&USES, false));
    check(
        &user(2, OWNER),
        &deleted,
        &[
            (Action::ConnectionRead, false),
            (Action::ConnectionReconfigure, false),
            (Action::LeaseRead, true),
            (Action::LeaseEnd, true),
        ],
    );
    let disabled = with(|_, is_disabled, _| *is_disabled = true);
    check(&user(2, MEMBER), &disabled, &all(&USES, false));
    check(&user(2, MEMBER), &disabled, &all(&MANAGES, true));
    let orphaned = with(|_, _, owner| *owner = None);
    check(&user(2, MEMBER), &orphaned, &all(&USES, false));
    check(&user(2, MEMBER), &orphaned, &all(&MANAGES, false));
    check(
        &user(1, ADMIN),
        &orphaned,
        &[(Action::ConnectionTransfer, true), (Action::ConnectionUse, false)],
    );
}

#[test]
fn a_credential_goes_behind_a_connection_by_its_owner_only() {
    let credential = |is_deleted| Target::Credential {
        credential: id("cred", 1),
        owner: Some(id("user", 2)),
        is_deleted,
    };
    for role in [OWNER, ADMIN, MEMBER, AUDITOR] {
        check(&user(1, role), &credential(false), &[(Action::CredentialUse, false)]);
        check(
            &user(2, role),
            &credential(true),
            &[(Action::CredentialUse, false), (Action::CredentialRead, false)],
        );
    }
    check(
        &user(2, MEMBER),
        &credential(false),
        &[
            (Action::CredentialUse, true),
            (Action::CredentialUpdate, true),
            (Action::CredentialTransfer, true),
        ],
    );
    check(&user(1, MEMBER), &credential(false), &[(Action::CredentialTransfer, false)]);
    check(
        &user(2, AUDITOR),
        &credential(false),
        &[
            (Action::CredentialRead, true),
            (Action::CredentialUse, false),
            (Action::CredentialUpdate, false),
            (Action::CredentialTransfer, false),
        ],
    );
    check(
        &user(1, ADMIN),
        &credential(false),
        &[(Action::CredentialTransfer, true), (Action::CredentialUpdate, true)],
    );
    check(
        &user(1, MEMBER),
        &credential(false),
        &[(Action::CredentialRead, false), (Action::CredentialDelete, false)],
    );
}

fn pipeline(members: Vec<(PipelineMember, PipelineRole)>, is_deleted: bool) -> Target {
    Target::Pipeline { pipeline: id("pipe", 1), owner: Some(id("user", 2)), members, is_deleted }
}

#[test]
fn the_four_parts_in_a_pipeline() {
    let see = [Action::PipelineRead, Action::RunRead];
    let run = [Action::PipelineRun, Action::RunStart, Action::RunCancel, Action::RunRetry];
    let change = [
        Action::PipelineUpdate,
        Action::PipelineDelete,
        Action::PipelineShare,
        Action::BindingRevoke,
    ];
    for (part, may_run, may_change) in [
        (PipelineRole::Admin, true, true),
        (PipelineRole::Runner, true, false),
        (PipelineRole::Viewer, false, false),
    ] {
        let by_user = pipeline(vec![(PipelineMember::User(id("user", 1)), part)], false);
        let by_group = pipeline(vec![(PipelineMember::Group(id("group", 3)), part)], false);
        for (principal, target) in
            [(user(1, MEMBER), by_user.clone()), (in_group(user(5, MEMBER), 3), by_group)]
        {
            check(&principal, &target, &all(&see, true));
            check(&principal, &target, &all(&run, may_run));
            check(&principal, &target, &all(&change, may_change));
        }
        check(&user(1, AUDITOR), &by_user, &all(&run, false));
        check(&user(1, AUDITOR), &by_user, &all(&change, false));
        check(&user(6, MEMBER), &by_user, &all(&see, false));
        check(&user(6, MEMBER), &by_user, &all(&run, false));
    }
    let bare = pipeline(Vec::new(), false);
    check(
        &user(2, MEMBER),
        &bare,
        &[all(&see, true), all(&run, true), all(&change, true)].concat(),
    );
    check(&user(1, ADMIN), &bare, &[all(&see, true), all(&run, true), all(&change, true)].concat());
    check(
        &user(1, AUDITOR),
        &bare,
        &[all(&see, true), all(&run, false), all(&change, false)].concat(),
    );
    let deleted = pipeline(Vec::new(), true);
    check(
        &user(2, OWNER),
        &deleted,
        &[all(&change, false), vec![(Action::RunStart, false), (Action::RunCancel, true)]].concat(),
    );
}

#[test]
fn a_refusal_says_why_and_who_could() {
    let policy = policy();
    let private =
        request(user(1, ADMIN), Action::ConnectionUse, connection(2, Scope::Private, &[], &[]));
    let decision = policy.decide(&private);
    assert_eq!(decision.sentence(), "the connection is private and belongs to another");
    assert_eq!(denied_by(decision).1, ["the connection's owner"]);

    let custom =
        request(user(1, MEMBER), Action::ConnectionUse, connection(2, Scope::Custom, &[4], &[5]));
    assert_eq!(
        denied_by(policy.decide(&custom)).1,
        ["the connection's owner", "a user of its scope", "a group of its scope"]
    );
    let transfer = request(
        user(1, MEMBER),
        Action::ConnectionTransfer,
        connection(2, Scope::Public, &[], &[]),
    );
    let (reasons, who_can) = denied_by(policy.decide(&transfer));
    assert_eq!(reasons, [Reason::NOTHING_ALLOWS]);
    assert_eq!(
        who_can,
        ["the connection's owner", "an admin of the organization", "an owner of the organization"]
    );
}

#[test]
fn a_permission_names_the_policies_that_give_it() {
    let asked =
        request(user(1, MEMBER), Action::ConnectionUse, connection(1, Scope::Public, &[], &[]));
    let by = ["own-connections", "public-connections"].map(ToOwned::to_owned).to_vec();
    assert_eq!(policy().decide(&asked), Decision::Allow { by });
}
