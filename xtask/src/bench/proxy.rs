//! A proxy on loopback that counts the bytes of both directions.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

/// Passes connections on to a port, and counts.
pub(super) struct Proxy {
    pub(super) port: u16,
    bytes: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts it in front of a port of this machine; it lives as long as this program.
    pub(super) fn start(target: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", target)) {
                    join(client, server, &counter);
                }
            }
        });
        Ok(Self { port, bytes })
    }

    /// Returns the bytes since the last call.
    pub(super) fn take_bytes(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }
}

/// Copies both ways, each on a thread of its own.
fn join(client: TcpStream, server: TcpStream, bytes: &Arc<AtomicU64>) {
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    for (from, to) in [(client, server), (server_too, client_too)] {
        let bytes = Arc::clone(bytes);
        std::thread::spawn(move || copy(from, to, &bytes));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, bytes: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
        bytes.fetch_add(count as u64, Ordering::SeqCst);
    }
    // The other side may be gone already.
    let _gone = to.shutdown(Shutdown::Write);
}
