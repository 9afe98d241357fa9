//! The thing to compare with: an axum route that reads JSON and answers JSON, and does nothing
//! else. Same framework, same connection handling as a plain `axum::serve` gives everyone.

use std::io::Write as _;

use anyhow::Result;
use axum::Json;
use axum::routing::post;
use serde_json::{Value, json};

/// Serves until standard input is closed.
pub(crate) async fn serve() -> Result<()> {
    let router = axum::Router::new().route("/", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    let input = tokio::task::spawn_blocking(|| {
        std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())
    });
    let closed = async {
        // An error is an end, too.
        let _end = input.await;
    };
    axum::serve(listener, router).with_graceful_shutdown(closed).await?;
    Ok(())
}

/// About as much as a lease: read a small object, answer a small object.
async fn answer(Json(question): Json<Value>) -> Json<Value> {
    Json(json!({
        "lease_id": "lease_01arz3ndektsv4rrffq69g5fav",
        "connection_id": question.get("connection_id"),
        "connection_type": "generic",
        "narrowing": { "kind": "stored" },
        "expires_at": "2026-01-01T00:00:00.000Z",
        "material": { "kind": "values", "values": { "token": "0123456789abcdef" }, "files": {} },
    }))
}
