//! Sources: code that jobs download. Every kind of code service is cloned by Git.

use keyferry_domain::safe_url::{InvalidUrl, SafeUrl};

use crate::definition::tables::{CERTIFICATE, SOURCE};
use crate::definition::{ConnectionName, Source};
use crate::diagnostic::{code, did_you_mean, quote};
use crate::reader::{Fields, Reader};
use crate::yaml::{Name, Node};

/// Source types that are cloned by Git, as Flow spells them, with every spelling seen.
pub(super) const RUN_TYPES: &[&str] = &[
    "git",
    "gitea",
    "codeup",
    "github",
    "githubApp",
    "githubOAuth",
    "gitlab",
    "customGitlab",
    "gitlabAPI",
    "gitee",
    "giteeGit",
    "bitbucket",
    "atomGit",
    "aliyunGit",
    "aliyun_code",
];

/// Source types of Flow that are not downloaded yet.
const NOT_RUN_TYPES: &[&str] = &["packages", "acr", "jenkins", "flowPipeline", "svn", "gitSample"];

/// Keys of source types that are not downloaded yet: known, and explained by the type's message.
const NOT_RUN_KEYS: &[&str] = &[
    "repoType",
    "repo",
    "artifact",
    "version",
    "region",
    "instance",
    "namespace",
    "imageRepo",
    "imageTag",
    "versionFilter",
    "jenkinsJob",
    "build",
    "flowPipeline",
];

/// Reads `sources`.
pub(super) fn read(reader: &mut Reader<'_>, node: Option<&Node>) -> Vec<Source> {
    let Some(node) = node else { return Vec::new() };
    let entries = reader.entries(node, "sources by id");
    entries
        .into_iter()
        .map(|(name, node)| {
            reader.id(name, "a source");
            reader.inside(&name.text, |reader| read_one(reader, name, node))
        })
        .collect()
}

fn read_one(reader: &mut Reader<'_>, id: &Name, node: &Node) -> Source {
    let entries = reader.entries(node, "a source");
    let written = entries.iter().find(|(name, _)| name.text == "type");
    let written_type = written.and_then(|(_, node)| reader.text(node));
    let is_not_run = |text: &String| NOT_RUN_TYPES.iter().any(|one| one.eq_ignore_ascii_case(text));
    if let (Some(text), Some((_, node))) =
        (written_type.as_ref().filter(|text| is_not_run(text)), written)
    {
        let what = format!("the source type {}", quote(text));
        reader.inside("type", |reader| reader.not_run(node.at, &what, None));
        return empty(id);
    }
    let fields = read_keys(reader, node);
    let kind = read_type(reader, &fields).unwrap_or_default();
    let connection = fields
        .get("certificate")
        .and_then(|node| reader.inside("certificate", |reader| read_certificate(reader, node)));
    reader.text_of(&fields, "branchesFilter");
    reader.text_of(&fields, "pathFilter");
    Source {
        id: id.text.clone(),
        name: reader.text_of(&fields, "name"),
        kind,
        endpoint: read_endpoint(reader, &fields).unwrap_or_default(),
        branch: read_branch(reader, &fields),
        clone_depth: reader.integer_of(&fields, "cloneDepth", 0..=1_000_000).unwrap_or(0),
        submodules: reader.boolean_of(&fields, "submodule").unwrap_or(false),
        connection,
    }
}

/// Reads the keys; those of other source types get a message of their own.
fn read_keys<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Fields<'n> {
    let crate::yaml::Value::Map(entries) = &node.value else {
        return reader.fields(node, &SOURCE);
    };
    for (name, _) in entries.iter().filter(|(name, _)| NOT_RUN_KEYS.contains(&name.text.as_str())) {
        let message = format!("{} is a key of other source types, not of code", quote(&name.text));
        reader.note(name.at, code::UNKNOWN_KEY, message);
    }
    let own = entries.iter().filter(|(name, _)| !NOT_RUN_KEYS.contains(&name.text.as_str()));
    reader.fields_of(node.at, own, &SOURCE)
}

fn empty(id: &Name) -> Source {
    Source {
        id: id.text.clone(),
        name: None,
        kind: String::new(),
        endpoint: String::new(),
        branch: String::new(),
        clone_depth: 0,
        submodules: false,
        connection: None,
    }
}

