//! Deleting a reference by `receive-pack` (gitprotocol-pack(5)): the request and the report.
//!
//! Pure text; the conversation is in `remote`.

use super::packet::{Packet, Packets, encode_data, encode_flush};
use super::refs::{Advertisement, RefsError};

/// What the server says it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    /// The reference is gone.
    Done,
    /// It is not, and these are their words.
    Refused(String),
}

/// Writes the request to delete `name`, provided that it still points at `id`. No pack follows:
/// nothing is sent that the server does not have.
pub(super) fn encode_delete(name: &str, id: &str, server: &Advertisement) -> Vec<u8> {
    let zeros = "0".repeat(id.len());
    let mut command = format!("{id} {zeros} {name}\0 report-status delete-refs");
    if server.has("atomic") {
        command.push_str(" atomic");
    }
    if let Some(format) = server.object_format() {
        command.push_str(" object-format=");
        command.push_str(format);
    }
    command.push_str(concat!(" agent=keyferry/", env!("CARGO_PKG_VERSION")));
    let mut request = Vec::new();
    encode_data(&mut request, command.as_bytes());
    encode_flush(&mut request);
    request
}

/// Reads the report on `name`. Only a clear yes is [`Report::Done`].
pub(super) fn decode_report(bytes: &[u8], name: &str) -> Result<Report, RefsError> {
    let mut verdict = None;
    let mut is_unpacked = false;
    for packet in Packets::new(bytes) {
        let packet = packet?;
        if packet == Packet::Flush {
            return verdict.filter(|_| is_unpacked).ok_or(RefsError::Incomplete);
        }
        let line = packet.line().ok_or(RefsError::Line)?;
        let line = String::from_utf8_lossy(line);
        match line.split_once(' ') {
            Some(("unpack", "ok")) => is_unpacked = true,
            Some(("unpack", reason)) => return Ok(Report::Refused(reason.to_owned())),
            Some(("ok", done)) if done == name => verdict = Some(Report::Done),
            Some(("ng", rest)) => {
                let (refused, reason) = rest.split_once(' ').unwrap_or((rest, "no reason given"));
                if refused == name {
                    verdict = Some(Report::Refused(reason.to_owned()));
                }
            }
            Some(("ERR", message)) => {
                return Err(RefsError::Server { message: message.to_owned() });
            }
            // `option …` lines of report-status-v2, and reports on what we did not ask for.
            Some(("ok" | "option", _)) => {}
            _ => return Err(RefsError::Line),
        }
    }
    Err(RefsError::Incomplete)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn report(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            encode_data(&mut bytes, line.as_bytes());
        }
        encode_flush(&mut bytes);
        bytes
    }

    fn server(capabilities: &[&str]) -> Advertisement {
        let capabilities = capabilities.iter().map(|word| (*word).to_owned()).collect();
        Advertisement::V2 { capabilities }
    }

    #[test]
    fn the_request_names_old_and_new_value_and_only_known_capabilities() {
        let request = encode_delete("refs/heads/x", ID, &server(&["atomic"]));
        let text = String::from_utf8(request).unwrap();
        let zeros = "0".repeat(40);
        let expected =
            format!("{ID} {zeros} refs/heads/x\0 report-status delete-refs atomic agent=");
        assert!(text[4..].starts_with(&expected), "{text:?}");
        assert!(text.ends_with("0000"));
        assert_eq!(usize::from_str_radix(&text[..4], 16).unwrap(), text.len() - 4);
        let text = String::from_utf8(encode_delete("refs/heads/x", ID, &server(&[]))).unwrap();
        assert!(!text.contains("atomic"));
    }

    #[test]
    fn a_sha256_repository_gets_long_zeros() {
        let id = "a".repeat(64);
        let request = encode_delete("refs/heads/x", &id, &server(&["object-format=sha256"]));
        let text = String::from_utf8(request).unwrap();
        assert!(text.contains(&format!(" {} ", "0".repeat(64))) && text.contains("=sha256"));
    }

    #[test]
    fn a_clear_yes_is_done() {
        let bytes = report(&["unpack ok\n", "ok refs/heads/x\n"]);
        assert_eq!(decode_report(&bytes, "refs/heads/x"), Ok(Report::Done));
    }

    #[test]
    fn a_no_carries_its_words() {
        let bytes = report(&["unpack ok\n", "ng refs/heads/x deletion prohibited\n"]);
        let expected = Report::Refused("deletion prohibited".into());
        assert_eq!(decode_report(&bytes, "refs/heads/x"), Ok(expected));
        let bytes = report(&["unpack index-pack abnormal exit\n"]);
        let expected = Report::Refused("index-pack abnormal exit".into());
        assert_eq!(decode_report(&bytes, "refs/heads/x"), Ok(expected));
    }

    #[test]
    fn anything_less_than_a_clear_yes_is_not_done() {
        for lines in [
            &["unpack ok\n"][..],
            &["ok refs/heads/x\n"],
            &["unpack ok\n", "ok refs/heads/other\n"],
            &["unpack ok\n", "ok refs/heads/xy\n"],
            &["hello\n"],
            &[],
        ] {
            assert!(decode_report(&report(lines), "refs/heads/x").is_err(), "{lines:?}");
        }
        let whole = report(&["unpack ok\n", "ok refs/heads/x\n"]);
        for end in 0..whole.len() {
            assert!(decode_report(&whole[..end], "refs/heads/x").is_err(), "{end}");
        }
    }
}
