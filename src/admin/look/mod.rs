//! Records and dead letters, looked up by people: `/records` and `/dead-letters` as pages that need no script, `/v1/records` and
//! `/v1/dead-letters` as JSON. Both say the same.

mod api;
mod letters;
mod query;
mod records;
#[cfg(test)]
pub(super) mod tests;

pub use api::{
    By, Command, LETTERS, LetterEvent, LetterFound, LettersAsked, LettersCounted, LettersFound, RECORDS, RecordApi, RecordFound,
    RecordsAsked, RecordsFound,
};
pub use query::HANDLINGS;

use super::api::ApiError;
use super::forms::page::{escaped, page};
use super::forms::sent;
use super::server::AdminState;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use query::Given;

fn given(query: Option<String>) -> Given {
    Given::read(query.as_deref().unwrap_or_default())
}

/// `/v1/records`.
pub async fn records(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    Ok(fresh(Json(state.records.records(given(query).records()?).await?)))
}

/// `/v1/dead-letters`.
pub async fn letters(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    Ok(fresh(Json(state.records.dead_letters(given(query).letters()?).await?)))
}

/// Nobody on the way keeps it.
fn fresh(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `/records`: the form, and below it what was found.
pub async fn records_page(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    let given = given(query);
    let pipelines = state.records.pipelines();
    let answered = match given.is_empty() {
        true => None,
        false => Some(match given.records() {
            Ok(asked) => state.records.records(asked).await,
            Err(error) => Err(error),
        }),
    };
    let body = records::body(&given, &pipelines, answered.as_ref());
    shown("Records", &body, answered.and_then(Result::err))
}

/// `/dead-letters`: counts by reason, the form, and the newest.
pub async fn letters_page(State(state): State<AdminState>, RawQuery(query): RawQuery) -> Response {
    let given = given(query);
    let pipelines = state.records.pipelines();
    let answered = match given.letters() {
        Ok(asked) => state.records.dead_letters(asked).await,
        Err(error) => Err(error),
    };
    let body = letters::body(&given, &pipelines, &answered);
    shown("Dead letters", &body, answered.err())
}

fn shown(title: &str, body: &str, wrong: Option<ApiError>) -> Response {
    let status =
        wrong.map_or(StatusCode::OK, |error| StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    sent(status, page(title, body))
}

/// A control with its label and hint.
fn field(name: &str, label: &str, hint: &str, control: &str) -> String {
    format!(
        "<div class=\"field\"><label for=\"{name}\">{label}</label><p class=\"hint\" id=\"{name}-hint\">{hint}</p>{control}</div>"
    )
}

/// An input of text with what was typed in; `wrong` is the name of the one at fault.
fn input(given: &Given, name: &str, label: &str, hint: &str, wrong: &str) -> String {
    let (value, invalid) = (escaped(given.of(name)), if wrong == name { " aria-invalid=\"true\"" } else { "" });
    let control = format!(
        "<input id=\"{name}\" name=\"{name}\" value=\"{value}\" aria-describedby=\"{name}-hint\"{invalid} autocomplete=\"off\" \
         autocapitalize=\"off\" spellcheck=\"false\">"
    );
    field(name, label, hint, &control)
}

/// A choice among words, or all.
fn choice<'a>(given: &Given, name: &str, label: &str, hint: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    let chosen = given.of(name);
    let mut words: Vec<&str> = words.into_iter().collect();
    if !chosen.is_empty() && !words.contains(&chosen) {
        // It stays what was asked for; the answer says that it is not there.
        words.push(chosen);
    }
    let option = |word: &str| {
        let selected = if word == chosen { " selected" } else { "" };
        format!("<option value=\"{0}\"{selected}>{0}</option>", escaped(word))
    };
    let options: String = words.into_iter().map(option).collect();
    let control = format!(
        "<select id=\"{name}\" name=\"{name}\" aria-describedby=\"{name}-hint\"><option value=\"\">all</option>{options}</select>"
    );
    field(name, label, hint, &control)
}

/// Time and number, which both forms have.
fn narrowing(given: &Given, wrong: &str, (usual, most): (usize, usize)) -> String {
    let hint = "A date or a time of UTC, such as 2026-01-31 or 2026-01-31T12:00:00Z.";
    input(given, "since", "Decided since", hint, wrong)
        + &input(given, "until", "Decided before", hint, wrong)
        + &input(given, "limit", "At most", &format!("1 to {most}; {usual} if it is empty."), wrong)
}

/// An error as a page has it.
fn alert(error: &ApiError) -> String {
    format!("<p role=\"alert\" class=\"wrong\">{}</p>", escaped(&error.message))
}

fn notes(notes: &[String]) -> String {
    notes.iter().map(|note| format!("<p>{}</p>", escaped(note))).collect()
}

/// Lines for a shell.
fn commands(commands: &[Command]) -> String {
    let one = |command: &Command| {
        let (name, about, line) = (escaped(command.name), escaped(command.about), escaped(&command.line));
        format!("<p><strong>{name}</strong>: {about}</p><pre tabindex=\"0\">{line}</pre>")
    };
    commands.iter().map(one).collect()
}

/// The query of a path out of names and values.
fn query_of<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
