//! A job's log on its way to the server: in order, numbered, repeated until it has arrived.
//!
//! Bounded: when the server is away, the buffer fills and the job's output waits, so that no line is
//! lost and no memory runs out. Only masked bytes come in here.

use std::sync::Arc;
use std::time::Duration;

use keyferry_api::client::Client;
use keyferry_api::runner::AppendLog;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::secrets::{MaskedStream, Secrets};

/// Pieces of output that may wait; each is one read of a pipe, [`READ_BYTES`] at most.
const WAITING_PIECES: usize = 256;

/// The longest piece of output that is read at once.
pub(crate) const READ_BYTES: usize = 8 * 1024;

/// The longest part that is sent; the server takes 256 KiB, and lossy decoding can triple a byte.
const PART_BYTES: usize = 64 * 1024;

/// How long output is gathered before it is sent.
const GATHER: Duration = Duration::from_millis(150);

/// The longest log that is kept of one job.
const MAX_LOG_BYTES: u64 = 256 * 1024 * 1024;

/// Where a job's output goes. Cheap to clone; the log ends when the last clone is gone.
#[derive(Clone)]
pub(crate) struct JobLog {
    sender: mpsc::Sender<Vec<u8>>,
    secrets: Arc<Secrets>,
}

impl JobLog {
    /// Starts a log. `gone` is set when the server will not take any more of it.
    pub(crate) fn start(
        client: Client,
        secrets: Arc<Secrets>,
        gone: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(WAITING_PIECES);
        let task = tokio::spawn(deliver(client, receiver, gone));
        (Self { sender, secrets }, task)
    }

    /// Adds masked bytes; waits while the buffer is full.
    pub(crate) async fn write(&self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            // Fails only when the server has given the job up: then nobody reads the log.
            let _ = self.sender.send(bytes).await;
        }
    }

    /// Adds a line of the runner's own.
    pub(crate) async fn line(&self, text: &str) {
        let mut stream = MaskedStream::new(Arc::clone(&self.secrets));
        let mut bytes = stream.push(text.as_bytes());
        bytes.extend(stream.finish());
        bytes.push(b'\n');
        self.write(bytes).await;
    }

    /// Tells whether writers have to wait, because the server is away or slow.
    pub(crate) fn is_full(&self) -> bool {
        !self.sender.is_closed() && self.sender.capacity() == 0
    }

    pub(crate) fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }
}

async fn deliver(client: Client, mut receiver: mpsc::Receiver<Vec<u8>>, gone: CancellationToken) {
    let mut sequence = 0;
    let mut total: u64 = 0;
    let mut pending: Vec<u8> = Vec::new();
    let mut is_open = true;
    while is_open || !pending.is_empty() {
        if is_open && pending.len() < PART_BYTES {
            if pending.is_empty() {
                match receiver.recv().await {
                    Some(bytes) => pending = bytes,
                    None => is_open = false,
                }
            }
            let until = tokio::time::Instant::now() + GATHER;
            while is_open && pending.len() < PART_BYTES {
                match tokio::time::timeout_at(until, receiver.recv()).await {
                    Ok(Some(bytes)) => pending.extend(bytes),
                    Ok(None) => is_open = false,
                    Err(_) => break,
                }
            }
        }
        let Some(text) = take_text(&mut pending, !is_open) else { continue };
        let before = total;
        total += text.len() as u64;
        let text = match (before > MAX_LOG_BYTES, total > MAX_LOG_BYTES) {
            (true, _) => continue,
            (false, true) => "\nthe log is longer than 256 MiB; the rest is not kept\n".to_owned(),
            (false, false) => text,
        };
        sequence += 1;
        if let Err(error) = client.append_log(&AppendLog { sequence, text }).await {
            warn!(%error, sequence, "the server does not take the job's log any more");
            gone.cancel();
            return;
        }
    }
}

/// Takes one part: whole characters, no NUL (databases refuse it in text).
fn take_text(pending: &mut Vec<u8>, is_last: bool) -> Option<String> {
    let mut length = pending.len().min(PART_BYTES);
    if let Err(error) = std::str::from_utf8(&pending[..length])
        && error.error_len().is_none()
        && !(is_last && length == pending.len())
    {
        // A character that is cut in two waits for its other half.
        length = error.valid_up_to();
        if length == 0 && pending.len() > 4 {
            length = 1;
        }
    }
    if length == 0 {
        return None;
    }
    let rest = pending.split_off(length);
    let bytes = std::mem::replace(pending, rest);
    Some(String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_cut_in_two() {
        let mut pending = "aü".as_bytes()[..2].to_vec();
        assert_eq!(take_text(&mut pending, false).as_deref(), Some("a"));
        assert_eq!(take_text(&mut pending, false), None);
        pending.extend(&"ü".as_bytes()[1..]);
        assert_eq!(take_text(&mut pending, false).as_deref(), Some("ü"));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        let mut pending = b"a\0\xffb\xc3".to_vec();
        assert_eq!(take_text(&mut pending, true).as_deref(), Some("a\u{fffd}\u{fffd}b\u{fffd}"));
        assert!(pending.is_empty());
    }

    #[test]
    fn parts_have_a_limit() {
        let mut pending = vec![b'x'; PART_BYTES * 2 + 1];
        assert_eq!(take_text(&mut pending, false).map(|text| text.len()), Some(PART_BYTES));
        assert_eq!(pending.len(), PART_BYTES + 1);
    }
}
