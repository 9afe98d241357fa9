//! What a Git server says of its references: the advertisement of protocol v0, the capabilities of
//! v2, and the answer to `ls-refs`. Also which branch names can exist at all.
//!
//! Pure parsers over bytes that a hostile server may have sent.

use super::packet::{Packet, PacketError, Packets, encode_data, encode_delimiter, encode_flush};

/// References read at most. The largest repositories known have some hundred thousand.
pub(super) const MAX_REFS: usize = 250_000;

/// A reference and where it points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Its full name: `refs/heads/main`.
    pub name: String,
    /// The commit or tag object, in lower-case hex.
    pub id: String,
}

/// References of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Those that have a name we can write; `HEAD` is not among them.
    pub list: Vec<Reference>,
    /// What `HEAD` points to: `refs/heads/main`.
    pub head: Option<String>,
}

impl References {
    /// Returns where a reference points.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|reference| reference.name == name).map(|found| found.id.as_str())
    }
}

/// What a server said first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Advertisement {
    /// Protocol v0 or v1: all references at once.
    V0 {
        /// The references.
        references: References,
        /// The capabilities, words such as `report-status`.
        capabilities: Vec<String>,
    },
    /// Protocol v2: capabilities, and references only when asked for.
    V2 {
        /// The capabilities, one line each.
        capabilities: Vec<String>,
    },
}

/// The answer is not what the Git protocol says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RefsError {
    /// Not packet lines.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A line that is none of those expected.
    #[error("a line of the answer is not what the Git protocol says")]
    Line,
    /// The answer ends too early.
    #[error("the answer ends too early")]
    Incomplete,
    /// Beyond [`MAX_REFS`].
    #[error("the repository has more than {MAX_REFS} references")]
    TooMany,
    /// The server's own error (`ERR …`).
    #[error("{message}")]
    Server {
        /// Its words, as they came.
        message: String,
    },
}

impl Advertisement {
    /// Reads the first answer of `upload-pack` or `receive-pack`. Over HTTP it may start with a
    /// section that names the service (gitprotocol-http(5)).
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, RefsError> {
        let mut packets = Packets::new(bytes);
        let mut first = packets.next().ok_or(RefsError::Incomplete)??;
        if first.line().is_some_and(|line| line.starts_with(b"# service=")) {
            if packets.next().ok_or(RefsError::Incomplete)?? != Packet::Flush {
                return Err(RefsError::Line);
            }
            first = packets.next().ok_or(RefsError::Incomplete)??;
        }
        match first.line() {
            Some(b"version 2") => Self::decode_v2(packets),
            Some(b"version 1") => {
                let first = packets.next().ok_or(RefsError::Incomplete)??;
                Self::decode_v0(first, packets)
            }
            _ => Self::decode_v0(first, packets),
        }
    }

    fn decode_v2(packets: Packets<'_>) -> Result<Self, RefsError> {
        let mut capabilities = Vec::new();
        for packet in packets {
            match packet? {
                Packet::Flush => return Ok(Self::V2 { capabilities }),
                packet => {
                    let line = packet.line().ok_or(RefsError::Line)?;
                    if capabilities.len() >= 100 {
                        return Err(RefsError::Line);
                    }
                    capabilities.push(String::from_utf8_lossy(line).into_owned());
                }
            }
        }
        Err(RefsError::Incomplete)
    }

    fn decode_v0<'a>(first: Packet<'a>, packets: Packets<'a>) -> Result<Self, RefsError> {
        let mut references = References::default();
        let mut capabilities = Vec::new();
        for (index, packet) in std::iter::once(Ok(first)).chain(packets).enumerate() {
            let packet = packet?;
            if packet == Packet::Flush {
                references.head = capabilities
                    .iter()
                    .find_map(|word: &String| word.strip_prefix("symref=HEAD:"))
                    .map(str::to_owned);
                return Ok(Self::V0 { references, capabilities });
            }
            let mut line = packet.line().ok_or(RefsError::Line)?;
            refuse_error_line(line)?;
            if index == 0
                && let Some(nul) = line.iter().position(|byte| *byte == 0)
            {
                let words = String::from_utf8_lossy(&line[nul + 1..]);
                capabilities = words.split_ascii_whitespace().map(str::to_owned).collect();
                line = &line[..nul];
            }
            if line.starts_with(b"shallow ") {
                continue;
            }
            let (id, name) = split_line(line)?;
            add(&mut references, id, name)?;
        }
        Err(RefsError::Incomplete)
    }

    /// Returns the capabilities.
    pub(super) fn capabilities(&self) -> &[String] {
        match self {
            Self::V0 { capabilities, .. } | Self::V2 { capabilities } => capabilities,
        }
    }

    /// Returns the object format that must be named in requests, when it is not SHA-1.
    pub(super) fn object_format(&self) -> Option<&str> {
        self.capabilities()
            .iter()
            .find_map(|word| word.strip_prefix("object-format="))
            .filter(|format| *format == "sha256")
    }

    /// Tells whether a capability is among them, with or without a value.
    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities().iter().any(|word| {
            word.strip_prefix(capability)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    }
}

