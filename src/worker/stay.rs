//! A worker that was told to stop goes on answering for a while: who has not heard of it yet still finds it.

use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Runs from the moment at which the worker is told to stop, whatever the pipelines do meanwhile.
#[derive(Debug)]
pub struct Stay(JoinHandle<()>);

impl Stay {
    pub fn after(drain: CancellationToken, length: Duration) -> Self {
        Self(tokio::spawn(async move {
            drain.cancelled().await;
            tokio::time::sleep(length).await;
        }))
    }

    /// Waits for what is left of it; a second signal ends it.
    pub async fn over(mut self, abort: &CancellationToken) {
        tokio::select! {
            _ = &mut self.0 => {}
            () = abort.cancelled() => {}
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const LENGTH: Duration = Duration::from_secs(5);

    /// Would catch: a stay that begins when the pipelines have ended, and so makes every drain longer.
    #[tokio::test(start_paused = true)]
    async fn it_is_counted_from_the_signal() {
        for (drained_after, wanted) in [(0, 5), (2, 5), (8, 8)] {
            let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
            let stay = Stay::after(drain.clone(), LENGTH);
            tokio::time::sleep(Duration::from_secs(60)).await;
            let began = Instant::now();
            drain.cancel();
            tokio::time::sleep(Duration::from_secs(drained_after)).await;
            stay.over(&abort).await;
            assert_eq!(began.elapsed().as_secs(), wanted, "pipelines that took {drained_after} s");
        }
    }

    /// Would catch: a second signal that is waited out.
    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_it() {
        let (drain, abort) = (CancellationToken::new(), CancellationToken::new());
        let stay = Stay::after(drain.clone(), LENGTH);
        let began = Instant::now();
        drain.cancel();
        abort.cancel();
        stay.over(&abort).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
