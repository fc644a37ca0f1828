//! A login that Postgres refuses to a worker which has connected before. Where it stands in a file that somebody may rewrite it is waited for without an end;
//! a worker that will never see another one ends, so that whoever runs it starts it again with the new one.

use crate::store::StoreError;
use crate::store::postgres::PostgresStore;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is asked.
const PERIOD: Duration = Duration::from_secs(10);
/// How long a refused login may be a mistake that is mended on the server: a password set in the wrong order, a role without LOGIN.
const MENDED_WITHIN: Duration = Duration::from_secs(5 * 60);

/// Why the worker ended, if it was this.
pub type Cause = Arc<OnceLock<String>>;

/// Drains the worker when its login has been refused for so long, and notes why.
pub async fn follow(store: Arc<PostgresStore>, cause: Cause, drain: CancellationToken, closing: CancellationToken) {
    let ask = || {
        let store = store.clone();
        async move { store.refused_login().await }
    };
    tokio::select! {
        why = refused(ask) => {
            tracing::error!(why, "The login cannot become right while this worker runs: it ends, to be started again with the new one.");
            cause.get_or_init(|| why);
            drain.cancel();
        }
        () = drain.cancelled() => {}
        () = closing.cancelled() => {}
    }
}

/// Comes back with the reason once the login has been refused so long that nobody will mend it. A server that is away says neither.
async fn refused<F: Future<Output = Result<Option<String>, StoreError>>>(mut ask: impl FnMut() -> F) -> String {
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(PERIOD).await;
        match ask().await {
            Ok(None) => since = None,
            Ok(Some(why)) => {
                if since.get_or_insert_with(Instant::now).elapsed() >= MENDED_WITHIN {
                    return why;
                }
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Would catch: a worker that waits for ever for a login which it will never see; one that ends in a rotation, in an outage, or for two mistakes with a
    /// good hour between them.
    #[tokio::test(start_paused = true)]
    async fn a_login_is_given_up_when_it_was_refused_all_the_time() {
        #[derive(Clone, Copy)]
        enum Login {
            Right,
            Refused,
            Away,
        }
        let login = Arc::new(Mutex::new(Login::Right));
        let ask = {
            let login = login.clone();
            move || {
                std::future::ready(match *login.lock().unwrap() {
                    Login::Right => Ok(None),
                    Login::Refused => Ok(Some("no".to_owned())),
                    Login::Away => Err(StoreError::Transient("away".into())),
                })
            }
        };
        let waiting = tokio::spawn(refused(ask));
        let stands = async |next: Login, time: Duration| {
            *login.lock().unwrap() = next;
            tokio::time::sleep(time).await;
            assert!(!waiting.is_finished());
        };
        for _ in 0..3 {
            stands(Login::Refused, MENDED_WITHIN - PERIOD).await;
            stands(Login::Right, PERIOD * 2).await;
        }
        stands(Login::Away, MENDED_WITHIN * 9).await;
        stands(Login::Refused, MENDED_WITHIN / 2).await;
        stands(Login::Away, MENDED_WITHIN).await;
        *login.lock().unwrap() = Login::Refused;
        assert_eq!(waiting.await.unwrap(), "no");
    }
}
