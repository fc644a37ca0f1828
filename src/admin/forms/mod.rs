//! A form for each function, for the browser: made here, without scripts and without anything from elsewhere. Nothing that is typed in is
//! stored or logged.

mod answer;
mod controls;
pub(in crate::admin) mod page;
#[cfg(test)]
mod tests;

use super::api::{ApiError, Asked, FunctionDoc, Shape};
use super::body::Body;
use super::server::{AdminState, documented};
use super::version;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use controls::{Controls, Given};
use page::{escaped, page};
use serde_json::{Value, json};
use std::sync::Arc;

/// The list.
pub async fn index(State(state): State<AdminState>) -> Response {
    let mut body = "<h1>Functions</h1>".to_owned();
    let all = documented(&state).await;
    if all.is_empty() {
        body += "<p>None is loaded yet.</p>";
    }
    body += "<ul class=\"list\">";
    for function in all {
        let (name, task) = (escaped(&function.pipeline), escaped(&function.function));
        let model = if function.model.is_empty() { String::new() } else { format!(", model {}", escaped(&function.model)) };
        body += &format!("<li><a href=\"/functions/{}\">{name}</a><br>{task}{model}</li>", encoded(&function.pipeline));
    }
    body += "</ul><p>The same over HTTP: <a href=\"/openapi.json\">openapi.json</a>.</p>";
    sent(StatusCode::OK, page("Functions", &body))
}

/// The form with the function's example in it.
pub async fn show(State(state): State<AdminState>, Path(name): Path<String>, path: Uri) -> Response {
    let Some(function) = find(&state, &name).await else { return unknown(&name) };
    let controls = Controls::new(&function);
    // What is wrong with it is said of the call.
    let version = version::named(&path).unwrap_or_default();
    let form = form(&function, &controls, &controls.example(&function.example), (version.as_deref(), None));
    sent(StatusCode::OK, page(&function.pipeline, &form))
}

/// The form as it was sent, and the answer.
pub async fn answer(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    path: Uri,
    head: HeaderMap,
    Body(typed): Body,
) -> Response {
    let Some(function) = find(&state, &name).await else { return unknown(&name) };
    let controls = Controls::new(&function);
    // The body keeps its place until the page is made: what was typed in stands in it.
    let given = typed.as_ref().map(|body| Given::read(&body.bytes)).map_err(Clone::clone);
    let version = version::named(&path);
    let asked = given.as_ref().map_err(Clone::clone).and_then(|given| controls.request(given));
    let answered = match (&asked, &version) {
        (Ok(request), Ok(version)) => {
            let asked = Asked { name: &function.pipeline, version: version.as_deref() };
            state.functions.answer(asked, request.clone(), Shape::Whole).await
        }
        (Err(error), _) | (_, Err(error)) => Err(error.clone()),
    };
    let version = version.unwrap_or_default();
    let given = given.unwrap_or_default();
    let (status, wrong) = match &answered {
        Ok(_) => (StatusCode::OK, None),
        Err(error) => (StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Some(error)),
    };
    let mut body = form(&function, &controls, &given, (version.as_deref(), wrong));
    body += "<section id=\"answer\" aria-labelledby=\"answer-title\"><h2 id=\"answer-title\">Answer</h2>";
    match &answered {
        Ok(whole) => {
            if function.versions.len() > 1 {
                body += &format!("<p>By version <code>{}</code>.</p>", escaped(&whole.by.version));
            }
            body += &answer::told(&whole.answer.body);
        }
        Err(error) => body += &format!("<p role=\"alert\" class=\"wrong\">{}</p>", escaped(&error.message)),
    }
    if let Ok(request) = &asked {
        body += &answer::command(&(encoded(&function.pipeline) + &query(version.as_deref())), request, &head);
    }
    sent(status, page(&function.pipeline, &(body + "</section>")))
}

async fn find(state: &AdminState, name: &str) -> Option<Arc<FunctionDoc>> {
    documented(state).await.into_iter().find(|function| function.pipeline == name)
}

/// The query that names a version.
fn query(version: Option<&str>) -> String {
    version.map_or_else(String::new, |name| format!("?version={}", encoded(name)))
}

/// Links to the form of each version, where there are several.
fn versions(function: &FunctionDoc, chosen: Option<&str>) -> String {
    if function.versions.len() < 2 {
        return String::new();
    }
    let path = encoded(&function.pipeline);
    let link = |version: Option<&str>| {
        let (query, is_chosen) = (query(version), if version == chosen { " aria-current=\"page\"" } else { "" });
        let name = version.map_or_else(|| "the one in force".to_owned(), escaped);
        format!("<a href=\"/functions/{path}{query}\"{is_chosen}>{name}</a>")
    };
    let all = std::iter::once(None).chain(function.versions.iter().map(|name| Some(name.as_str())));
    format!("<p>Version: {}</p>", all.map(link).collect::<Vec<_>>().join(", "))
}

/// `wrong` is what is wrong with what was asked.
fn form(
    function: &FunctionDoc,
    controls: &Controls,
    given: &Given,
    (version, wrong): (Option<&str>, Option<&ApiError>),
) -> String {
    let (name, path) = (escaped(&function.pipeline), encoded(&function.pipeline) + &query(version));
    let versions = versions(function, version);
    let model =
        if function.model.is_empty() { String::new() } else { format!(", model <code>{}</code>", escaped(&function.model)) };
    let wrong = wrong.and_then(|error| error.param.as_deref()).unwrap_or_default();
    format!(
        "<h1>{name}</h1><p>{}{model}</p>{versions}<form method=\"post\" action=\"/functions/{path}#answer\" accept-charset=\"utf-8\">{}\
         <p><button type=\"submit\">Call</button></p></form>",
        escaped(&function.function),
        controls.html(given, wrong)
    )
}

fn unknown(name: &str) -> Response {
    let body = format!(
        "<h1>Not found</h1><p role=\"alert\">There is no function <code>{}</code> here, or it is being loaded. \
         <a href=\"/functions\">All functions</a></p>",
        escaped(name)
    );
    sent(StatusCode::NOT_FOUND, page("Not found", &body))
}

/// A name as part of a path.
pub(in crate::admin) fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A page that may load nothing, run nothing, and be framed by nobody.
pub(in crate::admin) fn sent(status: StatusCode, html: String) -> Response {
    sent_under(POLICY, status, html)
}

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page under a policy of what it may load.
pub(in crate::admin) fn sent_under(policy: &'static str, status: StatusCode, html: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    let mut response = (status, headers, html).into_response();
    if status == StatusCode::REQUEST_TIMEOUT {
        // What is still to come is not waited for.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request's body of these inputs and parameters.
fn request(inputs: Value, parameters: Value) -> Value {
    match parameters.as_object().is_some_and(|all| all.is_empty()) {
        true => json!({ "inputs": inputs }),
        false => json!({ "inputs": inputs, "parameters": parameters }),
    }
}
