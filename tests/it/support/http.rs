//! Plain HTTP to a worker's admin server.

use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Status and body.
pub async fn get(address: &str, path: &str) -> (u16, String) {
    ask(address, "GET", path, "", "").await
}

/// The same, or nothing where nobody listens.
pub async fn try_get(address: &str, path: &str) -> Option<(u16, String)> {
    TcpStream::connect(address).await.ok()?;
    Some(get(address, path).await)
}

/// Status and answer of a POST of JSON.
pub async fn post(address: &str, path: &str, body: &Value) -> (u16, Value) {
    let (status, text) = ask(address, "POST", path, "", &body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path} answers {text}: {error}")))
}

/// Status, head and answer of a POST of JSON.
pub async fn headed(address: &str, path: &str, body: &Value) -> (u16, String, Value) {
    let (head, text) = whole(address, "POST", path, "", &body.to_string()).await;
    let answer = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path} answers {text}: {error}"));
    (status(&head), head, answer)
}

/// The answer to a POST of JSON as it comes, such as events; chunks are put together.
pub async fn raw(address: &str, path: &str, body: &Value) -> String {
    let (status, text) = ask(address, "POST", path, "", &body.to_string()).await;
    assert_eq!(status, 200, "{text}");
    text
}

/// Status and body of a POST with further lines in its head.
pub async fn post_with(address: &str, path: &str, head: &str, body: &str) -> (u16, String) {
    ask(address, "POST", path, head, body).await
}

async fn ask(address: &str, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
    let (head, body) = whole(address, method, path, more, body).await;
    (status(&head), body)
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Head and body.
async fn whole(address: &str, method: &str, path: &str, more: &str, body: &str) -> (String, String) {
    let answer = timeout(Duration::from_secs(60), async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{more}content-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let answer = answer.await.unwrap_or_else(|_| panic!("{address} does not answer {path}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {answer}"));
    (head.to_owned(), body.to_owned())
}
