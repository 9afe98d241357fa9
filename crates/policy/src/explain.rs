//! Decisions as data, and the sentences that go with a refusal: why, and who could do it instead.
//! Deciding is in [`crate::policy`]; showing is for the console, the CLI and the audit record.

use keyferry_domain::id::UserId;
use keyferry_domain::{Role, Scope};

use crate::action::Action;
use crate::request::{Principal, Request, Target};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow {
        /// The ids of the policies that allow it.
        by: Vec<String>,
    },
    /// No.
    Deny {
        /// Why not; at least one.
        reasons: Vec<Reason>,
        /// Who could do it, `the connection's owner` for instance; may be nobody.
        who_can: Vec<String>,
    },
}

impl Decision {
    /// Tells whether it is a yes.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// Returns the reasons against as one line, without who could; empty for a yes.
    pub fn sentence(&self) -> String {
        match self {
            Self::Allow { .. } => String::new(),
            Self::Deny { reasons, .. } => {
                let sentences: Vec<&str> =
                    reasons.iter().map(|reason| reason.sentence.as_str()).collect();
                sentences.join("; ")
            }
        }
    }
}

/// One reason against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The id of the policy that forbids, [`Reason::NOTHING_ALLOWS`] or [`Reason::UNANSWERABLE`].
    pub policy: String,
    /// For the person who asked: lower case, no period.
    pub sentence: String,
}

impl Reason {
    /// Stands for the policy's id where no policy forbids, but none allows either.
    pub const NOTHING_ALLOWS: &'static str = "nothing-allows";
    /// Stands for the policy's id where the question could not be answered, which means no.
    pub const UNANSWERABLE: &'static str = "unanswerable";

    pub(crate) fn unanswerable(sentence: String) -> Self {
        Self { policy: Self::UNANSWERABLE.to_owned(), sentence }
    }
}

/// Tells what the request lacks when no policy allows it.
pub(crate) fn nothing_allows(request: &Request) -> Reason {
    let Request { principal, action, resource, .. } = request;
    let sentence = match (principal, &resource.target) {
        (Principal::User { role: None, .. }, _) => {
            "you are not a member of the organization".to_owned()
        }
        (Principal::Job { .. } | Principal::Workload { .. }, Target::Connection { .. })
            if *action == Action::LeaseIssue =>
        {
            "there is no approved binding to the connection".to_owned()
        }
        (Principal::Job { .. } | Principal::Workload { .. }, Target::Connection { .. })
            if *action == Action::LeaseEnd =>
        {
            "the lease is held by another".to_owned()
        }
        (Principal::User { .. }, Target::Connection { scope, .. }) => match scope {
            Scope::Private => "the connection is private and belongs to another".to_owned(),
            Scope::Custom => "the connection is for chosen users and groups only".to_owned(),
            Scope::Public => format!("{} does not allow `{action}`", principal.describe()),
        },
        (Principal::User { .. }, Target::Pipeline { .. }) => {
            format!("your part in the pipeline does not allow `{action}`")
        }
        (Principal::User { user, .. }, target)
            if target.owner().is_some_and(|owner| owner != user) =>
        {
            format!("the {} belongs to another", target.noun())
        }
        (Principal::User { .. }, _) => {
            format!("{} does not allow `{action}`", principal.describe())
        }
        (principal, target) => {
            format!("{} may not `{action}` on the {}", principal.describe(), target.noun())
        }
    };
    Reason { policy: Reason::NOTHING_ALLOWS.to_owned(), sentence }
}

/// Returns who might be allowed what was refused, each as the question they would ask.
///
/// For a lease it is those who may approve the binding, since that is what helps.
pub(crate) fn candidates(request: &Request) -> Vec<(String, Request)> {
    let Request { action, resource, facts, .. } = request;
    let (action, facts) = match (action, &request.principal) {
        (Action::LeaseIssue, Principal::Job { .. } | Principal::Workload { .. })
            if facts.is_bound =>
        {
            return Vec::new();
        }
        (Action::LeaseIssue, Principal::Job { .. } | Principal::Workload { .. }) => {
            (Action::BindingApprove, *facts)
        }
        _ => (*action, *facts),
    };
    let ask = |name: String, user: &UserId, role: Role, groups| {
        let principal = Principal::User {
            user: user.clone(),
            organization: resource.organization.clone(),
            role: Some(role),
            groups,
            is_disabled: false,
        };
        (name, Request { principal, action, resource: resource.clone(), facts })
    };
    let noun = resource.target.noun();
    let mut candidates = Vec::new();
    if let Some(owner) = resource.target.owner() {
        candidates.push(ask(format!("the {noun}'s owner"), owner, Role::Member, Vec::new()));
    }
    if let Target::Connection { users, groups, .. } = &resource.target {
        if let Some(user) = users.first() {
            candidates.push(ask("a user of its scope".to_owned(), user, Role::Member, Vec::new()));
        }
        if let (Some(group), Some(nobody)) = (groups.first(), nobody()) {
            let groups = vec![group.clone()];
            candidates.push(ask("a group of its scope".to_owned(), &nobody, Role::Member, groups));
        }
    }
    if let Some(nobody) = nobody() {
        for (role, name) in [
            (Role::Member, "any member"),
            (Role::Admin, "an admin of the organization"),
            (Role::Owner, "an owner of the organization"),
        ] {
            candidates.push(ask(name.to_owned(), &nobody, role, Vec::new()));
        }
    }
    candidates
}

/// Returns an id that no person has: it is from the first millisecond of 1970.
fn nobody() -> Option<UserId> {
    "user_00000000000000000000000000".parse().ok()
}
