//! `${NAME}` and `$NAME` where Keyferry replaces them itself: in fields of steps and in branches.
//!
//! Never in `run`: that is the shell's. `${X:-y}`, `${X#p}` and `{{ .X }}` are left alone everywhere.

/// A name that no variable has. Replacing it by nothing could change another branch than was meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("replace `${{{name}}}`; no variable has this name")]
pub struct UnknownVariable {
    /// The name.
    pub name: String,
}

/// Replaces each `${NAME}` and `$NAME` once; what comes in with a value is not looked at again.
///
/// What comes out may be anything: a branch or tag is checked again with [`crate::is_branch_name`].
pub fn substitute(
    text: &str,
    find: impl Fn(&str) -> Option<String>,
) -> Result<String, UnknownVariable> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        let Some((name, after)) = reference(&rest[start..]) else {
            out.push('$');
            rest = &rest[start + 1..];
            continue;
        };
        out.push_str(&find(name).ok_or_else(|| UnknownVariable { name: name.to_owned() })?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Splits `${NAME}rest` or `$NAMErest` into name and rest.
pub(crate) fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('$')?;
    if let Some(braced) = inner.strip_prefix('{') {
        let (name, after) = braced.split_once('}')?;
        return crate::definition::is_variable_name(name).then_some((name, after));
    }
    let end =
        inner.find(|one: char| !(one.is_ascii_alphanumeric() || one == '_')).unwrap_or(inner.len());
    let (name, after) = inner.split_at(end);
    crate::definition::is_variable_name(name).then_some((name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".to_owned()),
            "NESTED" => Some("${A}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn names_are_replaced_once() {
        assert_eq!(substitute("x-${A}/$A.z", find).unwrap(), "x-one/one.z");
        assert_eq!(substitute("${NESTED}", find).unwrap(), "${A}");
        assert_eq!(substitute("", find).unwrap(), "");
    }

    #[test]
    fn what_only_looks_like_a_reference_is_left_alone() {
        for text in
            ["${X:-y}", "${X#p}", "{{ .A }}", "$", "$$", "${", "${}", "a$1", "$[x.y]", "ü$ü"]
        {
            assert_eq!(substitute(text, find).unwrap(), text);
        }
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error = substitute("feature/${NOPE}", find).unwrap_err();
        assert_eq!(error.to_string(), "replace `${NOPE}`; no variable has this name");
    }
}
