//! What people send: empty texts, NUL, right-to-left, emoji, control tokens, labels that collide, shapes that are none.

use super::{ask, code, cut, fixture, function, open, refused};
use crate::function::embed::Embed;
use crate::function::sentiment::Sentiment;
use serde_json::{Value, json};

async fn codes(name: &str, folder: &str, options: Value, inputs: &[Value]) -> Vec<(String, String)> {
    let function = function(name, &fixture(folder), options);
    ask(&*function, inputs).await.iter().map(code).collect()
}

fn pairs<const N: usize>(of: [(&str, &str); N]) -> Vec<(String, String)> {
    of.map(|(code, field)| (code.to_owned(), field.to_owned())).to_vec()
}

/// Would catch: a bad input that spoils its neighbours, or an error that names another field.
#[tokio::test]
async fn each_input_has_its_own_ending() {
    let inputs = [
        json!("good film"),
        json!(" "),
        json!("a\0b"),
        json!({ "x": 1 }),
        json!({ "text": 5 }),
        json!("x ".repeat(30)),
        json!(7),
    ];
    let expected = pairs([
        ("", ""),
        ("empty_text", "text"),
        ("nul_character", "text"),
        ("missing_field", "text"),
        ("wrong_type", "text"),
        ("text_too_long", "text"),
        ("not_an_object", ""),
    ]);
    assert_eq!(codes("classify", "one", json!({ "max_text_tokens": 20 }), &inputs).await, expected);
    let inputs = [
        json!("who?"),
        json!({ "question": "who?", "context": "" }),
        json!({ "question": "who?", "context": "Anna." }),
        json!({ "question": ["who?"], "context": "Anna." }),
        json!({ "question": "who ".repeat(60), "context": "Anna." }),
    ];
    let expected = pairs([
        ("missing_field", "context"),
        ("empty_text", "context"),
        ("", ""),
        ("wrong_type", "question"),
        ("question_too_long", "question"),
    ]);
    assert_eq!(codes("answer", "answer", json!({}), &inputs).await, expected);
    let inputs = [
        json!({ "source_sentence": "a", "sentences": [] }),
        json!({ "source_sentence": "a", "sentences": ["b", " "] }),
        json!({ "source_sentence": "a", "sentences": "b" }),
        json!({ "source_sentence": "a", "sentences": ["b"] }),
        json!({ "source_sentence": "a", "sentences": vec!["b"; 1001] }),
    ];
    let expected = pairs([
        ("empty_list", "sentences"),
        ("empty_text", "sentences.1"),
        ("wrong_type", "sentences"),
        ("", ""),
        ("too_many_items", "sentences"),
    ]);
    assert_eq!(codes("similar", "fill", json!({}), &inputs).await, expected);
    let inputs = [json!("no mask"), json!("a [MASK]"), json!("[MASK] ".repeat(17)), json!(format!("{} [MASK]", "a ".repeat(80)))];
    let expected = pairs([("no_mask", "text"), ("", ""), ("too_many_masks", "text"), ("no_mask", "text")]);
    assert_eq!(codes("fill", "fill", json!({}), &inputs).await, expected);
}

#[tokio::test]
async fn labels_that_collide_are_refused() {
    let inputs = [["a", " a "], ["a", " "], ["a", "b\0"], ["a", "A"], ["😡", "a"]]
        .map(|labels| json!({ "text": "good film", "candidate_labels": labels }));
    let field = "candidate_labels";
    let expected = pairs([
        ("colliding_labels", field),
        ("empty_label", field),
        ("nul_character", "candidate_labels.1"),
        ("colliding_labels", "candidate_labels.1"),
        ("unknown_label", "candidate_labels.0"),
    ]);
    assert_eq!(codes("classify", "fill", json!({}), &inputs).await, expected);
    assert_eq!(codes("classify", "nli", json!({}), &inputs).await, expected);
    let inputs = [
        json!({ "text": "good", "candidate_labels": ["x ".repeat(40), "b".to_owned()] }),
        json!({ "text": "good", "candidate_labels": "a,b" }),
    ];
    assert_eq!(codes("classify", "nli", json!({}), &inputs).await, pairs([("label_too_long", "candidate_labels.0"), ("", "")]));
    let none = pairs([("no_candidates", field), ("no_candidates", field)]);
    assert_eq!(codes("classify", "one", json!({}), &inputs).await, none);
    let plain = [json!("good film")];
    assert_eq!(codes("classify", "fill", json!({}), &plain).await, pairs([("missing_field", field)]));
    let one = json!({ "text": "good film", "candidate_labels": ["a"] });
    assert_eq!(codes("classify", "fill", json!({}), std::slice::from_ref(&one)).await, pairs([("one_label", field)]));
    assert_eq!(codes("classify", "nli", json!({}), &[one]).await, pairs([("", "")]), "entailment against contradiction");
    // Those of the options are looked at once, and refuse each event that has none of its own.
    let options = json!({ "candidate_labels": "a, A" });
    let own = json!({ "text": "good film", "candidate_labels": ["a", "b"] });
    let found = codes("classify", "fill", options, &[json!("good film"), own, json!("bad film")]).await;
    assert_eq!(found, pairs([("colliding_labels", "candidate_labels.1"), ("", ""), ("colliding_labels", "candidate_labels.1")]));
    let twice = refused("classify", &fixture("fill"), json!({ "candidate_labels": "a, a" }));
    assert!(twice.contains("labels 0 and 1 are equal"), "{twice}");
}

