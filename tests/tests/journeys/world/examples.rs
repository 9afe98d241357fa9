//! The pipelines of `examples/`, which readers copy and stories run.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
}

/// Returns an example with its addresses replaced by those of the story's servers.
pub(crate) fn example(name: &str, addresses: &[(&str, &str)]) -> Result<String> {
    let mut text = std::fs::read_to_string(folder().join(name))
        .with_context(|| format!("no example `{name}`"))?;
    for (written, real) in addresses {
        ensure!(text.contains(written), "`{written}` is not in the example `{name}`");
        text = text.replace(written, real);
    }
    Ok(text)
}

/// Returns the names of all examples, in order.
pub(crate) fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
