//! Clients that are slow, many, or send heads without an end, over real sockets.

mod answers;

use super::*;
use crate::admin::server::tests::{ask, started_with};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(30);
const HEAD: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n";

fn limits(most: usize, head_ms: u64) -> Connections {
    let head_timeout = Duration::from_millis(head_ms);
    Connections { most, head_timeout, keep_alive: head_timeout, write_timeout: SOON, head_bytes: LEAST_HEAD }
}

fn routes(all: Router) -> Routes {
    Routes { all, spare: Router::new().route("/livez", axum::routing::get("spare")) }
}

async fn connected(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// What comes until the other side has ended the connection.
async fn rest(mut socket: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is ended while bytes of it are under way is reset.
    let _reset = tokio::time::timeout(SOON, socket.read_to_end(&mut answer)).await.expect("it is still open");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Would catch: a head without a limit in time, be it of HTTP/1 or HTTP/2, the first of a connection or the next; a limit between two
/// bytes instead of for all of them.
#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let (_, address, stop) = started_with(100, limits(10, 200)).await;
    for begun in
        ["", "G", HEAD, "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x20\x01\x05\0\0\0\x01"]
    {
        let mut socket = connected(address).await;
        socket.write_all(begun.as_bytes()).await.unwrap();
        rest(socket).await;
    }
    // Something comes all the time.
    let (mut from, mut to) = connected(address).await.into_split();
    to.write_all(HEAD.as_bytes()).await.unwrap();
    let slow = async move {
        while to.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, slow).await.expect("the head still comes");
    let _reset = from.read_to_end(&mut answer).await;
    assert_eq!(answer, b"", "there was no request");
    // One that is answered, and asks for nothing more.
    let mut socket = connected(address).await;
    socket.write_all(format!("{HEAD}\r\n").as_bytes()).await.unwrap();
    assert!(rest(socket).await.starts_with("HTTP/1.1 200 "));
    stop.cancel();
}

/// Would catch: a request that counts as none while its body comes.
#[tokio::test]
async fn a_request_in_work_is_no_slow_head() {
    let (_, address, stop) = started_with(100, limits(10, 400)).await;
    let mut socket = connected(address).await;
    let head = "POST /v1/functions/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\n";
    for part in [head, "[", "1", "]"] {
        socket.write_all(part.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert!(rest(socket).await.ends_with("[1]"));
    stop.cancel();
}

/// Would catch: connections without an end, silent ones that keep others out, one in work that is ended for another.
#[tokio::test]
async fn whoever_waits_longest_gives_its_place_to_who_comes() {
    let (_, address, stop) = started_with(100, limits(3, 3_600_000)).await;
    let mut works = connected(address).await;
    let head = "POST /v1/functions/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\n[1";
    works.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (first, second) = (connected(address).await, connected(address).await);
    let answered =
        tokio::time::timeout(SOON, ask(address, "GET", "/livez", "host: x\r\n", "")).await.expect("nobody is kept out");
    assert!(answered.contains(" 200 "), "{answered}");
    assert_eq!(rest(first).await, "");
    works.write_all(b"]").await.unwrap();
    assert!(rest(works).await.ends_with("[1]"));
    // What still waits is no worse off.
    let mut second = second;
    second.write_all(format!("{HEAD}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    assert!(rest(second).await.contains(" 200 "));
    stop.cancel();
}

#[tokio::test]
async fn a_head_has_a_size_at_most() {
    let (_, address, stop) = started_with(100, limits(10, 3_600_000)).await;
    let head = format!("{HEAD}x: {}\r\nconnection: close\r\n\r\n", "a".repeat(2 * LEAST_HEAD));
    let mut socket = connected(address).await;
    socket.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(socket).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let under = format!("x: {}\r\nhost: x\r\n", "a".repeat(LEAST_HEAD / 2));
    assert!(ask(address, "GET", "/livez", &under, "").await.contains(" 200 "));
    stop.cancel();
}

/// Would catch: a stop that waits for a connection on which nothing happens, or that cuts off an answer.
#[tokio::test]
async fn a_stop_waits_for_requests_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let slow = axum::routing::get(async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "done"
    });
    let serving = tokio::spawn(serve(listener, routes(Router::new().route("/", slow)), limits(10, 3_600_000), stop.clone()));
    let silent = connected(address).await;
    let mut works = connected(address).await;
    works.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    assert!(rest(works).await.ends_with("done"));
    rest(silent).await;
    tokio::time::timeout(SOON, serving).await.expect("it still serves").unwrap();
}
