//! Heads that stand on another encoder than the one that compares, and see less of a message than it does.

use super::{ask, code, fixture, map, minilm, text_function};
use crate::function::reply::{Message, Options, Reply};
use crate::function::task::Task;
use crate::function::{Function, api};
use serde_json::{Value, json};
use std::sync::Arc;

/// More than the 64 tokens of the head, fewer than the encoder sees.
fn message() -> String {
    "the film was very good and my parcel is late ".repeat(9)
}

fn options(too_long: &str) -> Value {
    json!({ "replies": ["It is on its way."], "min_score": -1.0, "intent_model": fixture("one"), "too_long": too_long })
}

fn reply(too_long: &str) -> Arc<dyn Function> {
    text_function("reply", minilm(), &map(options(too_long))).unwrap()
}

/// Would catch: an end that the head has not seen and nobody is told of, a limit that is asked of the encoder alone.
#[tokio::test]
async fn what_a_head_does_not_see_counts_as_not_seen() {
    let asked = [json!(message()), json!("good film")];
    let cut = ask(&*reply("truncate"), &asked).await;
    assert_eq!((&cut[0]["truncated"], &cut[1]["truncated"]), (&json!(true), &json!(false)), "{cut:?}");
    assert!(cut[0]["tokens"].as_u64() > Some(64), "the encoder sees all of it: {}", cut[0]);
    let refused = ask(&*reply("reject"), &asked).await;
    assert_eq!(code(&refused[0]), ("text_too_long".to_owned(), "text".to_owned()), "{}", refused[0]);
    assert!(refused[0]["rejected"]["detail"].as_str().unwrap().contains(" sees 64"), "{}", refused[0]);
    assert!(refused[1]["suggestions"].is_array(), "{}", refused[1]);
    let slid = ask(&*reply("window"), &asked).await;
    assert!(slid[0]["truncated"] == json!(false) && slid[0]["windows"].as_u64() > Some(1), "{}", slid[0]);
    let head = api::classify(&fixture("one").display().to_string()).unwrap().too_long(crate::function::options::TooLong::Window);
    let own = head.load().unwrap().call(message()).unwrap();
    assert_eq!(json!(own.label), slid[0]["intent"]["label"], "{}", slid[0]);
    assert!((own.score.unwrap() - slid[0]["intent"]["score"].as_f64().unwrap()).abs() < 1e-6, "{}", slid[0]);
}

/// Would catch: windows that are read by each head and counted once.
#[test]
fn each_reading_of_the_windows_is_counted() {
    let cost = |heads: &[&str], too_long: &str| {
        let mut own = options(too_long);
        own.as_object_mut().unwrap().remove("intent_model");
        heads.iter().for_each(|option| own[*option] = json!(fixture("one")));
        let options: Options = serde_json::from_value(own).unwrap();
        let asked = Message::from("good film ".repeat(4_000));
        Reply::new(minilm(), options).unwrap().cost(&asked)
    };
    let (both, one) = (["intent_model", "sentiment_model"], ["intent_model"]);
    let head = cost(&one, "window") - cost(&[], "window");
    assert!(head > cost(&[], "window") / 2, "{head}");
    assert_eq!(cost(&both, "window") - cost(&[], "window"), 2 * head);
    assert_eq!(cost(&both, "truncate") - cost(&[], "truncate"), 2 * 64);
}
