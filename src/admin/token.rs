//! The token of requests that change something. Its digest is kept, and not the token.

use super::api::ApiError;
use super::server::Served;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many wrong tokens within so long; for the rest of that time further ones are told to stop. The right one is always taken: it is too long to
/// be guessed, and whoever sends wrong ones must not keep others out.
const MOST_WRONG: usize = 10;
const WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct State {
    digest: Option<[u8; 32]>,
    /// When wrong tokens came, the oldest first.
    wrong: VecDeque<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct AdminToken(Mutex<State>);

/// Why a request may not change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// None is configured.
    NoToken,
    /// The request brings none.
    Missing,
    Wrong,
    /// Wrong, as too many before it; again after so long.
    TooMany(Duration),
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Takes the same time wherever two digests differ.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let differ = one.iter().zip(other).fold(0, |differ, (one, other)| std::hint::black_box(differ | (one ^ other)));
    differ == 0
}

impl AdminToken {
    pub fn new(token: Option<&str>) -> Self {
        Self(Mutex::new(State { digest: token.map(digest), wrong: VecDeque::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this one is asked for; says whether it is another.
    pub fn replace(&self, token: &str) -> bool {
        let new = Some(digest(token));
        std::mem::replace(&mut self.state().digest, new) != new
    }

    pub fn check(&self, given: Option<&str>, now: Instant) -> Result<(), Refused> {
        let mut state = self.state();
        let wanted = state.digest.ok_or(Refused::NoToken)?;
        let given = given.ok_or(Refused::Missing)?;
        if same(&digest(given), &wanted) {
            return Ok(());
        }
        while state.wrong.front().is_some_and(|at| now.saturating_duration_since(*at) >= WITHIN) {
            state.wrong.pop_front();
        }
        if let Some(oldest) = state.wrong.front().filter(|_| state.wrong.len() >= MOST_WRONG) {
            return Err(Refused::TooMany(WITHIN - now.saturating_duration_since(*oldest)));
        }
        state.wrong.push_back(now);
        if state.wrong.len() == MOST_WRONG {
            tracing::warn!(
                wrong = MOST_WRONG,
                "Wrong admin tokens came over HTTP within a minute; somebody guesses, or has an old one."
            );
        }
        Err(Refused::Wrong)
    }
}

/// A request that has shown the token. Asked for before the body is read.
#[derive(Debug, Clone, Copy)]
pub struct Operator;

impl FromRequestParts<Served> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, served: &Served) -> Result<Self, Response> {
        let told = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = told.and_then(|told| told.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        served.admin.token.check(given.map(|(_, token)| token.trim()), Instant::now()).map_err(answer)?;
        parts.extensions.insert(Self);
        Ok(Self)
    }
}

fn answer(refused: Refused) -> Response {
    let error = |status, kind, message: &str| ApiError { status, kind, message: message.to_owned(), param: None }.into_response();
    let mut response = match refused {
        Refused::NoToken => error(
            403,
            "forbidden",
            "this worker has no admin token, so nothing can be changed over HTTP: set `token_file` under [admin] (or MILLRACE_ADMIN__TOKEN) and \
             start again, or use `millrace pause`, `millrace resume` and `millrace swap`",
        ),
        Refused::Missing => {
            error(401, "unauthorized", "this changes something: send the admin token as `Authorization: Bearer TOKEN`")
        }
        Refused::Wrong => error(401, "unauthorized", "this is not the admin token"),
        Refused::TooMany(_) => error(
            429,
            "too_many_attempts",
            "this is not the admin token, and too many wrong ones came within a minute; ask again later",
        ),
    };
    let head = response.headers_mut();
    match refused {
        Refused::Missing => {
            head.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"millrace\""));
        }
        Refused::Wrong => {
            let told = HeaderValue::from_static("Bearer realm=\"millrace\", error=\"invalid_token\"");
            head.insert(header::WWW_AUTHENTICATE, told);
        }
        Refused::TooMany(wait) => {
            head.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        Refused::NoToken => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    /// Would catch: a worker without a token that takes any, a beginning that is taken for the whole, a token that a debug line shows.
    #[test]
    fn only_the_whole_token_is_taken() {
        let now = Instant::now();
        assert_eq!(AdminToken::new(None).check(Some(""), now), Err(Refused::NoToken));
        let token = AdminToken::new(Some(TOKEN));
        assert_eq!(token.check(None, now), Err(Refused::Missing));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF"] {
            assert_eq!(token.check(Some(wrong), now), Err(Refused::Wrong), "{wrong}");
        }
        assert_eq!(token.check(Some(TOKEN), now), Ok(()));
        assert!(!format!("{token:?}").contains(TOKEN));
        assert!(!token.replace(TOKEN) && token.replace("another-token-of-some-length"));
        assert_eq!(token.check(Some(TOKEN), now), Err(Refused::Wrong));
        assert_eq!(token.check(Some("another-token-of-some-length"), now), Ok(()));
    }

    /// Would catch: guessing without a limit, one that never passes, guesses that lock out who has the token.
    #[test]
    fn guesses_are_limited_and_the_limit_passes() {
        let (token, start) = (AdminToken::new(Some(TOKEN)), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..100 {
            assert_eq!(token.check(None, start), Err(Refused::Missing));
        }
        for second in 0..10 {
            assert_eq!(token.check(Some("guess"), later(second)), Err(Refused::Wrong));
        }
        assert_eq!(token.check(Some("guess"), later(20)), Err(Refused::TooMany(Duration::from_secs(40))));
        assert_eq!(token.check(Some(TOKEN), later(20)), Ok(()), "the right one is taken meanwhile");
        assert_eq!(token.check(Some("guess"), later(21)), Err(Refused::TooMany(Duration::from_secs(39))));
        assert_eq!(token.check(Some("guess"), later(60)), Err(Refused::Wrong));
    }
}
