//! Secrets that come from files are read again on SIGHUP, and now and then: a rotation needs no restart. Of Kafka's password that does not
//! hold: its clients take one when they are made.

use super::look::Records;
use crate::admin::AdminToken;
use crate::config::{SecretFiles, unfit_token};
use crate::store::postgres::{PostgresSettings, PostgresStore, ShadowStore};
use secrecy::{ExposeSecret, SecretString};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// Whose secrets they are.
pub struct Secrets {
    pub files: SecretFiles,
    pub store: Arc<PostgresStore>,
    pub records: Arc<Records>,
    pub shadows: Arc<ShadowStore>,
    pub settings: PostgresSettings,
    pub token: Arc<AdminToken>,
}

/// A file, and what stood in it when it was last taken over.
struct Watched {
    path: PathBuf,
    last: SecretString,
}

impl Watched {
    fn of(file: Option<(PathBuf, SecretString)>) -> Option<Self> {
        file.map(|(path, last)| Self { path, last })
    }

    /// What stands in it now, if that is new. A file that cannot be read, or is empty while it is being written, changes nothing.
    async fn news(&mut self) -> Option<SecretString> {
        let text = match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => SecretString::from(text.trim()),
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "A secret cannot be read again; the old one stays.");
                return None;
            }
        };
        let now = text.expose_secret();
        if now.is_empty() || now == self.last.expose_secret() {
            return None;
        }
        self.last = text.clone();
        Some(text)
    }
}

impl Secrets {
    /// Until the worker closes. `hangup` is SIGHUP.
    pub async fn follow(self, mut hangup: Signal, closing: CancellationToken) {
        let Self { files, store, records, shadows, settings, token } = self;
        let [mut url, mut admin, mut kafka] = [files.url, files.token, files.password].map(Watched::of);
        loop {
            tokio::select! {
                () = closing.cancelled() => return,
                _ = hangup.recv() => tracing::info!("A signal to read secrets again."),
                () = tokio::time::sleep(PERIOD) => {}
            }
            if let Some(url) = news(&mut url).await {
                let renewed = store.renew(url.expose_secret(), &settings);
                let renewed = renewed.and_then(|()| shadows.renew(url.expose_secret()));
                match renewed.and_then(|()| records.renew(url.expose_secret())) {
                    Ok(()) => tracing::info!("The URL of the database was read again; new connections use it."),
                    Err(error) => {
                        tracing::warn!(%error, "The URL of the database was read again and is not used; the old one stays.")
                    }
                }
            }
            if let Some(new) = news(&mut admin).await {
                match unfit_token(&new) {
                    None => {
                        if token.replace(new.expose_secret()) {
                            tracing::info!("The admin token was read again and is asked for from now on.");
                        }
                    }
                    Some(wrong) => {
                        tracing::warn!("The admin token was read again and is not used: it {wrong}; the old one stays.")
                    }
                }
            }
            if news(&mut kafka).await.is_some() {
                tracing::warn!("The password of Kafka has changed; this worker keeps the old one until it is started again.");
            }
        }
    }
}

async fn news(file: &mut Option<Watched>) -> Option<SecretString> {
    match file {
        Some(file) => file.news().await,
        None => None,
    }
}
