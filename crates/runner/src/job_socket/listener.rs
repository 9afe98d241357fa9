//! The socket itself: private, answering only processes that belong to the job.
//!
//! One question and one answer for each connection, both with limits in size and time.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyferry_delivery::socket::{Answer, MAX_QUESTION_BYTES, Question, Refusal};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::desk::Desk;

/// How long a helper may take to ask.
const ASK_TIME: Duration = Duration::from_secs(10);

/// How long anybody else may take, who gets nothing.
const STRANGER_TIME: Duration = Duration::from_millis(200);

/// How many questions are answered at once; more wait.
const AT_ONCE: usize = 64;

/// Tells whether a process belongs to the holder.
pub(crate) type OwnsProcess = Arc<dyn Fn(u32) -> bool + Send + Sync>;

/// Where refusals go that tools would swallow.
pub(crate) type OnRefusal = Arc<dyn Fn(Refusal) + Send + Sync>;

/// An open job socket. Dropping it closes and removes it.
pub(crate) struct Listener {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Listener {
    /// Opens a socket, mode 0600, in a folder that is private already.
    pub(crate) fn open(
        path: &Path,
        desk: Arc<Desk>,
        owns: OwnsProcess,
        on_refusal: OnRefusal,
    ) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let limit = Arc::new(Semaphore::new(AT_ONCE));
        let task = tokio::spawn(async move {
            // Dropped with this task, and with it every answer under way.
            let mut open = tokio::task::JoinSet::new();
            while let Ok(permit) = Arc::clone(&limit).acquire_owned().await {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                while open.try_join_next().is_some() {}
                let (desk, owns) = (Arc::clone(&desk), Arc::clone(&owns));
                let on_refusal = Arc::clone(&on_refusal);
                open.spawn(async move {
                    serve(stream, &desk, &owns, &on_refusal).await;
                    drop(permit);
                });
            }
        });
        Ok(Self { path: path.to_path_buf(), task })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn serve(mut stream: UnixStream, desk: &Desk, owns: &OwnsProcess, on_refusal: &OnRefusal) {
    let is_ours = is_ours(&stream, owns);
    let time = if is_ours { ASK_TIME } else { STRANGER_TIME };
    // Read in any case: closing with unread bytes would take the answer away from its reader.
    let Ok(question) = tokio::time::timeout(time, read_question(&mut stream)).await else { return };
    let answer = match question {
        // Strangers learn that they are strangers, and nothing else.
        _ if !is_ours => Answer::Refusal(Refusal {
            code: "not_in_job".to_owned(),
            message: "this process does not belong to the job of this socket".to_owned(),
            hint: None,
        }),
        Ok(question) => desk.answer(&question).await,
        Err(refusal) => Answer::Refusal(refusal),
    };
    if let Answer::Refusal(refusal) = &answer {
        on_refusal(refusal.clone());
    }
    let line = answer.render();
    let _ = stream.write_all(line.expose().as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Checks the caller's user, then that the job started it.
fn is_ours(stream: &UnixStream, owns: &OwnsProcess) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    let own_user = rustix::process::geteuid().as_raw();
    let Some(process) = peer.pid().and_then(|pid| u32::try_from(pid).ok()) else { return false };
    peer.uid() == own_user && owns(process)
}

async fn read_question(stream: &mut UnixStream) -> Result<Question, Refusal> {
    let mut line = Vec::new();
    let limit = MAX_QUESTION_BYTES as u64 + 1;
    let mut reader = BufReader::new(stream.take(limit));
    let broken =
        |message: String| Refusal { code: "invalid_question".to_owned(), message, hint: None };
    reader
        .read_until(b'\n', &mut line)
        .await
        .map_err(|error| broken(format!("failed to read the question: {error}")))?;
    Question::parse(&line).map_err(|error| broken(format!("failed to {error}")))
}
