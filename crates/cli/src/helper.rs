//! The credential helpers: a tool's question in, one question on the job socket, the tool's answer
//! out.
//!
//! Blocking and small on purpose: git and docker start a helper for every call and wait for it, so
//! nothing of the rest of the command line is built up here. The protocols' texts are in
//! `keyferry-delivery`.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use keyferry_delivery::reply::Reply;
use keyferry_delivery::socket::{Answer, MAX_ANSWER_BYTES, Question, Refusal};
use keyferry_delivery::{docker, git};

use crate::environment::Environment;

/// How long an answer may take: the lease may have to be minted at a slow service first.
const PATIENCE: Duration = Duration::from_mins(2);

/// A tool's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// `git-credential-keyferry`
    Git,
    /// `docker-credential-keyferry`
    Docker,
}

/// One call of a helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The tool's protocol.
    pub protocol: Protocol,
    /// What the tool wants, its first argument.
    pub action: String,
}

impl Invocation {
    /// Tells from the program's name, or from `keyferry helper PROTOCOL ACTION`, whether a tool is
    /// asking. Everything else, questions for help too, is for the usual command line.
    pub fn find(arguments: &[OsString]) -> Option<Self> {
        let program = Path::new(arguments.first()?).file_name()?;
        let (protocol, rest) = match protocol_of_program(program) {
            Some(protocol) => (protocol, arguments.get(1..)?),
            None if arguments.get(1)? == "helper" => {
                let protocol = match arguments.get(2)?.to_str()? {
                    "git" => Protocol::Git,
                    "docker" => Protocol::Docker,
                    _ => return None,
                };
                match arguments.get(3..)? {
                    [action] if !action.as_encoded_bytes().starts_with(b"-") => {
                        (protocol, arguments.get(3..)?)
                    }
                    _ => return None,
                }
            }
            None => return None,
        };
        let action = rest.first().map(|action| action.to_string_lossy().into_owned());
        Some(Self { protocol, action: action.unwrap_or_default() })
    }
}

fn protocol_of_program(program: &OsStr) -> Option<Protocol> {
    match program.to_str()? {
        "git-credential-keyferry" => Some(Protocol::Git),
        "docker-credential-keyferry" => Some(Protocol::Docker),
        _ => None,
    }
}

/// Answers a tool; the answer is the process's exit code.
pub fn answer(invocation: &Invocation) -> ExitCode {
    let environment = Environment::of_this_process();
    let reply = reply(invocation, std::io::stdin().lock(), &environment);
    let _ = std::io::stderr().write_all(reply.stderr.as_bytes());
    let mut out = std::io::stdout().lock();
    let is_written = out.write_all(reply.stdout.expose().as_bytes()).and_then(|()| out.flush());
    // A tool that hung up does not care about the exit code either.
    ExitCode::from(if is_written.is_ok() { reply.exit_code } else { 1 })
}

/// Returns what the tool is told.
pub fn reply(
    invocation: &Invocation,
    input: impl std::io::Read,
    environment: &Environment,
) -> Reply {
    match invocation.protocol {
        Protocol::Git => reply_to_git(&invocation.action, input, environment),
        Protocol::Docker => reply_to_docker(&invocation.action, input, environment),
    }
}

fn reply_to_git(action: &str, input: impl std::io::Read, environment: &Environment) -> Reply {
    let Some(action) = git::Action::parse(action) else { return Reply::silent() };
    if action == git::Action::Capability {
        return git::capabilities();
    }
    let request = match git::Request::parse(&read(input, git::MAX_INPUT_BYTES)) {
        Ok(request) => request,
        Err(error) => {
            return git::refuse(&failed("invalid_request", &format!("failed to {error}")));
        }
    };
    let Some(question) = request.question(action) else { return Reply::silent() };
    match ask(environment, &question) {
        Ok(answer) if action == git::Action::Get => git::reply(&request, &answer),
        // Git takes no answer to `erase`.
        Ok(_) => Reply::silent(),
        Err(_) if action != git::Action::Get => Reply::silent(),
        Err(NoAnswer::NoSocket) => no_socket(""),
        Err(NoAnswer::Failed(refusal)) => git::refuse(&refusal),
    }
}

fn reply_to_docker(action: &str, input: impl std::io::Read, environment: &Environment) -> Reply {
    let Some(action) = docker::Action::parse(action) else {
        return docker::refuse(&failed(
            "unknown_action",
            "docker-credential-keyferry knows get, list, store, erase and version",
        ));
    };
    if let Some(reply) = action.without_question(env!("CARGO_PKG_VERSION")) {
        return reply;
    }
    if action == docker::Action::List {
        return match ask(environment, &Question::Registries) {
            Ok(answer) => docker::list(&answer),
            Err(NoAnswer::NoSocket) => docker::list(&Answer::Unknown),
            Err(NoAnswer::Failed(refusal)) => docker::refuse(&refusal),
        };
    }
    let input = read(input, 64 * 1024);
    let server = match docker::parse_server(&input) {
        Ok(server) => server,
        Err(error) => {
            return docker::refuse(&failed("invalid_request", &format!("failed to {error}")));
        }
    };
    match ask(environment, &docker::question(&server)) {
        Ok(answer) => docker::reply(&String::from_utf8_lossy(&input), &answer),
        Err(NoAnswer::NoSocket) => {
            let unknown = docker::reply("", &Answer::Unknown);
            no_socket(unknown.stdout.expose())
        }
        Err(NoAnswer::Failed(refusal)) => docker::refuse(&refusal),
    }
}