/// Writes the request of protocol v2 for branches and `HEAD`.
pub(super) fn encode_ls_refs(object_format: Option<&str>) -> Vec<u8> {
    let mut request = Vec::new();
    encode_data(&mut request, b"command=ls-refs\n");
    encode_data(&mut request, concat!("agent=keyferry/", env!("CARGO_PKG_VERSION")).as_bytes());
    if let Some(format) = object_format {
        encode_data(&mut request, format!("object-format={format}").as_bytes());
    }
    encode_delimiter(&mut request);
    encode_data(&mut request, b"symrefs\n");
    encode_data(&mut request, b"ref-prefix HEAD\n");
    encode_data(&mut request, b"ref-prefix refs/heads/\n");
    encode_flush(&mut request);
    request
}

/// Reads the answer to `ls-refs`.
pub(super) fn decode_ls_refs(bytes: &[u8]) -> Result<References, RefsError> {
    let mut references = References::default();
    for packet in Packets::new(bytes) {
        let packet = packet?;
        if packet == Packet::Flush {
            return Ok(references);
        }
        let line = packet.line().ok_or(RefsError::Line)?;
        refuse_error_line(line)?;
        let (id, rest) = split_line(line)?;
        let mut words = rest.split(|byte| *byte == b' ');
        let name = words.next().unwrap_or_default();
        if name == b"HEAD" {
            references.head = words
                .find_map(|word| word.strip_prefix(b"symref-target:"))
                .and_then(|target| std::str::from_utf8(target).ok())
                .map(str::to_owned);
            continue;
        }
        add(&mut references, id, name)?;
    }
    Err(RefsError::Incomplete)
}

fn refuse_error_line(line: &[u8]) -> Result<(), RefsError> {
    match line.strip_prefix(b"ERR ") {
        Some(message) => Err(RefsError::Server {
            message: String::from_utf8_lossy(&message[..message.len().min(1_000)]).into_owned(),
        }),
        None => Ok(()),
    }
}

fn split_line(line: &[u8]) -> Result<(&[u8], &[u8]), RefsError> {
    let space = line.iter().position(|byte| *byte == b' ').ok_or(RefsError::Line)?;
    let (id, name) = (&line[..space], &line[space + 1..]);
    let is_id = matches!(id.len(), 40 | 64) && id.iter().all(u8::is_ascii_hexdigit);
    let is_unborn = id == b"unborn";
    if is_id || is_unborn { Ok((id, name)) } else { Err(RefsError::Line) }
}

/// Adds a reference, unless its name is one that no request could carry back: not UTF-8, or not a
/// name by Git's rules. Peeled tags (`…^{}`) and the placeholder of an empty repository are such.
fn add(references: &mut References, id: &[u8], name: &[u8]) -> Result<(), RefsError> {
    let (Ok(id), Ok(name)) = (std::str::from_utf8(id), std::str::from_utf8(name)) else {
        return Ok(());
    };
    if !name.starts_with("refs/") || !is_name(name) {
        return Ok(());
    }
    if references.list.len() >= MAX_REFS {
        return Err(RefsError::TooMany);
    }
    references.list.push(Reference { name: name.to_owned(), id: id.to_ascii_lowercase() });
    Ok(())
}

