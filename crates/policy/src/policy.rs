//! Loads the policy text and decides. One function answers both "may I?" and "why not?"; the
//! sentences of the answer are in [`crate::explain`].

use std::fmt;

use cedar_policy::{
    Authorizer, Context, Entities, PolicyId, PolicySet, Schema, ValidationMode, Validator,
};

use crate::action::Action;
use crate::entities::{self, Names};
use crate::explain::{self, Decision, Reason};
use crate::request::{Principal, Request};

/// The policy text that Keyferry is built with, by file.
const BUILTIN: &[(&str, &str)] = &[
    ("refusals.cedar", include_str!("../../../policies/refusals.cedar")),
    ("people.cedar", include_str!("../../../policies/people.cedar")),
    ("connections.cedar", include_str!("../../../policies/connections.cedar")),
    ("pipelines.cedar", include_str!("../../../policies/pipelines.cedar")),
    ("machines.cedar", include_str!("../../../policies/machines.cedar")),
];
const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");

/// Why there is no policy to decide with, or no question to decide on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The schema does not parse.
    #[error("read the policy schema: {0}")]
    Schema(String),
    /// A policy does not parse.
    #[error("read the policies in `{file}`: {reason}")]
    Text {
        /// The file.
        file: String,
        /// What the parser said.
        reason: String,
    },
    /// A policy has no `@id`, or another one has the same.
    #[error("tell a policy in `{file}` apart; {reason}")]
    Id {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A `forbid` that says nothing to those it refuses.
    #[error("use the policy `{id}`; it refuses without `@says`")]
    Silent {
        /// The policy's id.
        id: String,
    },
    /// A policy does not fit the schema: it could never apply, or fail when it does.
    #[error("check the policies against the schema: {0}")]
    Invalid(String),
    /// The question does not fit the schema.
    #[error("put the question to the policy: {0}")]
    Question(String),
}

/// The compiled policy.
pub struct Policy {
    policies: PolicySet,
    schema: Schema,
    names: Names,
    authorizer: Authorizer,
}

impl Policy {
    /// Loads the policy that Keyferry is built with.
    pub fn builtin() -> Result<Self, PolicyError> {
        Self::from_text(SCHEMA, BUILTIN)
    }

    /// Loads policies: each needs an `@id` of its own and must fit the schema strictly.
    pub(crate) fn from_text(schema: &str, files: &[(&str, &str)]) -> Result<Self, PolicyError> {
        let (schema, _warnings) = Schema::from_cedarschema_str(schema)
            .map_err(|error| PolicyError::Schema(error.to_string()))?;
        let mut policies = PolicySet::new();
        for (file, text) in files {
            let file = (*file).to_owned();
            let parsed: PolicySet = text.parse().map_err(|error: cedar_policy::ParseErrors| {
                PolicyError::Text { file: file.clone(), reason: error.to_string() }
            })?;
            if parsed.templates().next().is_some() {
                let reason = "templates are not used here".to_owned();
                return Err(PolicyError::Text { file, reason });
            }
            for policy in parsed.policies() {
                let id = policy.annotation("id").ok_or_else(|| PolicyError::Id {
                    file: file.clone(),
                    reason: "it has no `@id`".to_owned(),
                })?;
                let is_silent = policy.annotation("says").is_none_or(str::is_empty);
                if policy.effect() == cedar_policy::Effect::Forbid && is_silent {
                    return Err(PolicyError::Silent { id: id.to_owned() });
                }
                policies.add(policy.new_id(PolicyId::new(id))).map_err(|_| PolicyError::Id {
                    file: file.clone(),
                    reason: format!("`{id}` is taken"),
                })?;
            }
        }
        let result = Validator::new(schema.clone()).validate(&policies, ValidationMode::Strict);
        let findings: Vec<String> = result
            .validation_errors()
            .map(ToString::to_string)
            .chain(result.validation_warnings().map(ToString::to_string))
            .collect();
        if !findings.is_empty() {
            return Err(PolicyError::Invalid(findings.join("; ")));
        }
        Ok(Self { policies, schema, names: Names::new()?, authorizer: Authorizer::new() })
    }

    /// Decides, and says why. Whatever goes wrong on the way is a refusal.
    pub fn decide(&self, request: &Request) -> Decision {
        match self.evaluate(request) {
            Ok(by) => Decision::Allow { by },
            Err(mut reasons) => {
                if reasons.is_empty() {
                    reasons.push(explain::nothing_allows(request));
                }
                Decision::Deny { reasons, who_can: self.who_can(request) }
            }
        }
    }

