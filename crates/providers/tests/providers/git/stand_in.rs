//! A server that says whatever a test wants, and counts what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use tokio::net::TcpListener;

/// A running stand-in. It stops with the runtime of its test.
pub(crate) struct StandIn {
    /// Its address, `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// The requests so far: `GET /path?query` with `+auth` when there was a login.
    requests: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// Starts a server that answers each request by `answer`, which gets the number of the request,
    /// from 0, and the request line.
    pub(crate) async fn start(
        answer: impl Fn(usize, &str) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let router = Router::new().fallback(move |request: Request| {
            let has_login = request.headers().contains_key("authorization");
            let mut line = format!("{} {}", request.method(), request.uri());
            if has_login {
                line.push_str(" +auth");
            }
            let mut seen = seen.lock().unwrap();
            let response = answer(seen.len(), &line);
            seen.push(line);
            drop(seen);
            std::future::ready(response)
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, requests }
    }

    /// Returns the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Makes an answer.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

/// Makes packet lines; `0000` stands for itself.
pub(crate) fn packets(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        if *line == "0000" {
            bytes.extend_from_slice(b"0000");
        } else {
            bytes.extend_from_slice(format!("{:04x}{line}", line.len() + 4).as_bytes());
        }
    }
    bytes
}

/// Makes the first answer of a service.
pub(crate) fn advertisement(service: &str, lines: &[&str]) -> Response {
    answer(
        200,
        &[("content-type", &format!("application/x-{service}-advertisement"))],
        packets(lines),
    )
}
