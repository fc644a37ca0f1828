//! Pages of others in a browser that reaches this worker.
//!
//! Such a page can send what needs no permission, a POST of plain text for one: that is refused where the browser says that it comes from
//! another site. And it can make its own name lead to the reader's machine, after which the browser takes this worker for the page's own
//! and lets it read everything: a worker that listens on its own machine alone answers to no name that others can have, but for those that
//! the config gives it. Behind any other listener names are free until the config has some, since load balancers, services and probes have theirs.

use super::api::ApiError;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;

/// Which names a request may be for.
#[derive(Debug, Clone)]
pub struct Names {
    /// Whether the listener can be reached from this machine alone.
    pub alone: bool,
    /// `hosts` of `[admin]`.
    pub given: Arc<[String]>,
}

impl Names {
    fn has(&self, asked: &str) -> bool {
        let Ok(authority) = asked.parse::<Authority>() else { return false };
        let host = authority.host().trim_end_matches('.');
        is_of_here(host) || self.given.iter().any(|given| given.trim_end_matches('.').eq_ignore_ascii_case(host))
    }

    fn are_free(&self) -> bool {
        !self.alone && self.given.is_empty()
    }
}

pub async fn refuse(State(names): State<Names>, request: Request, next: Next) -> Response {
    let asked = asked(request.uri(), request.headers());
    let message = if !names.are_free() && asked.as_deref().is_some_and(|host| !names.has(host)) {
        "this worker answers to no name that may be another's: ask it by its address or as localhost, or write the name of the proxy before it into \
         `hosts` under [admin]"
    } else if !is_safe(request.method()) && is_foreign(request.headers(), asked.as_deref()) {
        "a page of another site has sent this, and the browser says so; send it from elsewhere, or let a proxy that answers for several sites take \
         away `Origin` and `Sec-Fetch-Site`"
    } else {
        return next.run(request).await;
    };
    ApiError { status: 403, kind: "forbidden", message: message.to_owned(), param: None }.into_response()
}

/// Host and port that the request is for.
fn asked(path: &Uri, head: &HeaderMap) -> Option<String> {
    let of_head = || head.get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    path.authority().map(|authority| authority.as_str().to_owned()).or_else(of_head)
}

/// An address, a name of this network, or none that has a dot: nobody else can have those.
fn is_of_here(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok() || !host.contains('.') || [".localhost", ".local", ".internal"].iter().any(|end| host.ends_with(end))
}

fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// As the browser says it; older ones, and all that came without TLS, tell the origin alone. Other clients say neither.
fn is_foreign(head: &HeaderMap, asked: Option<&str>) -> bool {
    if let Some(site) = head.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = head.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, origin)| origin);
    // A page cannot set this one for another site without being allowed to.
    let forwarded = head.get("x-forwarded-host").and_then(|host| host.to_str().ok());
    let is = |host: Option<&str>| origin.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
    !is(asked) && !is(forwarded)
}

#[cfg(test)]
mod tests {
    use super::{Names, refuse};
    use crate::admin::server::tests::{ask, started};
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    /// Would catch: a page of another site that calls functions, one that reads by a name of its own, a browser's own page or any other client that
    /// is kept out.
    #[tokio::test]
    async fn pages_of_others_neither_send_nor_read() {
        let (_, address, stop) = started(100).await;
        let post = async |head: &str| ask(address, "POST", "/v1/functions/echo", head, "[1]").await;
        for head in [
            "host: x\r\nsec-fetch-site: cross-site\r\ncontent-type: text/plain\r\n",
            "host: x\r\nsec-fetch-site: same-site\r\norigin: http://x\r\n",
            "host: localhost:9464\r\norigin: http://localhost:3000\r\n",
            "host: x\r\norigin: null\r\n",
            "host: x\r\norigin: https://evil.example\r\n",
        ] {
            let refused = post(head).await;
            assert!(refused.contains(" 403 ") && refused.contains("another site"), "{head}: {refused}");
        }
        for head in [
            "host: x\r\n",
            "host: x\r\nsec-fetch-site: same-origin\r\norigin: https://millrace.example\r\n",
            "host: x\r\nsec-fetch-site: none\r\n",
            "host: LOCALHOST:9464\r\norigin: http://localhost:9464\r\n",
            "host: 127.0.0.1:9464\r\nx-forwarded-host: millrace.example\r\norigin: http://millrace.example\r\n",
        ] {
            assert!(post(head).await.contains(" 200 "), "{head}");
        }
        let get = async |head: &str| ask(address, "GET", "/status", head, "").await;
        for host in
            ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example.", "a b"]
        {
            let refused = get(&format!("host: {host}\r\n")).await;
            assert!(refused.contains(" 403 ") && refused.contains("localhost"), "{host}: {refused}");
        }
        for host in ["localhost:9464", "127.0.0.1", "[::1]:9464", "worker-1", "a.localhost", "scores.prod.svc.cluster.local"] {
            // A link that leads here from another site is no harm.
            assert!(get(&format!("host: {host}\r\nsec-fetch-site: cross-site\r\n")).await.contains(" 200 "), "{host}");
        }
        stop.cancel();
    }

    /// Would catch: a listener that others reach, and that refuses the names of its services; a name that the config gives and that is refused, or does
    /// not keep others out.
    #[tokio::test]
    async fn names_are_free_where_others_reach_the_listener_and_the_config_has_none() {
        for (alone, given, status) in [
            (true, None, 403),
            (false, None, 200),
            (true, Some("Scores.example"), 200),
            (false, Some("scores.example"), 200),
            (true, Some("example"), 403),
            (false, Some("other.example"), 403),
            // A name that ends in a dot is the same one, written in full.
            (true, Some("scores.example."), 200),
        ] {
            let names = Names { alone, given: given.map(str::to_owned).into_iter().collect() };
            let guard = axum::middleware::from_fn_with_state(names, refuse);
            let router = TowerToHyperService::new(Router::new().route("/", get("all")).layer(guard));
            let request = Request::builder().uri("/").header("host", "scores.example:443").body(Body::empty()).unwrap();
            assert_eq!(router.call(request).await.unwrap().status(), status);
        }
    }
}
