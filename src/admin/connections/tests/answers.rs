//! Clients that are slow to take their answers, or keep their connection for the next request.

use super::*;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::StreamExt;

/// More than the sockets of both sides hold.
const BIG: usize = 48 << 20;
/// A beginning of HTTP/2 with windows of nothing, and a request for `/`.
const NO_WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
/// The same with the windows of the standard.
const WINDOW: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const REQUEST: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01x";
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0abcdefgh";
/// The head of the frame that says goodbye, which names the last request that is answered.
const GOODBYE: &[u8] = b"\0\0\x08\x07\0\0\0\0\0";

async fn serving(all: Router, limits: Connections) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(serve(listener, routes(all), limits, stop.clone()));
    (address, stop)
}

/// `/` in one piece, `/pieces` in many.
fn big() -> Router {
    let piece = Bytes::from(vec![b'a'; BIG / 64]);
    let pieces = move || {
        let piece = piece.clone();
        async move { Body::from_stream(futures_util::stream::iter(vec![piece; 64]).map(Ok::<_, std::io::Error>)) }
    };
    Router::new().route("/", get(async || vec![b'a'; BIG])).route("/pieces", get(pieces)).route("/small", get("small"))
}

async fn asked(address: SocketAddr, path: &str) -> TcpStream {
    let mut socket = connected(address).await;
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    socket
}

/// Would catch: an answer that counts as sent when the server has read its last piece, and is cut while the client still reads.
#[tokio::test]
async fn an_answer_is_in_work_until_it_is_sent() {
    let (address, stop) = serving(big(), limits(2, 200)).await;
    for path in ["/", "/pieces"] {
        let mut socket = asked(address, path).await;
        // Longer than a head may take, while others want the place.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert!(rest(asked(address, "/small").await).await.ends_with("small"));
            let _other = connected(address).await;
        }
        let mut count = 0;
        let mut some = vec![0; 1 << 20];
        loop {
            let read = tokio::time::timeout(SOON, socket.read(&mut some)).await.expect("nothing comes").unwrap();
            if read == 0 {
                break;
            }
            count += read;
        }
        assert!(count > BIG, "{path}: {count} bytes");
    }
    stop.cancel();
}

/// Would catch: clients that take nothing of their answers and hold their places for ever, and probes that find none meanwhile.
#[tokio::test]
async fn who_takes_nothing_is_closed() {
    let (address, stop) = serving(big(), Connections { write_timeout: Duration::from_secs(2), ..limits(3, 3_600_000) }).await;
    let mut all = Vec::new();
    for path in ["/", "/pieces"] {
        all.push(asked(address, path).await);
    }
    let mut second = connected(address).await;
    second.write_all(&[NO_WINDOW, REQUEST].concat()).await.unwrap();
    let (mut from, mut to) = second.into_split();
    // It is no sign of taking anything that it speaks of something else.
    let pings = tokio::spawn(async move {
        while to.write_all(PING).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(rest(asked(address, "/livez").await).await.ends_with("spare"));
    assert!(rest(asked(address, "/small").await).await.starts_with("HTTP/1.1 404 "), "a spare place is for probes");
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(SOON, from.read_to_end(&mut answer)).await.expect("it is still open");
    let free = async {
        while !rest(asked(address, "/small").await).await.ends_with("small") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, free).await.expect("their places are still taken");
    for mut socket in all {
        let mut answer = Vec::new();
        let _reset = tokio::time::timeout(SOON, socket.read_to_end(&mut answer)).await.expect("it is still open");
        assert!(answer.len() < BIG, "it was sent whole");
    }
    tokio::time::timeout(SOON, pings).await.expect("it is still open").unwrap();
    stop.cancel();
}

/// Would catch: an answer in pieces that is cut because its next piece takes long.
#[tokio::test]
async fn an_answer_that_has_nothing_to_give_is_waited_for() {
    let pieces = async || {
        let later = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            "second"
        });
        Body::from_stream(futures_util::stream::iter(["first"]).chain(later).map(Ok::<_, std::io::Error>))
    };
    let limits = Connections { write_timeout: Duration::from_millis(200), ..limits(2, 200) };
    let (address, stop) = serving(Router::new().route("/", get(pieces)), limits).await;
    assert!(rest(asked(address, "/").await).await.contains("second"));
    let mut socket = connected(address).await;
    socket.write_all(&[WINDOW, REQUEST].concat()).await.unwrap();
    assert!(rest(socket).await.contains("second"));
    stop.cancel();
}

/// Would catch: a connection that is kept no longer for its next request than a first one, or for ever; a head after the first without a
/// limit of its own; an end of HTTP/2 without a goodbye.
#[tokio::test]
async fn who_has_been_served_is_kept_for_longer() {
    let request = format!("{HEAD}\r\n").replace("/livez", "/small");
    let mut some = [0; 1_000];
    let keeps = |ms: u64| Connections { keep_alive: Duration::from_millis(ms), ..limits(10, 200) };
    let (address, stop) = serving(big(), keeps(3_600_000)).await;
    let mut socket = connected(address).await;
    for _ in 0..2 {
        socket.write_all(request.as_bytes()).await.unwrap();
        let read = tokio::time::timeout(SOON, socket.read(&mut some)).await.unwrap().unwrap();
        assert!(some[..read].starts_with(b"HTTP/1.1 200 "), "it was closed");
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    socket.write_all(&request.as_bytes()[..10]).await.unwrap();
    rest(socket).await;
    stop.cancel();
    let (address, stop) = serving(big(), keeps(300)).await;
    let mut socket = connected(address).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    rest(socket).await;
    let small = Router::new().route("/", get("small"));
    let (second, stop_second) = serving(small, keeps(300)).await;
    let mut socket = connected(second).await;
    socket.write_all(&[WINDOW, REQUEST].concat()).await.unwrap();
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(SOON, socket.read_to_end(&mut answer)).await.expect("it is still open");
    let has = |part: &[u8]| answer.windows(part.len()).any(|window| window == part);
    assert!(has(b"small") && has(GOODBYE), "{answer:?}");
    for stop in [stop, stop_second] {
        stop.cancel();
    }
}

/// Would catch: one connection of HTTP/2 that has as many requests in work as it likes.
#[tokio::test]
async fn a_connection_has_so_many_requests_at_the_same_time() {
    let all = Router::new().route("/", axum::routing::post(async |_: Bytes| "done"));
    let (address, stop) = serving(all, limits(10, 3_600_000)).await;
    let mut socket = connected(address).await;
    socket.write_all(WINDOW).await.unwrap();
    let last = 2 * STREAMS + 1;
    for stream in (1..=last).step_by(2) {
        // A POST to `/` whose body does not come.
        let head = [&b"\0\0\x06\x01\x04"[..], &stream.to_be_bytes(), b"\x83\x84\x86\x01\x01x"].concat();
        socket.write_all(&head).await.unwrap();
    }
    // The first that is one too many is refused, and no other is.
    let refused = [&b"\0\0\x04\x03\0"[..], &last.to_be_bytes(), b"\0\0\0\x07"].concat();
    let (mut came, mut some) = (Vec::new(), [0; 1_000]);
    let has = |came: &[u8], part: &[u8]| came.windows(part.len()).any(|window| window == part);
    while !has(&came, &refused) {
        let read = tokio::time::timeout(SOON, socket.read(&mut some)).await.expect("none is refused").unwrap();
        assert!(read > 0, "{came:?}");
        came.extend_from_slice(&some[..read]);
    }
    assert_eq!(came.windows(5).filter(|window| *window == b"\0\0\x04\x03\0").count(), 1, "{came:?}");
    stop.cancel();
}
