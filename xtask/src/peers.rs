//! `cargo xtask peers`: builds Gitea, the forge that tests run against, once per version.
//!
//! Gitea is a Go module that cannot be `go install`ed (its `go.mod` replaces dependencies), so a
//! module of our own that requires it is written to the cache, with those lines copied, and built.
//! What is made of it at run time is in `testkit/src/peers/gitea/`; nothing here starts it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use keyferry_testkit::peers::gitea::{self, VERSION};
use keyferry_testkit::{find_program, in_continuous_integration};
use serde_json::Value;

use crate::steps;

/// The module that Gitea is published as.
const MODULE: &str = "code.gitea.io/gitea";

/// The folders that the binary reads beside itself when it is built without `bindata`.
const STATIC_FOLDERS: &[&str] = &["options", "public", "templates"];

/// Builds what is missing in the cache; says so and goes on when there is no Go outside CI.
pub(crate) fn build() -> Result<()> {
    if gitea::installed().is_some() {
        return Ok(());
    }
    if find_program("go").is_none() {
        let text = "Gitea is not built: it needs Go 1.26 or later in PATH";
        if in_continuous_integration() {
            bail!("{text}");
        }
        steps::say(&format!("{text}; its tests are skipped"));
        return Ok(());
    }
    let folder = gitea::folder();
    let module = folder.join("module");
    std::fs::create_dir_all(&module)
        .with_context(|| format!("failed to create `{}`", module.display()))?;

    steps::say(&format!("Gitea {VERSION}: download (about a minute)"));
    let download = steps::output(
        go(&module).args(["mod", "download", "-json"]).arg(format!("{MODULE}@v{VERSION}")),
    )?;
    let download: Value = serde_json::from_str(&download)?;
    let text = |key: &str| {
        download[key].as_str().ok_or_else(|| anyhow!("`go mod download` named no `{key}`"))
    };
    let upstream = steps::output(go(&module).args(["mod", "edit", "-json"]).arg(text("GoMod")?))?;
    std::fs::write(module.join("go.mod"), go_mod(&serde_json::from_str(&upstream)?)?)?;
    std::fs::write(module.join("tools.go"), tools_go())?;
    steps::run(&format!("Gitea {VERSION}: dependencies"), go(&module).args(["mod", "tidy"]))?;

    // Built beside its place and moved there, so that an interrupted build leaves nothing that
    // looks finished.
    let unfinished = folder.join("gitea.unfinished");
    steps::run(
        &format!("Gitea {VERSION}: build (two to five minutes)"),
        go(&module)
            .args(["build", "-trimpath", "-tags", "sqlite sqlite_unlock_notify", "-o"])
            .arg(&unfinished)
            .arg(MODULE),
    )?;
    for name in STATIC_FOLDERS {
        steps::copy_folder(&Path::new(text("Dir")?).join(name), &folder.join("static").join(name))?;
    }
    std::fs::rename(&unfinished, folder.join("gitea"))?;
    gitea::installed().context("Gitea was built, but is not found in the cache")?;
    Ok(())
}

/// Makes a `go` command in `module` that leaves the machine usable meanwhile.
fn go(module: &Path) -> std::process::Command {
    let mut command = steps::command("nice");
    command.arg("go").current_dir(module).env("CGO_ENABLED", "1");
    command
}

/// Writes the `go.mod` of a module that builds `upstream` as it builds itself.
fn go_mod(upstream: &Value) -> Result<String> {
    let version = upstream["Go"].as_str().context("Gitea's go.mod names no Go version")?;
    let mut text = format!("module peers/gitea\n\ngo {version}\n\nrequire {MODULE} v{VERSION}\n");
    for replace in upstream["Replace"].as_array().into_iter().flatten() {
        let (old, new) = (&replace["Old"], &replace["New"]);
        let (Some(old), Some(path)) = (old["Path"].as_str(), new["Path"].as_str()) else {
            bail!("Gitea's go.mod has a replacement without a path: {replace}");
        };
        let Some(new_version) = new["Version"].as_str() else {
            bail!("Gitea's go.mod replaces `{old}` by a folder, which no other module can build");
        };
        writeln!(text, "\nreplace {old} => {path} {new_version}")?;
    }
    Ok(text)
}

/// The file that makes `go mod tidy` keep the requirement.
fn tools_go() -> String {
    format!("//go:build tools\n\npackage tools\n\nimport _ \"{MODULE}\"\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replacements_are_copied_into_the_module() {
        let text = go_mod(&json!({
            "Go": "1.26.2",
            "Replace": [{"Old": {"Path": "a/b"}, "New": {"Path": "c/d", "Version": "v1.2.3"}}],
        }))
        .unwrap();
        assert!(text.contains("\ngo 1.26.2\n"), "{text}");
        assert!(text.contains("\nrequire code.gitea.io/gitea v"), "{text}");
        assert!(text.ends_with("\nreplace a/b => c/d v1.2.3\n"), "{text}");
    }

    #[test]
    fn a_replacement_by_a_folder_is_refused() {
        let upstream =
            json!({"Go": "1.26", "Replace": [{"Old": {"Path": "a"}, "New": {"Path": "./a"}}]});
        let error = go_mod(&upstream).unwrap_err().to_string();
        assert!(error.contains("`a` by a folder"), "{error}");
    }

    #[test]
    fn a_module_without_a_go_version_is_refused() {
        assert!(go_mod(&json!({})).is_err());
    }
}
