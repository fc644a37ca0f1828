//! What costs too much, and what fails, spoils nothing beside it.

use super::{ask, code, fixture, function};
use crate::event::Rejection;
use crate::function::{CallError, Input, halve, offline};
use futures_util::FutureExt;
use serde_json::{Value, json};

/// Would catch: an event of very many pairs that takes the whole time of a call, a slice of dear events that is called at once.
#[tokio::test]
async fn work_is_bounded_by_event_and_by_call() {
    let infer = function("classify", &fixture("nli"), json!({}));
    let labels: Vec<String> = (0..1_000).map(|n| format!("{n} {}", "x".repeat(90))).collect();
    let outputs = ask(&*infer, &[json!({ "text": "good", "candidate_labels": ["a", "b"] }), json!({ "text": "good" })]).await;
    assert_eq!((code(&outputs[0]).0.as_str(), code(&outputs[1]).0.as_str()), ("", ""), "{outputs:?}");
    let windows = function("classify", &fixture("nli"), json!({ "too_long": "window" }));
    let dear = json!({ "text": "good ".repeat(2_000), "candidate_labels": labels });
    let outputs = ask(&*windows, &[json!({ "text": "good", "candidate_labels": ["a", "b"] }), dear]).await;
    assert_eq!((code(&outputs[0]).0.as_str(), code(&outputs[1]).0.as_str()), ("", "too_expensive"));
    let tag = function("tag", &fixture("tag"), json!({}));
    let slice: Vec<Input> = (0..20).map(|n| offline::input(n, &Value::from("a ".repeat(19_000)))).collect();
    assert!(matches!(tag.call(&slice).now_or_never(), Some(Err(CallError::TooMuch(_)))));
}

/// Would catch: an answer in the place of another, an input that takes its neighbours along, halves that never end.
#[tokio::test]
async fn only_what_fails_is_refused() {
    let call = |stretch: std::ops::Range<usize>| async move {
        match stretch.clone().find(|n| [3, 17].contains(n)) {
            Some(bad) => Err(CallError::Poison(bad.to_string())),
            None if stretch.len() > 8 => Err(CallError::TooMuch("eight".into())),
            None => Ok(stretch.map(Ok).collect()),
        }
    };
    let answers: Vec<Result<usize, Rejection>> = halve::each(40, call, Err).await.unwrap();
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(answer) => assert!(*answer == n && ![3, 17].contains(&n)),
            Err(refused) => assert!(refused.code == "poison" && [3, 17].contains(&n), "{n}: {refused:?}"),
        }
    }
    assert_eq!(answers.len(), 40);
    let none = halve::each(0, |_| async { Err::<Vec<()>, _>(CallError::Fatal("called".into())) }, |_| ()).await;
    assert!(none.unwrap().is_empty());
}
