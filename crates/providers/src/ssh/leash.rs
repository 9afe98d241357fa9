//! A stream that ends when its owner is gone.
//!
//! The SSH library runs a connection in a task of its own, which during a key exchange looks at
//! nothing but the stream: a server that stalls there would keep the task and the socket after the
//! caller has given up. So the stream itself ends when the [`Leash`] is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Held by the owner of a connection.
#[derive(Debug)]
pub(super) struct Leash(
    #[expect(dead_code, reason = "dropping it is its use")] oneshot::Sender<()>,
);

/// The stream, as long as the leash is held.
#[derive(Debug)]
pub(super) struct Leashed {
    stream: TcpStream,
    owner: oneshot::Receiver<()>,
    is_over: bool,
}

impl Leashed {
    /// Ties a stream to a leash.
    pub(super) fn new(stream: TcpStream) -> (Self, Leash) {
        let (sender, owner) = oneshot::channel();
        (Self { stream, owner, is_over: false }, Leash(sender))
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if !self.is_over {
            self.is_over = Pin::new(&mut self.owner).poll(context).is_ready();
        }
        self.is_over
    }
}

impl AsyncRead for Leashed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(context) {
            // Nothing read and no error: the end of the stream.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Leashed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_stream_ends_when_its_owner_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().await.unwrap();
        let (mut leashed, leash) = Leashed::new(stream);
        other.write_all(b"x").await.unwrap();
        assert_eq!(leashed.read_u8().await.unwrap(), b'x');
        let reader = tokio::spawn(async move {
            let end = leashed.read(&mut [0; 8]).await;
            (end, leashed.write(b"y").await.map_err(|error| error.kind()))
        });
        drop(leash);
        let (end, write) = reader.await.unwrap();
        assert_eq!((end.unwrap(), write), (0, Err(io::ErrorKind::BrokenPipe)));
    }
}
