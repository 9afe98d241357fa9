//! The packet line format (gitprotocol-common(5)): four hex digits of length, then data.
//!
//! Pure functions over bytes that a hostile server may have sent; nothing here allocates by a
//! length that was only claimed.

/// The most bytes one packet may have, length digits included.
pub(super) const MAX_PACKET_BYTES: usize = 65_520;

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// Data, as sent.
    Data(&'a [u8]),
    /// The end of a section: `0000`.
    Flush,
    /// A boundary inside of a section: `0001`.
    Delimiter,
    /// The end of an answer on a connection without state: `0002`.
    ResponseEnd,
}

impl<'a> Packet<'a> {
    /// Returns the data without a final line break; nothing for the other kinds.
    pub(super) fn line(self) -> Option<&'a [u8]> {
        match self {
            Self::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

/// The bytes are not packet lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PacketError {
    /// Not four hex digits where a length belongs.
    #[error("there is no packet length where one belongs")]
    Length,
    /// A length that no packet may have.
    #[error("a packet claims a length that is not allowed")]
    Size,
    /// The bytes end inside of a packet.
    #[error("a packet is cut off")]
    Truncated,
}

/// Reads one packet from the front. Returns it with the number of bytes it took, or `None` when
/// more bytes are needed.
pub(super) fn decode_first(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, PacketError> {
    let Some((digits, rest)) = bytes.split_first_chunk::<4>() else {
        // What is there already must be digits: a web page is refused at its first byte.
        return if bytes.iter().all(u8::is_ascii_hexdigit) {
            Ok(None)
        } else {
            Err(PacketError::Length)
        };
    };
    let size = parse_size(*digits)?;
    match size {
        0 => Ok(Some((Packet::Flush, 4))),
        1 => Ok(Some((Packet::Delimiter, 4))),
        2 => Ok(Some((Packet::ResponseEnd, 4))),
        3 => Err(PacketError::Size),
        _ if size > MAX_PACKET_BYTES => Err(PacketError::Size),
        _ => Ok(rest.get(..size - 4).map(|data| (Packet::Data(data), size))),
    }
}

fn parse_size(digits: [u8; 4]) -> Result<usize, PacketError> {
    digits.iter().try_fold(0, |size, digit| {
        let digit = char::from(*digit).to_digit(16).ok_or(PacketError::Length)?;
        Ok(size * 16 + digit as usize)
    })
}

/// The packets of a complete answer.
#[derive(Debug, Clone)]
pub(super) struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Packets<'a> {
    /// Reads packets from these bytes.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match decode_first(self.rest) {
            Ok(Some((packet, size))) => {
                self.rest = &self.rest[size..];
                Some(Ok(packet))
            }
            Ok(None) => {
                self.rest = &[];
                Some(Err(PacketError::Truncated))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Counts packets as bytes arrive, to know when a section is complete without reading further.
#[derive(Debug, Default)]
pub(super) struct SectionEnd {
    checked: usize,
}

impl SectionEnd {
    /// Returns the length of the first section in `bytes`, its flush included, or `None` when it is
    /// not complete yet. `bytes` must start the same at each call.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Result<Option<usize>, PacketError> {
        while let Some((packet, size)) = decode_first(&bytes[self.checked..])? {
            self.checked += size;
            if packet == Packet::Flush {
                return Ok(Some(self.checked));
            }
        }
        Ok(None)
    }
}

/// Appends a data packet. Data beyond the size of a packet is a mistake of ours, and cut.
pub(super) fn encode_data(out: &mut Vec<u8>, data: &[u8]) {
    let data = &data[..data.len().min(MAX_PACKET_BYTES - 4)];
    out.extend_from_slice(format!("{:04x}", data.len() + 4).as_bytes());
    out.extend_from_slice(data);
}

/// Appends a flush packet.
pub(super) fn encode_flush(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0000");
}

/// Appends a delimiter packet.
pub(super) fn encode_delimiter(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0001");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_are_read_as_in_the_documentation() {
        let packets: Result<Vec<_>, _> =
            Packets::new(b"0006a\n0005a000bfoobar\n0004000100020000").collect();
        assert_eq!(
            packets.unwrap(),
            [
                Packet::Data(b"a\n"),
                Packet::Data(b"a"),
                Packet::Data(b"foobar\n"),
                Packet::Data(b""),
                Packet::Delimiter,
                Packet::ResponseEnd,
                Packet::Flush,
            ]
        );
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for (bytes, error) in [
            (&b"0003"[..], PacketError::Size),
            (b"fff1", PacketError::Size),
            (b"ffff", PacketError::Size),
            (b"<html>", PacketError::Length),
            (b"<", PacketError::Length),
            (b"+005a", PacketError::Length),
            (b"00", PacketError::Truncated),
            (b"0009abc", PacketError::Truncated),
        ] {
            assert_eq!(Packets::new(bytes).next(), Some(Err(error)), "{bytes:?}");
        }
    }

    #[test]
    fn an_error_ends_the_reading() {
        let mut packets = Packets::new(b"zzzz0000");
        assert!(packets.next().unwrap().is_err());
        assert!(packets.next().is_none());
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut bytes = Vec::new();
            for line in &lines {
                encode_data(&mut bytes, line);
            }
            encode_flush(&mut bytes);
            let mut end = SectionEnd::default();
            prop_assert_eq!(end.find(&bytes).unwrap(), Some(bytes.len()));
            let packets: Vec<_> = Packets::new(&bytes).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(packets.len(), lines.len() + 1);
            for (packet, line) in packets.iter().zip(&lines) {
                prop_assert_eq!(*packet, Packet::Data(line));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let read: usize = Packets::new(&bytes).flatten().filter_map(Packet::line).map(<[u8]>::len).sum();
            prop_assert!(read <= bytes.len());
        }

        #[test]
        fn a_section_is_found_however_it_arrives(chunks in prop::collection::vec(1_usize..7, 1..30)) {
            let mut bytes = Vec::new();
            encode_data(&mut bytes, b"version 2");
            encode_data(&mut bytes, b"agent=x");
            encode_flush(&mut bytes);
            let whole = bytes.len();
            bytes.extend_from_slice(b"0005x");
            let mut end = SectionEnd::default();
            let mut seen = 0;
            for chunk in chunks {
                seen = (seen + chunk).min(bytes.len());
                if let Some(found) = end.find(&bytes[..seen]).unwrap() {
                    prop_assert_eq!(found, whole);
                    return Ok(());
                }
                prop_assert!(seen < whole);
            }
        }
    }
}
