//! `reply` on the shipped encoder and a small bank.

mod banks;
mod heads;
mod rewritten;

use super::{ask, bare, code, fixture, map, open};
use crate::function::reply::{self, Message};
use crate::function::{Function, Input, api, offline, text_function};
use crate::inference::{Encoder, Head};
use crate::state::Features;
use crate::state::dialogue::{likeness, mark};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

fn minilm() -> Arc<Encoder> {
    static MODEL: OnceLock<Arc<Encoder>> = OnceLock::new();
    MODEL.get_or_init(|| open(&shipped("minilm-en"))).clone()
}

/// On the fixture's bank.
fn on_bank(mut options: Value) -> Arc<dyn Function> {
    options["bank"] = json!(fixture("replies.jsonl"));
    text_function("reply", minilm(), &map(options)).unwrap()
}

/// Why options are refused.
fn refused(options: Value) -> String {
    text_function("reply", minilm(), &map(options)).err().unwrap()
}

fn sources(output: &Value) -> Vec<&str> {
    let suggestions = output["suggestions"].as_array().unwrap_or_else(|| panic!("{output}"));
    suggestions.iter().map(|one| one["source"].as_str().unwrap()).collect()
}

fn scores(output: &Value) -> Vec<f64> {
    output["suggestions"].as_array().unwrap().iter().map(|one| one["score"].as_f64().unwrap()).collect()
}

/// Would catch: examples that are passed over, a reply that is compared with the wrong vector, a message off the subject that is
/// answered, an answer that depends on what else is asked.
#[tokio::test]
async fn the_right_reply_comes_first() {
    let reply = on_bank(json!({ "fill": { "name": "customer.name", "order": "order.number" } }));
    let cases = [
        ("hi, where is my package right now?", "parcel-status"),
        ("my delivery is ten days late already", "parcel-late"),
        ("how many days until my refund is paid?", "refund-time"),
        ("you took the money twice from my card!", "charged-twice"),
        ("the glass arrived smashed to pieces", "broken-item"),
        ("i got a red sweater although i ordered a green one", "wrong-item"),
        ("I can't sign in, I don't remember my password", "password"),
        ("stop my order please, it was a mistake", "cancel-order"),
        ("do you sell gift cards?", "gift-card"),
        ("what time do you close on Saturday?", "opening-hours"),
    ];
    let event = |text: &str| json!({ "text": text, "customer": { "name": "Ann {x}" }, "order": { "number": 4711 } });
    let mut inputs: Vec<Value> = cases.iter().map(|(text, _)| event(text)).collect();
    inputs.extend(["The striker scored twice in the final.", "How do I bake sourdough bread?"].map(event));
    let outputs = ask(&*reply, &inputs).await;
    for ((text, expected), output) in cases.iter().zip(&outputs) {
        let scores = scores(output);
        assert_eq!(sources(output)[0], *expected, "{text}: {output}");
        assert!(scores.len() <= 3 && scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| *score >= 0.35), "{output}");
        assert!(output["reason"].is_null() && output["bank"].as_str().is_some_and(|digest| digest.len() == 12), "{output}");
    }
    let first = &outputs[0]["suggestions"][0];
    assert_eq!(first["text"], "Hello Ann {x}, you can follow order 4711 at any time on the page My orders.");
    assert_eq!((&first["intent"], &first["tags"]), (&json!("delivery"), &json!(["shipping"])));
    for off in &outputs[10..] {
        assert_eq!((&off["suggestions"], &off["reason"]), (&json!([]), &json!("below_min_score")), "{off}");
    }
    let alone = ask(&*reply, &inputs[3..4]).await.remove(0);
    assert_eq!(sources(&alone), sources(&outputs[3]));
    assert!((scores(&alone)[0] - scores(&outputs[3])[0]).abs() < 1e-5);
    let all = bare(&*reply, &inputs[11], json!({ "min_score": -1, "top_k": 5 })).await;
    assert_eq!(all.as_array().unwrap().len(), 5);
}

