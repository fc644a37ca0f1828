//! A collector of OTLP over HTTP inside the test.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::routing::post;
use std::sync::{Arc, Mutex};

/// Path, head and body of each request.
pub type Received = Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>;

/// A collector that keeps every request: its URL, and what it got.
pub async fn collector() -> (String, Received) {
    async fn take(State(received): State<Received>, uri: Uri, headers: HeaderMap, body: Bytes) {
        received.lock().unwrap().push((uri.path().to_owned(), headers, body));
    }
    let received = Received::default();
    let app = Router::new().route("/v1/{signal}", post(take)).with_state(received.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}
