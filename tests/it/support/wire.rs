//! A TCP proxy inside the test that does to a connection what a bad network does: it waits, slices, resets, or swallows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How bad the network is. The default is a good one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weather {
    /// Each piece waits so long, and up to as much again.
    pub latency: Duration,
    /// A piece is so many bytes at most; 0: as they come.
    pub slice: usize,
    /// Of so many pieces one ends its connection by a reset; 0: none does.
    pub reset_one_of: u64,
    /// Nothing passes, in no direction, and no connection is closed.
    pub black_hole: bool,
}

/// See the module. Ends with the test's runtime.
pub struct Wire {
    pub port: u16,
    weather: watch::Sender<Weather>,
    shared: Arc<Shared>,
}

struct Shared {
    server: watch::Sender<String>,
    /// Pieces that passed; also the dice.
    pieces: AtomicU64,
    resets: AtomicU64,
}

impl Wire {
    /// Listens on a free port. Where it leads to is said by [`lead_to`](Self::lead_to): clients wait until then.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (weather, _) = watch::channel(Weather::default());
        let server = watch::channel(String::new()).0;
        let shared = Arc::new(Shared { server, pieces: AtomicU64::new(0), resets: AtomicU64::new(0) });
        let (of_all, sky) = (shared.clone(), weather.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, sky.subscribe(), of_all.clone()));
            }
        });
        Self { port, weather, shared }
    }

    pub fn lead_to(&self, server: &str) {
        self.shared.server.send_replace(server.to_owned());
    }

    pub fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How many connections were reset.
    pub fn resets(&self) -> u64 {
        self.shared.resets.load(Ordering::Relaxed)
    }
}

async fn connection(client: TcpStream, sky: watch::Receiver<Weather>, shared: Arc<Shared>) {
    let mut leads = shared.server.subscribe();
    let address = leads.wait_for(|address| !address.is_empty()).await.unwrap().clone();
    let Ok(server) = TcpStream::connect(&address).await else { return };
    client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).unwrap();
    // Dropped with unsent data, or with a linger of zero, it is a reset.
    client.set_zero_linger().unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_client, to_server, sky.clone(), &shared) => {}
        () = carry(from_server, to_client, sky, &shared) => {}
    }
}

/// One direction, until it ends or is reset.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut sky: watch::Receiver<Weather>, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let Ok(weather) = sky.wait_for(|weather| !weather.black_hole).await.map(|weather| *weather) else { return };
            let number = shared.pieces.fetch_add(1, Ordering::Relaxed) + 1;
            if weather.reset_one_of > 0 && number.is_multiple_of(weather.reset_one_of) {
                shared.resets.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // The same sequence in each run: a fraction by the golden ratio.
            let more = (number as f64 * 0.618_033_988_749_895).fract();
            tokio::time::sleep(weather.latency.mul_f64(1.0 + more)).await;
            let (piece, behind) = rest.split_at(if weather.slice == 0 { rest.len() } else { weather.slice.min(rest.len()) });
            if to.write_all(piece).await.is_err() {
                return;
            }
            rest = behind;
        }
    }
}
