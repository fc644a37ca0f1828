//! The pages and the JSON over a socket, on a twin of what the worker finds.

use super::*;
use crate::admin::server::tests::{ask, started};
use futures_util::future::{BoxFuture, ready};
use serde_json::{Value, json};

/// Markup, quotes and a line of a shell in everything that comes from elsewhere.
const ODD: &str = "<script>alert('x')</script>\"&";

/// Answers with what it is asked, or with the error that the pipeline names.
pub struct Twin;

fn error(pipeline: Option<&str>) -> Option<ApiError> {
    let (status, kind) = match pipeline? {
        "away" => (503, "unavailable"),
        "nobody" => (404, "not_found"),
        "full" => (429, "overloaded"),
        _ => return None,
    };
    Some(ApiError { status, kind, message: format!("it is {ODD}"), param: Some("pipeline".to_owned()) })
}

impl RecordApi for Twin {
    fn pipelines(&self) -> Vec<String> {
        vec!["one".to_owned(), ODD.to_owned()]
    }

    fn records(&self, asked: RecordsAsked) -> BoxFuture<'_, Result<RecordsFound, ApiError>> {
        let (By::Id(text) | By::Event(text) | By::Key(text) | By::Any(text)) = asked.by;
        let record = RecordFound {
            id: text,
            kind: "dead_letter".to_owned(),
            key: (asked.pipeline.as_deref() == Some("shown")).then(|| ODD.into()),
            value: json!({ "field": ODD }),
            hidden_fields: 2,
            label: Some(ODD.to_owned()),
            score: Some(0.25),
            handling: Some("open".to_owned()),
            commands: vec![Command { name: "explain", about: "It explains.", line: format!("millrace explain {ODD}") }],
            ..RecordFound::default()
        };
        let notes = vec![format!("limit {} since {:?} {ODD}", asked.limit, asked.since)];
        let found = RecordsFound { records: vec![record], complete: true, notes, payloads_shown: false };
        Box::pin(ready(error(asked.pipeline.as_deref()).map_or(Ok(found), Err)))
    }

    fn dead_letters(&self, asked: LettersAsked) -> BoxFuture<'_, Result<LettersFound, ApiError>> {
        let counted = LettersCounted {
            pipeline: "one".to_owned(),
            reason: ODD.to_owned(),
            open: 3,
            command: Some(Command { name: "redrive", about: "All.", line: format!("millrace redrive {ODD}") }),
            ..LettersCounted::default()
        };
        let shown = LetterEvent { key: Value::Null, payload: ODD.into(), cut: true };
        let letter = LetterFound {
            id: format!("one/1/t/0/{}/0", asked.limit),
            reason: asked.reason.clone().unwrap_or_default(),
            field: Some(ODD.to_owned()),
            handling: asked.handling.clone().unwrap_or_default(),
            event: (asked.pipeline.as_deref() == Some("shown")).then_some(shown),
            ..LetterFound::default()
        };
        let found =
            LettersFound { counts: vec![counted], letters: vec![letter], notes: vec![ODD.to_owned()], ..LettersFound::default() };
        Box::pin(ready(error(asked.pipeline.as_deref()).map_or(Ok(found), Err)))
    }
}

const HOST: &str = "host: x\r\n";

