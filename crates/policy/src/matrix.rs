//! The table of permissions: who may do what, found by asking the policy for each. It is what
//! docs/reference/permissions.md shows, so a change of the policy is a change that is reviewed.

use std::fmt::Write as _;

use keyferry_domain::connection::ConnectionId;
use keyferry_domain::{Role, Scope};

use crate::action::Action;
use crate::policy::{Policy, PolicyError};
use crate::request::{Facts, PipelineMember, PipelineRole, Principal, Request, Resource, Target};

const ORGANIZATION: &str = "org_00000000000000000000000000";
const SELF: &str = "user_00000000000000000000000001";
const ANOTHER: &str = "user_00000000000000000000000002";
const ROLES: [Role; 4] = [Role::Owner, Role::Admin, Role::Member, Role::Auditor];

/// One table: its title, what its rows are asked on, for each kind of relation to it.
struct Table {
    title: &'static str,
    note: &'static str,
    variants: Vec<(&'static str, Target)>,
}

fn id<T: std::str::FromStr>(text: &str) -> Result<T, PolicyError> {
    text.parse().map_err(|_| PolicyError::Question(format!("`{text}` is no id")))
}

fn connection(owner: &str, scope: Scope, users: &[&str]) -> Result<Target, PolicyError> {
    Ok(Target::Connection {
        connection: id::<ConnectionId>("example")?,
        owner: Some(id(owner)?),
        scope,
        users: users.iter().map(|user| id(user)).collect::<Result<_, _>>()?,
        groups: Vec::new(),
        is_disabled: false,
        is_deleted: false,
    })
}

fn pipeline(owner: &str, role: Option<PipelineRole>) -> Result<Target, PolicyError> {
    let member = PipelineMember::User(id(SELF)?);
    Ok(Target::Pipeline {
        pipeline: id("pipe_00000000000000000000000000")?,
        owner: Some(id(owner)?),
        members: role.map(|role| (member, role)).into_iter().collect(),
        is_deleted: false,
    })
}

fn tables() -> Result<Vec<Table>, PolicyError> {
    let member = |user: &str, role| Ok(Target::Member { user: id(user)?, role });
    let token = |owner: &str| {
        Ok(Target::Token { token: id("tok_00000000000000000000000000")?, owner: id(owner)? })
    };
    let credential = |owner: &str| {
        Ok(Target::Credential {
            credential: id("cred_00000000000000000000000000")?,
            owner: Some(id(owner)?),
            is_deleted: false,
        })
    };
    let workload = |owner: &str| {
        Ok(Target::Workload { workload: id("work_00000000000000000000000000")?, owner: id(owner)? })
    };
    Ok(vec![
        Table {
            title: "In the organization",
            note: "Lists show only what each may also read.",
            variants: vec![("", Target::Organization)],
        },
        Table {
            title: "Members",
            note: "Giving ownership is for owners only, too.",
            variants: vec![
                ("self", member(SELF, Role::Member)?),
                ("another", member(ANOTHER, Role::Member)?),
                ("another, an owner", member(ANOTHER, Role::Owner)?),
            ],
        },
        Table {
            title: "Groups",
            note: "",
            variants: vec![("", Target::Group(id("group_00000000000000000000000000")?))],
        },
        Table {
            title: "API tokens",
            note: "A token itself is shown once, when it is made.",
            variants: vec![("own", token(SELF)?), ("another's", token(ANOTHER)?)],
        },
        Table {
            title: "Credentials",
            note: "No secret is ever shown to anyone.",
            variants: vec![("own", credential(SELF)?), ("another's", credential(ANOTHER)?)],
        },
        Table {
            title: "Connections",
            note: "Admins manage every connection and use only those whose scope they are in. \
                   A group of a custom scope counts like its users.",
            variants: vec![
                ("own", connection(SELF, Scope::Private, &[])?),
                ("another's, private", connection(ANOTHER, Scope::Private, &[])?),
                ("another's, public", connection(ANOTHER, Scope::Public, &[])?),
                ("another's, custom, chosen", connection(ANOTHER, Scope::Custom, &[SELF])?),
                ("another's, custom, not chosen", connection(ANOTHER, Scope::Custom, &[ANOTHER])?),
            ],
        },
        Table {
            title: "Pipelines",
            note: "By the part that one has in the pipeline.",
            variants: vec![
                ("owner", pipeline(SELF, None)?),
                ("admin", pipeline(ANOTHER, Some(PipelineRole::Admin))?),
                ("runner", pipeline(ANOTHER, Some(PipelineRole::Runner))?),
                ("viewer", pipeline(ANOTHER, Some(PipelineRole::Viewer))?),
                ("none", pipeline(ANOTHER, None)?),
            ],
        },
        Table {
            title: "Workloads",
            note: "",
            variants: vec![("own", workload(SELF)?), ("another's", workload(ANOTHER)?)],
        },
        Table {
            title: "Runners",
            note: "",
            variants: vec![("", Target::Runner(id("runner_00000000000000000000000000")?))],
        },
    ])
}

/// Renders the tables of permissions as markdown.
pub fn permissions_matrix() -> Result<String, PolicyError> {
    let policy = Policy::builtin()?;
    let mut text = "# Permissions\n\n\
        Who may do what, as the policies in `policies/` decide it. Generated; a change here is a \
        change of the policy. Nothing reaches across organizations, and nothing works for a \
        disabled user, in a disabled organization, or on what is deleted.\n"
        .to_owned();
    for table in tables()? {
        write_table(&mut text, &policy, &table)?;
    }
    write_machines(&mut text, &policy)?;
    Ok(text)
}

fn write_table(text: &mut String, policy: &Policy, table: &Table) -> Result<(), PolicyError> {
    let _ = write!(text, "\n## {}\n\n", table.title);
    if !table.note.is_empty() {
        let _ = write!(text, "{}\n\n", table.note);
    }
    text.push_str("| action | on | owner | admin | member | auditor | no member |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for action in Action::ALL
        .iter()
        .copied()
        .filter(|action| policy.applies(*action, table.variants[0].1.noun()))
    {
        if action == Action::LeaseIssue || action == Action::RunnerClaim {
            continue;
        }
        for (variant, target) in &table.variants {
            let _ = write!(text, "| `{action}` | {variant} |");
            for role in ROLES.map(Some).into_iter().chain([None]) {
                let principal = Principal::User {
                    user: id(SELF)?,
                    organization: id(ORGANIZATION)?,
                    role,
                    groups: Vec::new(),
                    is_disabled: false,
                };
                write_cell(text, policy, principal, action, target, Facts::default())?;
            }
            text.push('\n');
        }
    }
    Ok(())
}

fn write_cell(
    text: &mut String,
    policy: &Policy,
    principal: Principal,
    action: Action,
    target: &Target,
    facts: Facts,
) -> Result<(), PolicyError> {
    let resource = Resource::new(id(ORGANIZATION)?, target.clone());
    let is_allowed = policy.allows(&Request { principal, action, resource, facts });
    text.push_str(if is_allowed { " yes |" } else { " – |" });
    Ok(())
}

fn write_machines(text: &mut String, policy: &Policy) -> Result<(), PolicyError> {
    text.push_str(
        "\n## Jobs, workloads and runners\n\n\
         | action | when | job | workload | runner | any person |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    let organization = || id(ORGANIZATION);
    let open = connection(ANOTHER, Scope::Public, &[])?;
    let bound = Facts { is_bound: true, ..Facts::default() };
    let holder = Facts { is_holder: true, ..Facts::default() };
    for (action, when, target, facts) in [
        (Action::LeaseIssue, "bound to the connection", &open, bound),
        (Action::LeaseIssue, "not bound, even if it is public", &open, Facts::default()),
        (Action::LeaseEnd, "holds the lease", &open, holder),
        (Action::LeaseEnd, "another holds it", &open, Facts::default()),
        (Action::RunnerClaim, "", &Target::Organization, Facts::default()),
    ] {
        let _ = write!(text, "| `{action}` | {when} |");
        for principal in [
            Principal::Job {
                job: id("job_00000000000000000000000000")?,
                organization: organization()?,
                is_over: false,
            },
            Principal::Workload {
                workload: id("work_00000000000000000000000000")?,
                organization: organization()?,
                is_over: false,
            },
            Principal::Runner {
                runner: id("runner_00000000000000000000000000")?,
                organization: Some(organization()?),
                is_deleted: false,
            },
            Principal::User {
                user: id(SELF)?,
                organization: organization()?,
                role: Some(Role::Member),
                groups: Vec::new(),
                is_disabled: false,
            },
        ] {
            write_cell(text, policy, principal, action, target, facts)?;
        }
        text.push('\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_permissions_are_the_reviewed_ones() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/permissions.md");
        let wanted = super::permissions_matrix().unwrap();
        #[expect(clippy::disallowed_methods, reason = "tests have no settings module")]
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let present = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            present == wanted,
            "docs/reference/permissions.md is stale; review what has changed and run: UPDATE=1 \
             cargo test -p keyferry-policy permissions"
        );
    }
}