/// Why there is no answer.
enum NoAnswer {
    /// This process is not in a job: other helpers may know something.
    NoSocket,
    /// There is a socket, and no answer came from it.
    Failed(Refusal),
}

/// Asks one question on the job socket.
fn ask(environment: &Environment, question: &Question) -> Result<Answer, NoAnswer> {
    let path = environment.path("KEYFERRY_SOCKET").ok_or(NoAnswer::NoSocket)?;
    let unavailable = |error: std::io::Error| {
        let mut refusal =
            failed("socket_unavailable", &format!("failed to ask the job's socket: {error}"));
        refusal.hint = Some("is this process still part of the job or of `keyferry exec`?".into());
        NoAnswer::Failed(refusal)
    };
    let mut stream = UnixStream::connect(path).map_err(unavailable)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unavailable)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(unavailable)?;
    stream.write_all(question.render().as_bytes()).map_err(unavailable)?;
    // The answer is one line; the other side closes after it. Secret bytes are wiped on drop.
    let mut bytes = Vec::new();
    let outcome = stream.take(MAX_ANSWER_BYTES as u64 + 1).read_to_end(&mut bytes);
    let bytes = keyferry_domain::secret::SecretBytes::new(bytes);
    outcome.map_err(unavailable)?;
    let line = bytes.expose().strip_suffix(b"\n").unwrap_or(bytes.expose());
    Answer::parse(line)
        .map_err(|error| NoAnswer::Failed(failed("strange_answer", &format!("failed to {error}"))))
}

fn failed(code: &str, message: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: message.to_owned(), hint: None }
}

fn no_socket(stdout: &str) -> Reply {
    Reply {
        stdout: stdout.into(),
        stderr: "keyferry: KEYFERRY_SOCKET is not set, so there is nobody to ask\nkeyferry: hint: \
                 run the command in a job, or through `keyferry exec`\n"
            .to_owned(),
        exit_code: 1,
    }
}

/// Reads at most one byte more than allowed, which the protocol then refuses.
fn read(input: impl std::io::Read, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What could be read before a failure is judged like everything else.
    let _ = input.take(limit as u64 + 1).read_to_end(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(arguments: &[&str]) -> Option<(Protocol, String)> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        Invocation::find(&arguments).map(|found| (found.protocol, found.action))
    }

    #[test]
    fn a_helper_is_known_by_the_programs_name_or_by_its_arguments() {
        let get = |protocol| Some((protocol, "get".to_owned()));
        assert_eq!(find(&["/x/git-credential-keyferry", "get"]), get(Protocol::Git));
        assert_eq!(find(&["docker-credential-keyferry", "get"]), get(Protocol::Docker));
        assert_eq!(find(&["keyferry", "helper", "git", "get"]), get(Protocol::Git));
        assert_eq!(find(&["git-credential-keyferry"]), Some((Protocol::Git, String::new())));
    }

    #[test]
    fn everything_else_is_for_the_usual_command_line() {
        for arguments in [
            &["keyferry"][..],
            &["keyferry", "connection", "list"],
            &["keyferry", "helper"],
            &["keyferry", "helper", "git"],
            &["keyferry", "helper", "git", "--help"],
            &["keyferry", "helper", "svn", "get"],
            &["keyferry", "helper", "git", "get", "more"],
            &[],
        ] {
            assert_eq!(find(arguments), None, "{arguments:?}");
        }
    }

    fn told(protocol: Protocol, action: &str, input: &str) -> (String, String, u8) {
        let invocation = Invocation { protocol, action: action.to_owned() };
        let reply = reply(&invocation, input.as_bytes(), &Environment::with(&[]));
        (reply.stdout.expose().clone(), reply.stderr, reply.exit_code)
    }

    #[test]
    fn outside_a_job_git_may_ask_elsewhere_and_the_person_is_told() {
        let (out, err, code) = told(Protocol::Git, "get", "protocol=https\nhost=h.example\n\n");
        assert_eq!((out.as_str(), code), ("", 1));
        assert!(err.contains("keyferry exec"), "{err}");
    }

    #[test]
    fn outside_a_job_docker_hears_that_there_is_nothing() {
        let (out, _, code) = told(Protocol::Docker, "get", "registry.example.com");
        assert_eq!((out.as_str(), code), ("credentials not found in native keychain\n", 1));
        assert_eq!(told(Protocol::Docker, "list", "unused").0, "{}");
    }

    #[test]
    fn unknown_actions_are_ignored_for_git_and_refused_for_docker() {
        assert_eq!(told(Protocol::Git, "frobnicate", ""), (String::new(), String::new(), 0));
        assert_eq!(told(Protocol::Docker, "frobnicate", "").2, 1);
    }

    #[test]
    fn hostile_questions_are_refused() {
        for input in ["protocol=https\nhost=a\0b\n\n", "no equals sign\n\n"] {
            assert_eq!(told(Protocol::Git, "get", input).0, "quit=1\n", "{input:?}");
        }
        let (out, _, code) = told(Protocol::Docker, "get", "registry.example.com\nother");
        assert!(!out.contains("other"));
        assert_eq!(code, 1);
    }
}