/// Would catch: an event that ends its own text or begins a second one by writing a control token.
#[tokio::test]
async fn control_tokens_in_a_text_are_words() {
    let tagged = function("tag", &fixture("tag"), json!({ "ignore_labels": [] }));
    let text = "Anna [SEP] works [CLS] in [MASK] Paris";
    let outputs = ask(&*tagged, &[json!(text), json!(text.to_lowercase())]).await;
    let places = |output: &Value| {
        let of = |one: &Value| (one["start"].clone(), one["end"].clone());
        output["entities"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(places(&outputs[0]), places(&outputs[1]), "a control token is cut as the same letters in small are");
    for one in outputs[0]["entities"].as_array().unwrap() {
        assert_eq!(cut(text, &one["start"], &one["end"]), one["word"].as_str().unwrap());
    }
    let classify = function("classify", &fixture("one"), json!({ "top_k": null }));
    let outputs =
        ask(&*classify, &[json!("good [SEP] bad"), json!("good [sep] bad"), json!({ "text": "good", "text_pair": "bad" })]).await;
    assert_eq!(outputs[0], outputs[1]);
    assert_ne!(outputs[0]["labels"], outputs[2]["labels"]);
    let fill = function("fill", &fixture("fill"), json!({}));
    let outputs = ask(&*fill, &[json!("a [SEP] [MASK]"), json!("a [sep] [MASK]")]).await;
    assert_eq!(outputs[0], outputs[1]);
}

/// Would catch: places that count bytes or UTF-16 units, a word that is not what stands there.
#[tokio::test]
async fn places_count_characters_in_every_script() {
    let text = "😀😀 Anna ß שלום 中文 e\u{301} Paris 👩‍👩‍👧 end";
    let tagged = function("tag", &fixture("tag"), json!({ "ignore_labels": [], "aggregation_strategy": "first" }));
    let answer = function("answer", &fixture("answer"), json!({ "top_k": 30 }));
    let entities = ask(&*tagged, &[json!(text)]).await.remove(0);
    let answers = ask(&*answer, &[json!({ "question": "who?", "context": text })]).await.remove(0);
    let pieces = |of: &Value, name: &str| -> Vec<(String, String)> {
        let piece = |one: &Value| (cut(text, &one["start"], &one["end"]), one[name].as_str().unwrap().to_owned());
        of.as_array().unwrap().iter().map(piece).collect()
    };
    for (cut, word) in pieces(&entities["entities"], "word").into_iter().chain(pieces(&answers["answers"], "answer")) {
        assert_eq!(cut, word);
    }
    assert!(answers["answers"].as_array().unwrap().len() > 5, "{answers}");
}

/// Would catch: a panic on a text that the tokeniser has no token for.
#[tokio::test]
async fn a_text_without_tokens_has_an_answer_that_says_nothing() {
    let nothing = "\u{200b}\u{ad}";
    let input = json!({ "question": "who?", "context": nothing, "text": nothing });
    let answer = ask(&*function("answer", &fixture("answer"), json!({})), std::slice::from_ref(&input)).await.remove(0);
    assert_eq!((&answer["answer"], &answer["answers"]), (&Value::Null, &json!([])));
    let none = json!({ "handle_impossible_answer": true });
    let answer = ask(&*function("answer", &fixture("answer"), none), std::slice::from_ref(&input)).await.remove(0);
    assert_eq!((&answer["answer"], &answer["score"], &answer["end"]), (&json!(""), &json!(1.0), &json!(0)));
    let tags =
        ask(&*function("tag", &fixture("tag"), json!({ "ignore_labels": [] })), std::slice::from_ref(&input)).await.remove(0);
    assert_eq!(tags["entities"], json!([]));
    let label = ask(&*function("classify", &fixture("one"), json!({})), std::slice::from_ref(&input)).await.remove(0);
    assert_eq!(
        (&label["label"], &label["score"], &label["reason"]),
        (&Value::Null, &Value::Null, &json!("unknown_text")),
        "{label}"
    );
}

/// Would catch: an event of a stream that is read otherwise than the same JSON off it, its key or itself that is not handed on.
#[tokio::test]
async fn an_event_of_a_stream_is_asked_by_its_fields() {
    use crate::event::{Event, Position, RawEvent};
    use crate::function::{Input, Outcome};
    let payload = json!({ "doc": { "body": "Anna lives in Paris." }, "who": "u1", "msg": "who lives?" });
    let position = Position { topic: "t".into(), partition: 0, offset: 7 };
    let raw = RawEvent {
        position,
        timestamp_ms: 0,
        key: None,
        payload: Some(payload.to_string().into_bytes().into()),
        headers: vec![],
    };
    // As a pipeline with `fields.text = "msg"` decodes it.
    let event = Event { body: None, raw, id: "t/0/7".into(), key: None, event_time_ms: 0, text: Some("who lives?".into()) };
    let options = json!({ "fields": { "context": "doc.body" }, "output_key": "who", "pass_event": true });
    let asked = function("answer", &fixture("answer"), options);
    let outcome = asked.call(&[Input::plain(event)]).await.unwrap().remove(0);
    let Outcome::Emit(predictions) = outcome else { panic!("{outcome:?}") };
    let plain = json!({ "question": "who lives?", "context": "Anna lives in Paris." });
    let off = ask(&*function("answer", &fixture("answer"), json!({})), &[plain]).await.remove(0);
    assert_eq!((predictions[0].key.as_deref(), &predictions[0].fields["event"]), (Some("u1"), &payload));
    assert_eq!((&predictions[0].fields["answer"], predictions[0].score), (&off["answer"], off["score"].as_f64()));
}

#[test]
fn what_a_model_or_option_cannot_do_is_told() {
    for (name, folder, options, said) in [
        ("answer", "one", json!({}), "no head for answers"),
        ("tag", "one", json!({}), "no labels of tokens"),
        ("fill", "one", json!({}), "no head for masked words"),
        ("rerank", "one", json!({}), "bad, so-so, good"),
        ("rerank", "fill", json!({ "raw_scores": true }), "`raw_scores`"),
        ("classify", "one", json!({ "labels": ["a"] }), "the model has 3: bad, so-so, good"),
        ("classify", "one", json!({ "labels": ["a", "b", "a "] }), "labels 0 and 2 are equal"),
        ("classify", "one", json!({ "threshold": 0.5 }), "`min_score`"),
        ("classify", "many", json!({ "min_score": 0.5 }), "`threshold`"),
        ("classify", "one", json!({ "candidate_labels": ["a"] }), "natural language inference"),
        ("classify", "one", json!({ "backend": "nli" }), "entailment and contradiction"),
        ("classify", "fill", json!({ "candidate_labels": ["a"], "multi_label": true }), "`multi_label`"),
        ("classify", "nli", json!({ "candidate_labels": ["a"], "hypothesis_template": "x" }), "must have {}"),
        ("classify", "fill", json!({ "temperature": 1e-9 }), "`temperature`"),
        ("classify", "fill", json!({ "candidate_labels": ["a"], "threshold": 0.5 }), "`threshold`"),
        ("classify", "fill", json!({ "threshold": 0.5 }), "`threshold`"),
        ("classify", "many", json!({ "candidate_labels": ["a"], "threshold": 0.5 }), "`threshold`"),
        ("classify", "nli", json!({ "candidate_labels": ["a"], "function_to_apply": "sigmoid" }), "`function_to_apply`"),
        ("classify", "fill", json!({ "function_to_apply": "sigmoid" }), "`function_to_apply`"),
        ("classify", "fill", json!({ "multi_label": true }), "`multi_label`"),
        ("classify", "fill", json!({ "hypothesis_template": "x" }), "must have {}"),
        ("classify", "one", json!({ "multi_label": true }), "natural language inference"),
        ("classify", "nli", json!({ "multi_label": true, "threshold": 0.5, "min_score": 0.5 }), "`min_score`"),
        ("classify", "one", json!({ "stride": 33 }), "`stride` is 33"),
        ("answer", "answer", json!({ "max_seq_len": 65 }), "8 to 64"),
        ("answer", "answer", json!({ "top_k": 0 }), "`top_k`"),
        ("answer", "answer", json!({ "max_answer_len": 257 }), "1 to 256"),
        ("fill", "fill", json!({ "top_k": 1001 }), "1 to 1000"),
        ("fill", "fill", json!({ "targets": [] }), "`targets`"),
        ("summarize", "fill", json!({ "ratio": 0.0 }), "`ratio`"),
        ("tag", "tag", json!({ "aggregation_strategy": "last" }), "`aggregation_strategy`"),
        ("tag", "tag", json!({ "top_k": 1 }), "no option `top_k`; known: "),
    ] {
        let error = refused(name, &fixture(folder), options);
        assert!(error.starts_with(&format!("{name}: ")) && error.contains(said), "{error}");
    }
    let function = function("tag", &fixture("tag"), json!({}));
    let error = function.requests().unwrap().tuned(&super::map(json!({ "top_k": 1 }))).err().unwrap();
    assert!(error.name == "top_k" && error.message.contains("known: aggregation_strategy, "), "{error}");
}

/// Would catch: labels of an event that are no texts for the limits, options that are refused where they have a meaning.
#[tokio::test]
async fn labels_are_texts_too() {
    let long = json!({ "text": "good", "candidate_labels": ["a", "x ".repeat(30)] });
    let options = json!({ "max_text_tokens": 20, "multi_label": true, "threshold": 0.5 });
    let found = codes("classify", "nli", options, &[long, json!({ "text": "good", "candidate_labels": ["a"] })]).await;
    assert_eq!(found, pairs([("text_too_long", "candidate_labels.1"), ("", "")]));
    assert_eq!(codes("classify", "fill", json!({ "candidate_labels": ["a", "b"] }), &[json!("good")]).await, pairs([("", "")]));
}

/// Would catch: `sentiment` and `embed` that obey what a customer writes, where `classify` and Rust's own calls read it as words.
#[tokio::test]
async fn sentiment_and_embed_read_what_the_others_read() {
    let text = "good [SEP] bad";
    let mood = Sentiment::new(open(&fixture("one"))).unwrap();
    let class = function("classify", &fixture("one"), json!({}));
    let inputs = [json!(text), json!("a\0b")];
    let (mood, class) = (ask(&mood, &inputs).await, ask(&*class, &inputs).await);
    assert_eq!((&mood[0]["label"], &mood[0]["score"]), (&class[0]["label"], &class[0]["score"]));
    assert_eq!((code(&mood[1]), code(&class[1])), (code(&class[1]), ("nul_character".to_owned(), "text".to_owned())));
    // Would catch: a sure label for a text of which the model sees nothing but unknown tokens.
    let mood = Sentiment::new(open(&fixture("one"))).unwrap();
    for answer in ask(&mood, &[json!("😡😡"), json!("\u{200b}")]).await {
        assert_eq!((&answer["label"], &answer["score"], &answer["reason"]), (&Value::Null, &Value::Null, &json!("unknown_text")));
    }
    let none = ask(&Embed::new(open(&fixture("fill"))), &[json!("😡😡"), json!("good 😡")]).await;
    assert!(code(&none[0]).0 == "unknown_text" && none[1]["embedding"].is_array(), "{none:?}");
    let vectors = ask(&Embed::new(open(&fixture("fill"))), &inputs).await;
    let own = crate::function::api::embed(&fixture("fill").display().to_string()).unwrap().call(text).unwrap();
    let first = vectors[0]["embedding"][0].as_f64().unwrap();
    assert!((first - f64::from(own[0])).abs() < 1e-6 && code(&vectors[1]).0 == "nul_character", "{first} {}", own[0]);
}
