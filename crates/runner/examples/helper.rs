//! The smallest helper: one question on the job socket, the answer in the tool's words.
//!
//! Stands in for the `keyferry` binary in this room's tests, under its helper names, and shows how a
//! helper is put together. `keyferry ask NAME` asks for the material of a connection.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use keyferry_delivery::socket::{Answer, Question};
use keyferry_delivery::{Reply, docker, git};
use keyferry_domain::material::Material;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let name = arguments[0].rsplit('/').next().unwrap_or_default();
    let argument = arguments.get(1).map(String::as_str).unwrap_or_default();
    let reply = match name {
        "git-credential-keyferry" => answer_git(argument),
        "docker-credential-keyferry" => answer_docker(argument),
        _ => answer_material(arguments.get(2).map(String::as_str).unwrap_or_default()),
    };
    let reply = reply.unwrap_or_else(|error| Reply {
        stdout: "".into(),
        stderr: format!("helper: {error}\n"),
        exit_code: 1,
    });
    let _ = std::io::stdout().write_all(reply.stdout.expose().as_bytes());
    let _ = std::io::stderr().write_all(reply.stderr.as_bytes());
    ExitCode::from(reply.exit_code)
}

fn answer_git(argument: &str) -> Result<Reply, Box<dyn Error>> {
    let Some(action) = git::Action::parse(argument) else { return Ok(Reply::silent()) };
    if action == git::Action::Capability {
        return Ok(git::capabilities());
    }
    let request = git::Request::parse(&input()?)?;
    match request.question(action) {
        Some(question) => Ok(git::reply(&request, &ask(&question)?)),
        None => Ok(Reply::silent()),
    }
}

fn answer_docker(argument: &str) -> Result<Reply, Box<dyn Error>> {
    let action = docker::Action::parse(argument).ok_or("unknown action")?;
    if let Some(reply) = action.without_question("0") {
        return Ok(reply);
    }
    if action == docker::Action::List {
        return Ok(docker::list(&ask(&Question::Registries)?));
    }
    let server = input()?;
    let address = docker::parse_server(&server)?;
    let answer = ask(&docker::question(&address))?;
    Ok(docker::reply(&String::from_utf8_lossy(&server), &answer))
}

fn answer_material(name: &str) -> Result<Reply, Box<dyn Error>> {
    Ok(match ask(&Question::Material { name: name.to_owned() })? {
        Answer::Material { material: Material::Password { password, .. }, .. } => {
            Reply::success(format!("{}\n", password.expose()))
        }
        Answer::Refusal(refusal) => git::refuse(&refusal),
        other => Reply::success(format!("{other:?}\n")),
    })
}

fn input() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a binary of its own, which is told by its environment"
)]
fn ask(question: &Question) -> Result<Answer, Box<dyn Error>> {
    let path = std::env::var(keyferry_runner::job_socket::SOCKET_VARIABLE)?;
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(question.render().as_bytes())?;
    let mut line = Vec::new();
    stream.read_to_end(&mut line)?;
    Ok(Answer::parse(&line)?)
}