    /// Decides without the explanation of a refusal: for filtering lists.
    pub fn allows(&self, request: &Request) -> bool {
        self.evaluate(request).is_ok()
    }

    /// Returns the ids of the policies that allow, or the reasons against; none when it is only
    /// that nothing allows.
    fn evaluate(&self, request: &Request) -> Result<Vec<String>, Vec<Reason>> {
        let (question, slice) = self
            .question(request)
            .map_err(|error| vec![Reason::unanswerable(error.to_string())])?;
        let response = self.authorizer.is_authorized(&question, &self.policies, &slice);
        // A policy that fails is skipped by the engine, and a skipped `forbid` would be a hole.
        let failures: Vec<Reason> = response
            .diagnostics()
            .errors()
            .map(|error| Reason::unanswerable(error.to_string()))
            .collect();
        if !failures.is_empty() {
            return Err(failures);
        }
        let mut ids: Vec<&PolicyId> = response.diagnostics().reason().collect();
        ids.sort();
        match response.decision() {
            cedar_policy::Decision::Allow => Ok(ids.into_iter().map(ToString::to_string).collect()),
            cedar_policy::Decision::Deny => Err(ids
                .into_iter()
                .map(|id| Reason {
                    policy: id.to_string(),
                    sentence: self
                        .policies
                        .annotation(id, "says")
                        .unwrap_or("a policy forbids it")
                        .to_owned(),
                })
                .collect()),
        }
    }

    fn question(
        &self,
        request: &Request,
    ) -> Result<(cedar_policy::Request, Entities), PolicyError> {
        let question = |error: &dyn fmt::Display| PolicyError::Question(error.to_string());
        let Request { principal, action, resource, facts } = request;
        let asking = self.names.principal(principal)?;
        let asking_uid = asking.uid();
        let (asked_uid, asked) = self.names.resource(resource)?;
        let foreign = self.names.foreign_organization(principal, resource)?;
        // A workload that ends itself is both who asks and what is asked about, and is one entity;
        // were it said to be in two organizations, the wall between them could not be seen.
        if foreign.is_some() && asked_uid == asking_uid {
            return Err(question(&"who asks is said to be in two organizations"));
        }
        let asked = asked.filter(|asked| asked.uid() != asking_uid);
        let slice: Vec<_> = [Some(asking), asked, Some(self.names.organization_entity(resource)?)]
            .into_iter()
            .chain([foreign])
            .flatten()
            .collect();
        // Checking each entity against the schema costs more than deciding, and what is wrong
        // would show as a failing policy, which refuses; so only while developing.
        let checked = cfg!(debug_assertions).then_some(&self.schema);
        let slice = Entities::from_entities(slice, checked).map_err(|error| question(&error))?;
        let context =
            Context::from_pairs(entities::facts(*facts)).map_err(|error| question(&error))?;
        let question = cedar_policy::Request::new(
            asking_uid,
            self.names.action(*action),
            asked_uid,
            context,
            Some(&self.schema),
        )
        .map_err(|error| question(&error))?;
        Ok((question, slice))
    }

    /// Returns who could do it instead, found by asking the same question for each of them.
    fn who_can(&self, request: &Request) -> Vec<String> {
        explain::candidates(request)
            .into_iter()
            .filter(|(_, candidate)| self.allows(candidate))
            .map(|(name, _)| name)
            .collect()
    }

    /// Tells whether the schema knows the action on this kind of thing.
    pub(crate) fn applies(&self, action: Action, noun: &str) -> bool {
        let action = self.names.action(action);
        self.schema
            .resources_for_action(&action)
            .is_some_and(|mut kinds| kinds.any(|kind| kind.basename().eq_ignore_ascii_case(noun)))
    }

    #[cfg(test)]
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    #[cfg(test)]
    pub(crate) const fn policies(&self) -> &PolicySet {
        &self.policies
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Policy({} policies)", self.policies.num_of_policies())
    }
}

impl Principal {
    /// Returns what they are called in a sentence.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::User { role: None, .. } => "somebody who is no member".to_owned(),
            Self::User { role: Some(role), .. } => format!("the role {role}"),
            Self::Job { .. } => "a job".to_owned(),
            Self::Workload { .. } => "a workload".to_owned(),
            Self::Runner { .. } => "a runner".to_owned(),
            Self::System => "the system".to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
