//! `keyferry pipeline check`.

use std::fmt::Write as _;

use keyferry_api::pipelines::{CheckPipeline, DiagnosticView};

use super::text;
use crate::context::Context;
use crate::error::{CliError, visible};

/// Look for mistakes in a pipeline's YAML
///
/// Works without a server. With `--online` the connections that it names are looked up too. Every
/// mistake is shown with line and column; the exit code is 2 when there is one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  keyferry pipeline check pipeline.yaml
  keyferry pipeline check pipeline.yaml --online
  generate-pipeline | keyferry pipeline check - --output json")]
pub(crate) struct Args {
    /// The file, or `-` for standard input
    file: String,
    /// Look up connections in the organization too
    #[arg(long)]
    online: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<(), CliError> {
    let text = text::read(context, &args.file)?;
    text::check(context, &text)?;
    if args.online {
        let organization = context.organization().await?;
        let body = CheckPipeline { yaml: text.yaml };
        let checked = organization.client.check_pipeline(&organization.id, &body).await?;
        if !checked.diagnostics.is_empty() {
            if context.printer.is_json() {
                context.printer.json(&checked.diagnostics)?;
            } else {
                let shown: Vec<String> =
                    checked.diagnostics.iter().map(|one| render(one, &text.name)).collect();
                context.printer.data(&shown.join("\n"))?;
            }
            return Err(text::mistakes(&text.name, checked.diagnostics.len()));
        }
    }
    if context.printer.is_json() {
        return context.printer.json::<[DiagnosticView; 0]>(&[]);
    }
    let what = if args.online { "" } else { "; its connections were not looked up (`--online`)" };
    context.printer.talk(&format!("`{}` has no mistakes{what}", text.name))
}

/// Returns what the server found, without the line itself: that is read at the place.
fn render(one: &DiagnosticView, name: &str) -> String {
    let mut out = format!("error[{}]: {}\n", one.code, one.message);
    let _ = write!(out, " --> {name}:{}:{}", one.line, one.column);
    if !one.path.is_empty() {
        let _ = write!(out, " ({})", one.path);
    }
    out.push('\n');
    if let Some(hint) = &one.hint {
        let _ = writeln!(out, "  = hint: {hint}");
    }
    visible(&out)
}