fn read_type(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
    let text = reader.required(fields, "type")?;
    let known = RUN_TYPES.iter().find(|name| name.eq_ignore_ascii_case(text.trim()));
    if known.is_none() {
        let message = format!("{} is not a source type", quote(&text));
        let all: Vec<String> = RUN_TYPES.iter().map(|name| format!("`{name}`")).collect();
        let hint = did_you_mean(&text, RUN_TYPES.iter().chain(NOT_RUN_TYPES).copied())
            .unwrap_or_else(|| format!("source types are {}", all.join(", ")));
        let at = fields.place("type");
        reader.inside("type", |reader| {
            reader.note_with(at, code::UNKNOWN_SOURCE_TYPE, message, Some(hint));
        });
    }
    known.map(|name| (*name).to_owned())
}

fn read_endpoint(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<String> {
    let text = reader.required(fields, "endpoint")?;
    let at = fields.place("endpoint");
    reader.inside("endpoint", |reader| {
        if !reader.literal(&text, at, "an endpoint") {
            return None;
        }
        match SafeUrl::parse_git(&text) {
            Ok(url) => Some(url.as_str().to_owned()),
            Err(InvalidUrl::HasUserInfo) => {
                let message = "the endpoint has a user name or password in it";
                let hint = "remove it, put it into a credential, and name the connection in \
                            `certificate`";
                reader.note_with(at, code::URL_HAS_PASSWORD, message, Some(hint.to_owned()));
                None
            }
            // Its words never repeat the address.
            Err(error) => {
                reader.note(at, code::WRONG_VALUE, format!("cannot {error}"));
                None
            }
        }
    })
}

/// Tells whether Git takes this as the name of a branch, tag or commit. Stricter than
/// git-check-ref-format(1): nothing that could be read as an option or a revision expression.
pub fn is_branch_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 250
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
        && !["..", "//", "@{", "/."].iter().any(|bad| text.contains(bad))
        && text.split('/').all(|part| part.strip_suffix(".lock").is_none())
        && text != "@"
        && !text
            .chars()
            .any(|one| one.is_control() || one.is_whitespace() || "~^:?*[\\".contains(one))
}

fn read_branch(reader: &mut Reader<'_>, fields: &Fields<'_>) -> String {
    let branch = reader.text_of(fields, "branch").filter(|text| !text.trim().is_empty());
    let branch = branch.unwrap_or_else(|| "master".to_owned());
    if !branch.contains('$') && !is_branch_name(&branch) {
        let message = format!("{} is not a branch's name", quote(&branch));
        let at = fields.place("branch");
        reader.inside("branch", |reader| reader.note(at, code::WRONG_VALUE, message));
    }
    branch
}

/// Reads `{type: serviceConnection, serviceConnection: <ID>}`.
fn read_certificate(reader: &mut Reader<'_>, node: &Node) -> Option<ConnectionName> {
    let fields = reader.fields(node, &CERTIFICATE);
    let kind = reader.text_of(&fields, "type");
    let has_password = fields.get("username").is_some() || fields.get("password").is_some();
    match kind.as_deref() {
        Some("usernamePassword") => has_password_note(reader, &fields),
        None | Some("") if has_password => has_password_note(reader, &fields),
        None | Some("" | "serviceConnection") => {
            if has_password {
                return has_password_note(reader, &fields);
            }
            let text = reader.required(&fields, "serviceConnection")?;
            let at = fields.place("serviceConnection");
            reader.inside("serviceConnection", |reader| connection_name(reader, &text, at))
        }
        Some(other) => {
            let message = format!("{} is not a type of certificate", quote(other));
            let hint = "write `serviceConnection`".to_owned();
            reader.note_with(fields.place("type"), code::WRONG_VALUE, message, Some(hint));
            None
        }
    }
}

fn has_password_note(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<ConnectionName> {
    let hint = "put user name and password into a credential, and write `serviceConnection: <ID>`";
    let what = "a user name and password in the text";
    reader.not_run(fields.place("type"), what, Some(hint.to_owned()));
    None
}

/// Takes a connection's ID as it is written; whether it exists is checked elsewhere.
pub(crate) fn connection_name(
    reader: &mut Reader<'_>,
    text: &str,
    at: crate::diagnostic::Position,
) -> Option<ConnectionName> {
    let text = text.trim();
    let is_literal = reader.literal(text, at, "a connection's ID");
    is_literal.then(|| ConnectionName { text: text.to_owned(), at })
}