fn json_of(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// Would catch: markup that a browser obeys, a page that loads or runs something, a control without a label, a form that forgets.
#[tokio::test]
async fn pages_show_text_and_no_markup_of_others() {
    let (_, address, _stop) = started(1_000).await;
    let odd: String = url::form_urlencoded::byte_serialize(ODD.as_bytes()).collect();
    let empty = ask(address, "GET", "/records", HOST, "").await;
    assert!(empty.contains(" 200 ") && empty.contains("<label for=\"event\">") && !empty.contains("id=\"found\""), "{empty}");
    for path in [
        format!("/records?key={odd}&pipeline={odd}&since={odd}"),
        format!("/records?id={odd}&pipeline=shown"),
        format!("/records?id={odd}&pipeline=away"),
        format!("/records?id={odd}&{odd}=1"),
        format!("/dead-letters?reason={odd}&pipeline={odd}"),
        format!("/dead-letters?pipeline=shown&until={odd}"),
        format!("/dead-letters?handling={odd}"),
        "/records?id=%00%ff%27%25".to_owned(),
    ] {
        let page = ask(address, "GET", &path, HOST, "").await;
        assert!(!page.contains("<script") && !page.contains("'x'"), "{path}: {page}");
        for needed in ["content-security-policy: default-src 'none'", "cache-control: no-store", "referrer-policy: no-referrer"] {
            assert!(page.contains(needed), "{path} lacks {needed}: {page}");
        }
        assert!(!page.contains("http://") && !page.contains("https://"), "{path}: {page}");
    }
    let page = ask(address, "GET", &format!("/records?key={odd}&limit=7"), HOST, "").await;
    let shown = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;";
    assert!(page.contains(&format!("name=\"key\" value=\"{shown}\"")) && page.contains("limit 7 since None"), "{page}");
    assert!(page.contains(&format!("/v1/records?key={odd}&amp;limit=7")), "{page}");
    assert!(page.contains("<th scope=\"row\">Key</th><td>hidden</td>") && page.contains("2 fields are hidden"), "{page}");
    assert!(page.contains("millrace explain &lt;script"), "{page}");
    let letters = ask(address, "GET", "/dead-letters?handling=open", HOST, "").await;
    assert!(letters.contains("<option value=\"open\" selected>") && letters.contains("<td>3</td>"), "{letters}");
    assert!(letters.contains("href=\"/records?id=one%2F1%2Ft%2F0%2F50%2F0#found\""), "{letters}");
    assert!(letters.contains(&format!("pipeline=one&amp;reason={odd}#letters")), "{letters}");
}

/// Would catch: two searches that a screen reader cannot tell apart, a heading that leaves out a level.
#[tokio::test]
async fn searches_have_names_and_headings_go_down_by_one() {
    let (_, address, _stop) = started(1_000).await;
    for path in ["/records?id=a&pipeline=shown", "/dead-letters?pipeline=shown"] {
        let page = ask(address, "GET", path, HOST, "").await;
        let mut names: Vec<&str> =
            page.split("role=\"search\" aria-label=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        names.dedup();
        assert!(names.len() == 2 && page.matches("role=\"search\"").count() == 2, "{path}: {names:?}");
        let levels: Vec<u32> = page.split("<h").filter_map(|rest| rest.chars().next()?.to_digit(10)).collect();
        assert!(levels.len() > 3 && levels.windows(2).all(|two| two[1] <= two[0] + 1), "{path}: {levels:?}");
    }
}

/// Would catch: the search box of every page's header, of which no look-up knows the parameter.
#[tokio::test]
async fn what_the_header_asks_for_is_looked_up() {
    let (_, address, _stop) = started(1_000).await;
    let home = ask(address, "GET", "/functions", HOST, "").await;
    assert!(home.contains("action=\"/records\" method=\"get\"") && home.contains("name=\"q\""), "{home}");
    let page = ask(address, "GET", "/records?q=card+17", HOST, "").await;
    assert!(page.contains(" 200 ") && page.contains("<h3>card 17</h3>") && page.contains("<strong>card 17</strong>"), "{page}");
    assert!(page.contains("href=\"/v1/records?q=card+17\""), "{page}");
    let found = ask(address, "GET", "/v1/records?q=card+17", HOST, "").await;
    assert!(found.contains(" 200 ") && json_of(&found)["records"][0]["id"] == "card 17", "{found}");
    // The box is empty when somebody presses Enter in it: the form, and no complaint.
    let empty = ask(address, "GET", "/records?q=", HOST, "").await;
    assert!(empty.contains(" 200 ") && !empty.contains("role=\"alert\""), "{empty}");
}

/// Would catch: a failure that looks like an empty answer, an error without its status, one shape for both doors.
#[tokio::test]
async fn failures_keep_their_status_on_both_doors() {
    let (_, address, _stop) = started(1_000).await;
    for (path, status) in [
        ("records?key=a&pipeline=away", 503),
        ("records?key=a&pipeline=nobody", 404),
        ("records?key=a&event=b", 400),
        ("records?pipline=a", 400),
        ("dead-letters?pipeline=full", 429),
        ("dead-letters?handling=shut", 400),
        ("dead-letters?limit=201", 400),
    ] {
        let page = ask(address, "GET", &format!("/{path}"), HOST, "").await;
        assert!(page.starts_with(&format!("HTTP/1.1 {status} ")) && page.contains("role=\"alert\""), "{path}: {page}");
        assert!(page.contains("<form"), "{path}: {page}");
        let answer = ask(address, "GET", &format!("/v1/{path}"), HOST, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(json_of(&answer)["error"]["message"].is_string(), "{answer}");
    }
    let nothing = ask(address, "GET", "/v1/records", HOST, "").await;
    assert!(nothing.contains(" 400 ") && nothing.contains("what is looked for"), "{nothing}");
    let marked = ask(address, "GET", "/records?key=a&limit=0", HOST, "").await;
    assert!(marked.contains("name=\"limit\" value=\"0\" aria-describedby=\"limit-hint\" aria-invalid=\"true\""), "{marked}");
}

/// Would catch: a hidden key that stands there as null, an answer that a cache keeps.
#[tokio::test]
async fn what_is_hidden_is_absent_from_the_json() {
    let (_, address, _stop) = started(1_000).await;
    let answer = ask(address, "GET", "/v1/records?key=a", HOST, "").await;
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    let record = json_of(&answer)["records"][0].clone();
    assert!(record.get("key").is_none() && record["hidden_fields"] == 2 && record["id"] == "a", "{record}");
    let record = json_of(&ask(address, "GET", "/v1/records?key=a&pipeline=shown", HOST, "").await)["records"][0].clone();
    assert_eq!(record["key"], ODD);
    let letter = json_of(&ask(address, "GET", "/v1/dead-letters", HOST, "").await)["letters"][0].clone();
    assert!(letter.get("event").is_none(), "{letter}");
    let letter = json_of(&ask(address, "GET", "/v1/dead-letters?pipeline=shown", HOST, "").await)["letters"][0].clone();
    assert_eq!(letter["event"]["payload"], ODD);
}