/// Would catch: suggestions that say the same thing three times, two of one intent where one was asked for.
#[tokio::test]
async fn suggestions_differ() {
    let replies = json!([
        "I am sorry that your parcel is late.",
        "Sorry, your parcel is late.",
        { "text": "We have asked the carrier to look for the package.", "id": "search" },
    ]);
    let options = |diversity: f32| json!({ "replies": replies, "top_k": 2, "min_score": -1, "diversity": diversity });
    let asked = json!("my parcel is late");
    let make = |diversity| text_function("reply", minilm(), &map(options(diversity))).unwrap();
    let (same, other) = (make(0.0), make(0.7));
    let found = ask(&*same, std::slice::from_ref(&asked)).await.remove(0);
    let mut near = sources(&found);
    near.sort_unstable();
    assert_eq!(near, ["1", "2"]);
    let found = ask(&*other, std::slice::from_ref(&asked)).await.remove(0);
    assert_eq!(sources(&found)[1], "search", "{found}");
    assert_eq!(bare(&*same, &asked, json!({ "diversity": 0.7 })).await, found["suggestions"]);

    let bank = on_bank(json!({}));
    let parameters = json!({ "one_per_intent": true, "top_k": 20, "min_score": -1 });
    let found = bare(&*bank, &asked, parameters).await;
    let intents: Vec<&str> = found.as_array().unwrap().iter().filter_map(|one| one["intent"].as_str()).collect();
    let mut distinct = intents.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(intents.len() == 7 && distinct.len() == 7 && found.as_array().unwrap().len() == 10, "{found}");
}

