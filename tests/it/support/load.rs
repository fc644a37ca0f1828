//! Events that keep coming while something is broken.

use super::stage::{SOON, Stage};
use rdkafka::producer::Producer;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A thread that sends transactions to a stage at a steady rate until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<i64>>,
}

impl Load {
    pub fn start(stage: &Arc<Stage>, from: i64, a_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stage, stopped) = (stage.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let producer = stage.producer();
            let (started, mut n) = (Instant::now(), from);
            while !stopped.load(Ordering::Relaxed) {
                let due = from + (started.elapsed().as_secs_f64() * f64::from(a_second)) as i64;
                while n < due {
                    stage.send_one(&producer, n);
                    n += 1;
                }
                producer.poll(Duration::from_millis(5));
            }
            producer.flush(SOON).unwrap();
            n
        });
        Self { stop, thread: Some(thread) }
    }

    /// Returns the number of events sent, those before it included, once the broker has them all.
    pub async fn stop(mut self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
