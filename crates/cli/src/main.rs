//! The binary `keyferry`. A credential helper is answered before anything else is built up: git and
//! docker wait for it at each call.

use std::ffi::OsString;
use std::process::ExitCode;

use keyferry_cli::{helper, run};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match helper::Invocation::find(&arguments) {
        Some(invocation) => helper::answer(&invocation),
        None => run(arguments),
    }
}