/// Tells whether a reference can have this name (git-check-ref-format(1)).
pub(super) fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.to_ascii_lowercase().ends_with(".lock")
    };
    name.len() <= 1_000
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.ends_with('.')
        && !name.starts_with('-')
        && name.split('/').all(is_part)
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn packets(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            match *line {
                "0000" => encode_flush(&mut bytes),
                line => encode_data(&mut bytes, line.as_bytes()),
            }
        }
        bytes
    }

    #[test]
    fn a_v0_advertisement_is_read() {
        let bytes = packets(&[
            "# service=git-upload-pack\n",
            "0000",
            &format!("{A} HEAD\0multi_ack symref=HEAD:refs/heads/main object-format=sha1\n"),
            &format!("{B} refs/heads/feature/x\n"),
            &format!("{A} refs/heads/main\n"),
            &format!("{B} refs/tags/v1\n"),
            &format!("{A} refs/tags/v1^{{}}\n"),
            "0000",
        ]);
        let advertisement = Advertisement::decode(&bytes).unwrap();
        assert!(advertisement.has("multi_ack") && !advertisement.has("multi"));
        assert_eq!(advertisement.object_format(), None);
        let Advertisement::V0 { references, .. } = advertisement else { panic!() };
        assert_eq!(references.head.as_deref(), Some("refs/heads/main"));
        let names: Vec<_> = references.list.iter().map(|reference| &reference.name).collect();
        assert_eq!(names, ["refs/heads/feature/x", "refs/heads/main", "refs/tags/v1"]);
        assert_eq!(references.get("refs/heads/feature/x"), Some(B));
    }

    #[test]
    fn an_empty_repository_has_no_references() {
        let zero = "0".repeat(40);
        let bytes = packets(&[&format!("{zero} capabilities^{{}}\0report-status\n"), "0000"]);
        let Advertisement::V0 { references, capabilities } = Advertisement::decode(&bytes).unwrap()
        else {
            panic!()
        };
        assert!(references.list.is_empty());
        assert_eq!(capabilities, ["report-status"]);
    }

    #[test]
    fn v2_capabilities_are_read() {
        let bytes = packets(&["version 2\n", "ls-refs=unborn\n", "object-format=sha256\n", "0000"]);
        let advertisement = Advertisement::decode(&bytes).unwrap();
        assert!(advertisement.has("ls-refs"));
        assert_eq!(advertisement.object_format(), Some("sha256"));
    }

    #[test]
    fn the_answer_to_ls_refs_is_read() {
        let bytes = packets(&[
            &format!("{A} HEAD symref-target:refs/heads/main\n"),
            &format!("{A} refs/heads/main\n"),
            "0000",
        ]);
        let references = decode_ls_refs(&bytes).unwrap();
        assert_eq!(references.head.as_deref(), Some("refs/heads/main"));
        assert_eq!(references.list.len(), 1);
    }

    #[test]
    fn the_request_is_the_one_of_the_documentation() {
        let request = String::from_utf8(encode_ls_refs(Some("sha256"))).unwrap();
        assert!(request.starts_with("0014command=ls-refs\n"), "{request}");
        assert!(request.contains("0018object-format=sha2560001"), "{request}");
        assert!(request.ends_with("001bref-prefix refs/heads/\n0000"), "{request}");
    }

    #[test]
    fn an_error_line_is_the_servers_word() {
        let error = Advertisement::decode(&packets(&["ERR access denied\n"])).unwrap_err();
        assert_eq!(error, RefsError::Server { message: "access denied".into() });
    }

    #[test]
    fn answers_that_are_cut_off_are_not_taken_for_complete() {
        let whole = packets(&[&format!("{A} refs/heads/main\n"), "0000"]);
        for end in 0..whole.len() {
            assert!(decode_ls_refs(&whole[..end]).is_err(), "{end}");
            assert!(Advertisement::decode(&whole[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for line in ["hello", "xyz refs/heads/main", &format!("{A}refs/heads/main"), "0001", ""] {
            assert!(decode_ls_refs(&packets(&[line, "0000"])).is_err(), "{line}");
        }
        assert!(decode_ls_refs(b"<!DOCTYPE html>").is_err());
    }

    #[test]
    fn names_that_would_break_a_request_are_left_out() {
        let bytes = packets(&[
            &format!("{A} refs/heads/a:b\n"),
            &format!("{A} refs/heads/a\0b\n"),
            &format!("{A} refs/heads/../x\n"),
            &format!("{A} refs/heads/ok\n"),
            "0000",
        ]);
        let references = decode_ls_refs(&bytes).unwrap();
        assert_eq!(references.list.len(), 1, "{references:?}");
    }

    #[test]
    fn names_follow_gits_rules() {
        for name in ["main", "feature/login", "v1.2", "ü", "a@b", "a-b_c"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "", "/", "a//b", "/a", "a/", ".a", "a/.b", "a.lock", "a..b", "a.", "@", "a@{b", "a b",
            "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a\nb", "a\u{7f}", "-a",
        ] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Advertisement::decode(&bytes);
            let _ = decode_ls_refs(&bytes);
        }

        #[test]
        fn any_lines_are_read_without_a_panic(lines in prop::collection::vec("[0-9a-f]{40} [ -~\\x00]{0,40}|[ -~]{0,60}", 0..12)) {
            let mut bytes = Vec::new();
            for line in &lines {
                encode_data(&mut bytes, line.as_bytes());
            }
            encode_flush(&mut bytes);
            if let Ok(references) = decode_ls_refs(&bytes) {
                prop_assert!(references.list.iter().all(|reference| is_name(&reference.name)));
            }
            let _ = Advertisement::decode(&bytes);
        }
    }
}
