//! Requests to a hub: tries again what may pass, follows redirects, and shows the token to the hub alone.

use super::HubError;
use reqwest::Method;
use reqwest::blocking::{Client, Response};
use reqwest::header::{AUTHORIZATION, LOCATION, RANGE, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;
use url::Url;

const HUGGING_FACE: &str = "https://huggingface.co";
/// Redirects of one request at most.
const REDIRECTS: usize = 5;
/// The longest that a hub's own `Retry-After` is followed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A hub, and how patient one is with it.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(super) endpoint: String,
    pub(super) token: Option<SecretString>,
    /// How often a request is made at most.
    pub tries: usize,
    /// The wait before the second try; it doubles with each.
    pub pause: Duration,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new(None, None)
    }
}

impl Hub {
    /// `endpoint` is as `HF_ENDPOINT` has it.
    pub fn new(endpoint: Option<&str>, token: Option<String>) -> Self {
        let endpoint = endpoint.unwrap_or(HUGGING_FACE).trim_end_matches('/').to_owned();
        Self { endpoint, token: token.map(Into::into), tries: 5, pause: Duration::from_millis(500) }
    }

    /// Its address, without a login that it may hold.
    pub fn endpoint(&self) -> String {
        match Url::parse(&self.endpoint) {
            Ok(url) => url.origin().ascii_serialization(),
            Err(_) => self.endpoint.clone(),
        }
    }

    /// The address of a path, each part of it encoded.
    pub(super) fn url(&self, parts: &[&str]) -> Result<Url, HubError> {
        let cause = |cause: &str| HubError::Connection { hub: self.endpoint(), cause: cause.to_owned() };
        let mut url = Url::parse(&self.endpoint).map_err(|error| cause(&format!("its address is none: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(cause("its address must begin with https:// or http://"));
        }
        url.path_segments_mut().map_err(|()| cause("its address has no path"))?.pop_if_empty().extend(parts);
        Ok(url)
    }

    /// A client for one download. It is to be made and used on a thread without a runtime.
    pub(super) fn client(&self) -> Result<Client, HubError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // A second thread that installs the same one at the same time does no harm.
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let mut builder = Client::builder()
            .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(60));
        let url = Url::parse(&self.endpoint).ok();
        if url.as_ref().is_some_and(|url| url.scheme() == "http") {
            // Without https the system's authorities need not be there.
            builder = builder.tls_certs_only([]);
        }
        if url.as_ref().and_then(Url::host_str).is_some_and(|host| host == "localhost" || host == "127.0.0.1") {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|cause| self.lost(&cause))
    }

    pub(super) fn lost(&self, cause: &dyn std::error::Error) -> HubError {
        let mut deepest = cause;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        // The address in a message of the client may hold what signs it.
        HubError::Connection { hub: self.endpoint(), cause: deepest.to_string() }
    }

    /// Waits before the next try.
    pub(super) fn wait(&self, tried: usize) {
        std::thread::sleep(self.pause.saturating_mul(1 << tried.min(6)));
    }

    /// The answer to one request, which is no redirect of the hub to itself. `from` is the first byte that is wanted.
    pub(super) fn ask(&self, client: &Client, method: &Method, url: &Url, from: u64) -> Result<Answer, HubError> {
        let mut tried = 0;
        loop {
            let answer = self.follow(client, method, url, from);
            tried += 1;
            let wait = match &answer {
                Err(HubError::Connection { .. }) => None,
                Ok(answer) if matches!(answer.response.status().as_u16(), 429 | 500 | 502 | 503 | 504) => {
                    let named = answer.response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                    named.map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT))
                }
                _ => return answer,
            };
            if tried >= self.tries {
                return match answer {
                    Ok(answer) if answer.response.status() == 429 => Err(HubError::Busy { hub: self.endpoint(), tries: tried }),
                    other => other,
                };
            }
            match wait {
                Some(wait) => std::thread::sleep(wait),
                None => self.wait(tried - 1),
            }
        }
    }

    /// Follows redirects: of the hub to itself always, elsewhere only to get the content.
    fn follow(&self, client: &Client, method: &Method, url: &Url, from: u64) -> Result<Answer, HubError> {
        let (mut url, own) = (url.clone(), url.origin());
        let mut about = About::default();
        for _ in 0..REDIRECTS {
            let mut request = client.request(method.clone(), url.clone());
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| url.origin() == own) {
                request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
            }
            let response = request.send().map_err(|cause| self.lost(&cause))?;
            if url.origin() == own {
                about.learn(&response);
            }
            let next = response.headers().get(LOCATION).and_then(|place| url.join(place.to_str().ok()?).ok());
            match next.filter(|_| response.status().is_redirection()) {
                // The headers of the hub itself tell of the file; what lies elsewhere is only asked for its content.
                Some(next) if next.origin() == own || *method == Method::GET => url = next,
                _ => return Ok(Answer { response, about }),
            }
        }
        Err(HubError::NotAHub { hub: self.endpoint(), what: format!("more than {REDIRECTS} redirects") })
    }
}

/// What the hub says of a file, on the way to it.
#[derive(Debug, Clone, Default)]
pub struct About {
    pub commit: Option<String>,
    /// Of files in large storage their sha256, else the name of their git object.
    pub etag: Option<String>,
    pub size: Option<u64>,
}

impl About {
    fn learn(&mut self, response: &Response) {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let last = !response.status().is_redirection();
        let own = |name: &str| header(name).filter(|_| last);
        let tag = |tag: String| tag.trim_start_matches("W/").trim_matches('"').to_owned();
        self.commit = self.commit.take().or_else(|| header("x-repo-commit"));
        self.etag = self.etag.take().or_else(|| header("x-linked-etag").or_else(|| own("etag")).map(tag));
        let size = || header("x-linked-size").or_else(|| own("content-length"));
        self.size = self.size.or_else(|| size()?.parse().ok());
    }
}

/// An answer, and what the hub itself said on the way to it.
pub struct Answer {
    pub response: Response,
    pub about: About,
}
