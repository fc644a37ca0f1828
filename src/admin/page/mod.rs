//! The page at `/`: made on the server, whole without scripts, and kept up to date by events that all readers share.
//!
//! `history` remembers ten minutes · `view` gathers a moment · `overview`, `section`, `beside`, `partitions`, `spread` and `points` write it ·
//! `cells` tells what in it may change · `live` looks once a second and sends.

mod beside;
mod cells;
mod history;
mod live;
mod overview;
mod partitions;
mod points;
mod section;
mod spread;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub use live::Live;

use super::api::{ApiError, sent};
use super::forms;
use super::server::AdminState;
use axum::Json;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// What may be loaded: the style in the page, the script and the events of this server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct Page {
    state: AdminState,
    live: Arc<Live>,
}

/// The page's routes. Somebody has to run [`Live::follow`] beside them.
pub fn routes<S: Clone + Send + Sync + 'static>(state: AdminState, live: Arc<Live>) -> Router<S> {
    Router::new()
        .route("/", get(overview))
        .route("/events", get(events))
        .route("/partitions", get(partitions))
        .route("/page.js", get(script))
        .with_state(Page { state, live })
}

/// Values of a name in a query, in their order.
fn named(query: Option<&str>, name: &str) -> Vec<String> {
    let all = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    all.filter(|(of, _)| of == name).map(|(_, value)| value.into_owned()).collect()
}

async fn overview(State(page): State<Page>, RawQuery(query): RawQuery) -> Response {
    let view = page.live.view(&page.state, Instant::now());
    forms::sent_under(POLICY, StatusCode::OK, overview::document(&view, &named(query.as_deref(), "open")))
}

/// A snapshot a second, for as many readers as there may be.
async fn events(State(page): State<Page>) -> Response {
    match page.live.listen() {
        Some(events) => sent(events),
        None => {
            let message = "as many pages as may be are open already; show this one again to see it as it is".to_owned();
            ApiError { status: 503, kind: "overloaded", message, param: None }.into_response()
        }
    }
}

/// The rows of the pipelines that a reader has unfolded, as HTML by name.
async fn partitions(State(page): State<Page>, RawQuery(query): RawQuery) -> Response {
    let (view, wanted) = (page.live.view(&page.state, Instant::now()), named(query.as_deref(), "of"));
    let rows = view.pipelines.iter().filter(|pipeline| wanted.contains(&pipeline.name));
    let rows: BTreeMap<&str, String> = rows.map(|pipeline| (pipeline.name.as_str(), partitions::rows(pipeline))).collect();
    ([(header::CACHE_CONTROL, "no-store")], Json(rows)).into_response()
}

async fn script() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("page.js")).into_response()
}