/// A head on the encoder whose labels are the bank's intents: the nearest mean of the examples.
async fn write_head(folder: &Path, encoder: &Encoder) -> Vec<String> {
    let mut classes: Vec<(String, Vec<String>)> = Vec::new();
    for entry in reply::entries(&fixture("replies.jsonl")).unwrap() {
        let Some(intent) = entry.intent else { continue };
        match classes.iter_mut().find(|(name, _)| *name == intent) {
            Some((_, texts)) => texts.extend(entry.when),
            None => classes.push((intent, entry.when)),
        }
    }
    let (mut weight, mut bias) = (Vec::new(), Vec::new());
    for (_, texts) in &classes {
        let vectors = encoder.answer(Head::Embed, texts.clone()).await.unwrap();
        let mean = |i: usize| vectors.iter().map(|vector| vector.values[i]).sum::<f32>() / vectors.len() as f32;
        weight.extend((0..encoder.dimensions()).flat_map(|i| (20.0 * mean(i)).to_le_bytes()));
        bias.extend(0f32.to_le_bytes());
    }
    let labels: Vec<String> = classes.into_iter().map(|(name, _)| name).collect();
    let view = |shape, bytes| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap();
    let views = [
        ("classifier.bias", view(vec![labels.len()], &bias)),
        ("classifier.weight", view(vec![labels.len(), encoder.dimensions()], &weight)),
    ];
    let sha256 = encoder.digest().as_str();
    let file = safetensors::serialize(views, Some([("backbone".to_owned(), sha256.to_owned())].into())).unwrap();
    std::fs::write(folder.join("model.safetensors"), file).unwrap();
    let named = |(i, label): (usize, &String)| (i.to_string(), json!(label));
    let config = json!({
        "model_type": "millrace_head",
        "backbone": { "folder": shipped("minilm-en"), "sha256": sha256 },
        "problem_type": "single_label_classification",
        "id2label": labels.iter().enumerate().map(named).collect::<serde_json::Map<_, _>>(),
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    labels
}

/// Would catch: a head that holds the encoder a second time, an intent of another message, a bonus on the wrong replies or of another
/// size than is said, a sentiment that is read from the wrong encoder.
#[tokio::test]
async fn intents_and_sentiment_are_told_and_intents_preferred() {
    let (folder, encoder) = (tempfile::tempdir().unwrap(), minilm());
    let labels = write_head(folder.path(), &encoder).await;
    let head = Arc::new(encoder.open_beside("intent", folder.path()).unwrap());
    assert!(encoder.shares_backbone(&head) && head.labels() == Some(&labels[..]));
    let sentiment = Arc::new(encoder.open_beside("sentiment", &shipped("sentiment-en")).unwrap());
    assert!(!encoder.shares_backbone(&sentiment));
    let named = |name: &str| match name {
        "intent" => Ok(head.clone()),
        "feeling" => Ok(sentiment.clone()),
        other => Err(format!("no {other}")),
    };
    let writer = |name: &str| Err(format!("no writer {name}"));
    let open = reply::Open { encoder: &named, writer: &writer };
    let make = |options: Value| reply::load(encoder.clone(), &map(options), &fixture(""), open);
    let options = json!({ "bank": "replies.jsonl", "intent_model": "intent", "sentiment_model": "feeling", "min_score": -1, "top_k": 20, "diversity": 0 });
    let reply = make(options).unwrap();
    let inputs = ["this is awful, give me my money back", "wonderful, you helped me so much"].map(Value::from);
    let outputs = ask(&reply, &inputs).await;
    let said = |output: &Value| {
        [&output["intent"]["label"], &output["sentiment"]["label"]].map(|label| label.as_str().unwrap().to_owned())
    };
    assert_eq!(
        (said(&outputs[0]), said(&outputs[1])),
        (["refund".into(), "negative".into()], ["praise".into(), "positive".into()])
    );
    assert_eq!((&outputs[0]["intent_model"], &outputs[0]["sentiment_model"]), (&json!(head.id()), &json!(sentiment.id())));
    let alone = head.answer(Head::Classify, vec![inputs[0].as_str().unwrap().to_owned()]).await.unwrap();
    let refund = labels.iter().position(|label| label == "refund").unwrap();
    let probability = outputs[0]["intent"]["score"].as_f64().unwrap();
    assert!((probability - f64::from(alone[0].values[refund])).abs() < 1e-6);

    let without = bare(&reply, &inputs[0], json!({ "intent_bonus": 0 })).await;
    let with = bare(&reply, &inputs[0], json!({ "intent_bonus": 0.5 })).await;
    for one in with.as_array().unwrap() {
        let before = without.as_array().unwrap().iter().find(|other| other["source"] == one["source"]).unwrap();
        let gain = if one["intent"] == "refund" { 0.5 * probability } else { 0.0 };
        let found = one["score"].as_f64().unwrap() - before["score"].as_f64().unwrap();
        assert!((found - gain).abs() < 1e-5, "{one} {before}");
    }
    let first_two = |of: &Value| of.as_array().unwrap()[..2].iter().all(|one| one["intent"] == "refund");
    assert!(first_two(&with), "{with}");

    for (wrong, named) in [
        (json!({ "bank": "replies.jsonl", "intent_model": "intents" }), "`intent_model`: no intents"),
        (json!({ "bank": "replies.jsonl", "sentiment_model": "x" }), "`sentiment_model`: no x"),
        (json!({ "bank": "replies.jsonl", "rewrite_model": "x" }), "`rewrite_model`: no writer x"),
        (json!({ "replies": [{ "text": "a", "intent": "Refund" }], "intent_model": "intent" }), "no reply has one of its labels"),
    ] {
        let error = make(wrong).err().unwrap();
        assert!(error.starts_with("reply: ") && error.contains(named), "{error}");
    }
    let no_labels = json!({ "replies": ["a"], "intent_model": shipped("minilm-en") });
    assert!(refused(no_labels).contains("has no labels"));
    assert!(refused(json!({ "replies": ["a"], "intent_model": "no-such-model" })).contains("there is no model `no-such-model`"));
}

/// Would catch: a reply that is suggested with a hole, or with what is no name; one that hides what else would fit.
#[tokio::test]
async fn a_placeholder_that_is_not_filled_drops_its_reply() {
    let replies = json!([
        { "id": "named", "text": "Hello {customer.name}, your parcel is on its way.", "when": ["where is my parcel"] },
        { "id": "plain", "text": "Your parcel is on its way.", "when": ["where is my package"] },
    ]);
    let both = text_function("reply", minilm(), &map(json!({ "replies": replies }))).unwrap();
    let event = |name: Value| json!({ "text": "where is my parcel", "customer": { "name": name } });
    let inputs =
        [event(json!("Ann")), event(json!("")), event(json!("a\nb")), event(json!(["Ann"])), json!("where is my parcel")];
    let outputs = ask(&*both, &inputs).await;
    assert_eq!(sources(&outputs[0]), ["named", "plain"]);
    for output in &outputs[1..] {
        assert_eq!(sources(output), ["plain"], "{output}");
    }
    let only = json!({ "replies": [replies[0]], "fill": { "customer.name": "who" } });
    let only = text_function("reply", minilm(), &map(only)).unwrap();
    let found = ask(&*only, &[json!("where is my parcel"), json!({ "text": "where is my parcel", "who": 7 })]).await;
    assert_eq!((&found[0]["suggestions"], &found[0]["reason"]), (&json!([]), &json!("unfilled")));
    assert_eq!(found[1]["suggestions"][0]["text"], "Hello 7, your parcel is on its way.");
}

/// Would catch: the assistant's message that is answered, an older one of the customer's, a conversation that is passed over.
#[tokio::test]
async fn the_last_message_of_the_customer_counts() {
    let reply = on_bank(json!({ "top_k": 1 }));
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let talk = [
        message("user", "I forgot my password."),
        message("assistant", "Choose Forgot password on the sign-in page."),
        message("customer", "And when are you open?"),
        message("assistant", "How long does a refund take?"),
    ];
    let inputs = [
        json!({ "messages": talk }),
        json!({ "messages": talk, "text": "I was charged twice." }),
        json!({ "messages": talk[1..2] }),
        json!({ "messages": [] }),
        json!({ "messages": "hello" }),
        json!({ "messages": [message("user", " ")] }),
        json!({ "text": " " }),
        json!({ "other": 1 }),
        json!("[SEP] I was charged twice. [SEP]"),
    ];
    let outputs = ask(&*reply, &inputs).await;
    assert_eq!((sources(&outputs[0]), sources(&outputs[1])), (vec!["opening-hours"], vec!["charged-twice"]));
    let codes: Vec<(String, String)> = outputs[2..8].iter().map(code).collect();
    let expected = [
        ("missing_field", "messages"),
        ("empty_list", "messages"),
        ("wrong_type", "messages"),
        ("empty_text", "messages.0"),
        ("empty_text", "text"),
        ("missing_field", "text"),
    ];
    assert_eq!(codes, expected.map(|(code, field)| (code.to_owned(), field.to_owned())));
    assert_eq!(sources(&outputs[8]), ["charged-twice"]);
}

/// Would catch: a reply that the desk has sent, in its own words or in others, and that is suggested again.
#[tokio::test]
async fn what_the_desk_has_sent_is_not_suggested_again() {
    let replies = json!([
        { "id": "way", "text": "Your parcel is on its way.", "when": ["where is my parcel"] },
        { "id": "look", "text": "We look for your parcel.", "when": ["where is my parcel"] },
    ]);
    let function = |options: Value| {
        let mut all = map(json!({ "replies": replies }));
        all.extend(map(options));
        text_function("reply", minilm(), &all).unwrap()
    };
    let (reply, all) = (function(json!({})), function(json!({ "skip_sent": false })));
    let of = async |function: &dyn Function, sent: &[u64]| {
        let document = json!({ "role": "customer", "turn": 2, "waiting_ms": 0, "earlier": [], "sent": sent });
        let features = Features { document: Some(document), ..Features::default() };
        let input = Input { features: Some(features), ..offline::input(0, &json!("where is my parcel")) };
        offline::output(function.call(&[input]).await.unwrap().remove(0))
    };
    assert_eq!(sources(&of(&*reply, &[likeness("something else"), mark("other")]).await).len(), 2);
    assert_eq!(sources(&of(&*reply, &[likeness("your parcel  is on its way.")]).await), ["look"]);
    assert_eq!(sources(&of(&*reply, &[likeness("It is coming."), mark("way")]).await), ["look"]);
    let none = of(&*reply, &[mark("look"), mark("way")]).await;
    assert_eq!((&none["suggestions"], &none["reason"]), (&json!([]), &json!("already_sent")));
    assert_eq!(sources(&of(&*all, &[mark("look"), mark("way")]).await).len(), 2);
}

#[test]
fn one_line_suggests() {
    let model = shipped("minilm-en").display().to_string();
    let reply = api::reply(&model).unwrap().bank(fixture("replies.jsonl")).unwrap().top_k(1).load().unwrap();
    let asked = Message::from("where is my parcel").with("name", "Ann").with("order", "7");
    let found = reply.call(asked).unwrap();
    assert_eq!(found.suggestions[0].text, "Hello Ann, you can follow order 7 at any time on the page My orders.");
    let found = reply.call_batch(["I was charged twice", "the striker scored"]).unwrap();
    assert_eq!((found[0].suggestions[0].source.as_str(), found[1].reason), ("charged-twice", Some("below_min_score")));
    let inline = api::reply(&model).unwrap().replies(["We are open from nine to six."]).load().unwrap();
    assert_eq!(inline.call("when are you open?").unwrap().suggestions[0].source, "1");
    let error = api::reply(&model).unwrap().bank("no/such.csv").err().unwrap().to_string();
    assert!(error.contains("no/such.csv"), "{error}");
}
