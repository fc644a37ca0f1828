//! A Postgres proxy inside the test that knows one statement, and can break the connection around it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// How a statement is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The statement never arrives.
    Statement,
    /// The statement is carried out, then the connection breaks before its reply.
    Reply,
    /// The connection breaks while the statement is carried out.
    Early,
    /// The client hears nothing, and the statement arrives when the client has long gone on.
    Late,
    /// The statement is carried out, and from then on nothing passes on any connection, old or new, and none is closed, until
    /// the proxy is healed. What was sent meanwhile arrives then.
    Silent,
}

/// How long a late statement is on its way: longer than the client needs to read the row and send the same again.
const LATE: Duration = Duration::from_millis(400);

/// What of the server's replies the client gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    All,
    Nothing,
    /// Not even an open connection.
    Gone,
}

/// Which executions of the statement are broken, and how: asked with the number of each.
type Plan = dyn Fn(usize) -> Option<Cut> + Send + Sync;

/// See the module. Ends with the test's runtime.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    /// What the text of the statement begins with.
    statement: &'static str,
    seen: AtomicUsize,
    done: Mutex<Vec<Cut>>,
    plan: Box<Plan>,
    accepted: AtomicUsize,
    /// Nothing passes on connections with a lower number.
    silent_below: watch::Sender<usize>,
}

impl Shared {
    /// Returns once this connection is not silent.
    async fn heard(&self, number: usize) {
        self.silent_below.subscribe().wait_for(|below| number >= *below).await.unwrap();
    }
}

impl Proxy {
    /// Listens on a free port and leads to `server` (`host:port`).
    pub async fn start(
        server: String,
        statement: &'static str,
        plan: impl Fn(usize) -> Option<Cut> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let done = Mutex::new(Vec::new());
        let (seen, accepted, plan) = (AtomicUsize::new(0), AtomicUsize::new(0), Box::new(plan));
        let shared = Arc::new(Shared { server, statement, seen, done, plan, accepted, silent_below: watch::channel(0).0 });
        let of_all = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = of_all.accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection(client, number, of_all.clone()));
            }
        });
        Self { port, shared }
    }

    /// Ends a silence.
    pub fn heal(&self) {
        self.shared.silent_below.send_replace(0);
    }

    /// Ends a silence for new connections; those that are there hear nothing more, and are not closed.
    pub fn heal_new(&self) {
        self.shared.silent_below.send_replace(self.shared.accepted.load(Ordering::Relaxed));
    }

    /// Connections that clients have opened so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many times the statement was broken in this way.
    pub fn cuts(&self, cut: Cut) -> usize {
        self.shared.done.lock().unwrap().iter().filter(|done| **done == cut).count()
    }
}

/// One message of the protocol, its type byte and length included.
async fn message(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message).await?;
    let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
    message.resize(1 + length, 0);
    from.read_exact(&mut message[5..]).await?;
    Ok(message)
}

/// A NUL-terminated string of a message, and what follows it.
fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// Start-up: an offer of TLS is declined here, the rest goes on to the server.
async fn greet(from: &mut OwnedReadHalf, client: &mut OwnedWriteHalf, server: &mut OwnedWriteHalf) -> std::io::Result<()> {
    loop {
        let mut head = [0; 8];
        from.read_exact(&mut head).await?;
        if head[4..] == 80_877_103u32.to_be_bytes() {
            client.write_all(b"N").await?;
            continue;
        }
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let mut rest = vec![0; length - 8];
        from.read_exact(&mut rest).await?;
        server.write_all(&head).await?;
        return server.write_all(&rest).await;
    }
}

async fn connection(client: TcpStream, number: usize, shared: Arc<Shared>) {
    shared.heard(number).await;
    let Ok(server) = TcpStream::connect(&shared.server).await else { return };
    // Else each small message waits for the acknowledgement of the one before it.
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    if greet(&mut from_client, &mut to_client, &mut to_server).await.is_err() {
        return;
    }
    let (pass, passing) = watch::channel(Pass::All);
    let replied = Arc::new(Notify::new());
    let replies = tokio::spawn(replies(from_server, to_client, (number, shared.clone()), passing, replied.clone()));
    // An error here is a client that has gone, or a server that has.
    requests(from_client, to_server, (number, &shared), &pass, &replied).await.ok();
    replies.abort();
}

/// Server to client, as far as it may pass; tells the end of each reply that does not.
async fn replies(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    (number, shared): (usize, Arc<Shared>),
    mut passing: watch::Receiver<Pass>,
    replied: Arc<Notify>,
) {
    let mut to = Some(to);
    loop {
        let reply = tokio::select! {
            // The server is silent when this changes: the client has heard everything before it sends the statement.
            Ok(()) = passing.changed() => {
                if *passing.borrow() == Pass::Gone {
                    to = None;
                }
                continue;
            }
            reply = message(&mut from) => reply,
        };
        let Ok(reply) = reply else { return };
        shared.heard(number).await;
        let all = *passing.borrow() == Pass::All;
        if let Some(to) = to.as_mut().filter(|_| all) {
            if to.write_all(&reply).await.is_err() {
                return;
            }
        } else if reply[0] == b'Z' {
            replied.notify_one();
        }
    }
}

/// Client to server, until a cut.
async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (number, shared): (usize, &Shared),
    pass: &watch::Sender<Pass>,
    replied: &Notify,
) -> std::io::Result<()> {
    let mut name: Option<Vec<u8>> = None;
    loop {
        let first = message(&mut from).await?;
        shared.heard(number).await;
        if first[0] == b'P' {
            let (of, rest) = string(&first[5..]);
            if string(rest).0.trim_ascii_start().starts_with(shared.statement.as_bytes()) {
                name = Some(of.to_vec());
            }
        }
        let ours = first[0] == b'B' && name.as_deref() == Some(string(string(&first[5..]).1).0);
        let cut = if ours { (shared.plan)(shared.seen.fetch_add(1, Ordering::Relaxed)) } else { None };
        let Some(cut) = cut else {
            to.write_all(&first).await?;
            continue;
        };
        let mut statement = first;
        loop {
            let next = message(&mut from).await?;
            statement.extend_from_slice(&next);
            if next[0] == b'S' {
                break;
            }
        }
        shared.done.lock().unwrap().push(cut);
        match cut {
            Cut::Statement => return Ok(()),
            Cut::Reply => pass.send_replace(Pass::Nothing),
            Cut::Early | Cut::Late => pass.send_replace(Pass::Gone),
            Cut::Silent => {
                shared.silent_below.send_replace(usize::MAX);
                to.write_all(&statement).await?;
                continue;
            }
        };
        if cut == Cut::Late {
            tokio::time::sleep(LATE).await;
        }
        to.write_all(&statement).await?;
        replied.notified().await;
        return Ok(());
    }
}
