//! Small HTTP servers that answer as a test wants, well or badly.

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server on loopback, gone when dropped.
pub(crate) struct StandIn {
    url: String,
    server: JoinHandle<()>,
}

/// A port that is taken before the answers are known, which may name it.
pub(crate) struct Listener {
    url: String,
    inner: TcpListener,
}

impl Listener {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn serve(self, router: Router) -> StandIn {
        let server = tokio::spawn(async move {
            axum::serve(self.inner, router).await.unwrap();
        });
        StandIn { url: self.url, server }
    }
}

impl StandIn {
    pub(crate) async fn listen() -> Listener {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", inner.local_addr().unwrap());
        Listener { url, inner }
    }

    pub(crate) async fn start(router: Router) -> Self {
        Self::listen().await.serve(router)
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}
