//! Bodies that stand, over real sockets.

use crate::admin::server::tests::{ask, started_as};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(30);
/// Four of them are all that may be there together.
const BODY: usize = 16 << 20;
const STANDING: usize = 4;
const WHOLE: &str = "content-length: 16777216";
const UNTOLD: &str = "transfer-encoding: chunked";

/// Requests whose bodies do not come.
async fn standing(address: SocketAddr, count: usize, length: &str) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head = format!("POST /v1/functions/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{length}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        all.push(socket);
    }
    all
}

/// Requests of whose bodies all has come but the last byte.
async fn filling(address: SocketAddr, count: usize, length: &str) -> Vec<TcpStream> {
    let mut all = standing(address, count, length).await;
    for socket in &mut all {
        if length == UNTOLD {
            socket.write_all(format!("{BODY:x}\r\n").as_bytes()).await.unwrap();
        }
        socket.write_all(&vec![b' '; BODY - 1]).await.unwrap();
    }
    all
}

/// Asks until the status is this one.
async fn until(address: SocketAddr, path: &str, status: u16) -> String {
    let asking = async {
        loop {
            let answer = ask(address, "POST", path, "host: x\r\n", "[1]").await;
            if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
                return answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, asking).await.unwrap_or_else(|_| panic!("{path} never answers {status}"))
}

/// Would catch: bodies that are announced and do not come, and keep all others out.
#[tokio::test]
async fn what_has_not_come_takes_no_place() {
    let (_, address, stop) =
        started_as(|state| (state.body_bytes, state.body_timeout) = (BODY, Duration::from_secs(3_600))).await;
    let mut others = Vec::new();
    for length in [WHOLE, UNTOLD] {
        others.extend(standing(address, 5 * STANDING, length).await);
    }
    assert!(ask(address, "POST", "/v1/functions/echo", "host: x\r\n", "[1]").await.ends_with("[1]"));
    drop(others);
    stop.cancel();
}

/// Would catch: bodies that together take as much as connections allow, one without a length that counts as nothing, a place that stays taken
/// when its client has gone away, an operator who is kept out, a refusal in another door's shape.
#[tokio::test]
async fn bodies_together_have_a_bound_and_places_come_back() {
    const TOKEN: &str = "a-token-of-this-test";
    let (state, address, stop) =
        started_as(|state| (state.body_bytes, state.body_timeout) = (BODY, Duration::from_secs(3_600))).await;
    assert!(state.token.replace(TOKEN));
    for length in [WHOLE, UNTOLD] {
        let mut others = filling(address, STANDING, length).await;
        let refused = until(address, "/v1/functions/echo", 503).await;
        assert!(refused.contains("retry-after: 1\r\n") && refused.contains("\"type\":\"overloaded\""), "{refused}");
        assert!(refused.contains("bodies of other requests"), "{refused}");
        assert!(until(address, "/hf/echo", 503).await.contains("\"error_type\":\"overloaded\""));
        assert!(until(address, "/functions/echo", 503).await.contains("role=\"alert\""));
        assert!(ask(address, "GET", "/livez", "host: x\r\n", "").await.contains(" 200 "), "what has no body needs no place");
        let operator = format!("host: x\r\nauthorization: Bearer {TOKEN}\r\n");
        let paused = ask(address, "POST", "/v1/pipelines/p/pause", &operator, r#"{"by": "ann"}"#).await;
        assert!(paused.contains(" 200 "), "{paused}");
        drop(others.pop());
        assert!(until(address, "/v1/functions/echo", 200).await.ends_with("[1]"));
        // The others still stand: one more is one too many.
        others.extend(filling(address, 1, length).await);
        until(address, "/v1/functions/echo", 503).await;
        drop(others);
        until(address, "/v1/functions/echo", 200).await;
    }
    stop.cancel();
}

/// Would catch: a place that stays taken by a body that has not come in time, or by one that has come.
#[tokio::test]
async fn a_body_that_is_over_gives_its_place_back() {
    let (_, address, stop) = started_as(|state| state.body_bytes = BODY).await;
    for mut socket in filling(address, STANDING, WHOLE).await {
        let mut answer = String::new();
        timeout(SOON, socket.read_to_string(&mut answer)).await.expect("it is still waited for").unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    for _ in 0..=STANDING {
        for mut socket in standing(address, STANDING, UNTOLD).await {
            socket.write_all(b"3\r\n[1]\r\n0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            timeout(SOON, socket.read_to_string(&mut answer)).await.expect("it is still waited for").unwrap();
            assert!(answer.contains(" 200 ") && answer.ends_with("[1]"), "{answer}");
        }
    }
    stop.cancel();
}

/// Would catch: a refusal that the client never reads, since its connection is reset while it still sends.
#[tokio::test]
async fn who_sends_too_much_hears_so() {
    let (_, address, stop) = started_as(|state| state.body_bytes = 1_000).await;
    for length in ["content-length: 3000000", UNTOLD] {
        let mut socket = standing(address, 1, length).await.remove(0);
        let body = [if length == UNTOLD { &b"2dc6c0\r\n"[..] } else { b"" }, &vec![b'1'; 3_000_000], b"\r\n0\r\n\r\n"].concat();
        socket.write_all(&body[..if length == UNTOLD { body.len() } else { 3_000_000 }]).await.expect("it was cut off");
        let mut answer = String::new();
        timeout(SOON, socket.read_to_string(&mut answer)).await.expect("it is still waited for").expect("it was reset");
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("more than 1000 bytes"), "{answer}");
    }
    stop.cancel();
}
