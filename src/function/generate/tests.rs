//! The function on a tiny random model with 256 bytes as tokens, and on SmolLM2 where it is there.

use super::*;
use crate::function::offline::{self, Offline, Plain, input};
use crate::inference::import::tests::smollm2;
use crate::inference::import::{Dtype, Request, import};
use std::path::PathBuf;
use std::sync::OnceLock;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn opened(file: &Path, dtype: Dtype) -> Arc<Writer> {
    let folder = tempfile::tempdir().unwrap();
    let request = Request { file: file.to_owned(), folder: folder.path().join("m"), dtype, tokenizer: None, rope_theta: None };
    import(&request).unwrap();
    let options = causal::Options { threads: crate::inference::Threads::Exactly(1), ..causal::Options::default() };
    Arc::new(Writer::open("m", &request.folder, None, &options).unwrap())
}

/// 64 positions, a ChatML template without a generation prompt.
fn tiny() -> Arc<Writer> {
    static KNOWN: OnceLock<Arc<Writer>> = OnceLock::new();
    Arc::clone(KNOWN.get_or_init(|| opened(&fixture("import/llama.gguf"), Dtype::F32)))
}

fn generate(options: Value) -> Result<Generate, String> {
    let mut all = json!({ "max_new_tokens": 12 });
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    Generate::new(tiny(), all.as_object().unwrap())
}

async fn ask(function: &dyn Function, values: &[Value]) -> Vec<Value> {
    offline::call(function, &mut *Plain.sitting(), 0, values).await.unwrap()
}

/// Would catch: an answer that depends on its neighbours, on the time or on the run; a seed that is not the event's.
#[tokio::test]
async fn the_same_event_gets_the_same_answer_in_any_company() {
    let values: Vec<Value> = (0..16).map(|i| json!(format!("{} {i}", "word ".repeat(i % 5)))).collect();
    for options in [json!({}), json!({ "temperature": 1.2, "top_p": 0.9 }), json!({ "chat": false, "temperature": 0.8 })] {
        let function = generate(options).unwrap();
        let together = ask(&function, &values).await;
        for (at, value) in values.iter().enumerate() {
            let alone = offline::call(&function, &mut *Plain.sitting(), at, std::slice::from_ref(value)).await.unwrap();
            assert_eq!(alone[0], together[at]);
        }
        let fields = together[0].as_object().unwrap();
        for name in ["generated_text", "finish_reason", "generated_tokens", "prompt_tokens", "seed", "truncated"] {
            assert!(fields.contains_key(name), "{name}");
        }
    }
    let seeded = generate(json!({ "temperature": 1.0, "seed": 5 })).unwrap();
    let answers = ask(&seeded, &[json!("a"), json!("a")]).await;
    assert_eq!((&answers[0], &answers[0]["seed"]), (&answers[1], &json!(5)));
    let free = generate(json!({ "temperature": 1.0 })).unwrap();
    let answers = ask(&free, &[json!("a"), json!("a")]).await;
    assert_ne!(answers[0]["seed"], answers[1]["seed"]);
}

#[tokio::test]
async fn forms_of_output() {
    let labels = ask(&generate(json!({ "labels": "refund,delay,praise" })).unwrap(), &[json!("x"), json!("y")]).await;
    for answer in &labels {
        assert!(["refund", "delay", "praise"].contains(&answer["label"].as_str().unwrap()), "{answer}");
        assert_eq!((&answer["generated_text"], &answer["finish_reason"]), (&answer["label"], &json!("eos_token")));
    }
    let schema = json!({ "type": "object", "properties": { "urgent": { "type": "boolean" } }, "required": ["urgent"] });
    let options = json!({ "schema": schema, "max_new_tokens": 24, "temperature": 1.5 });
    let answers = ask(&generate(options).unwrap(), &[json!("x")]).await;
    assert!(answers[0]["value"]["urgent"].is_boolean(), "{}", answers[0]);
    // Any object: whatever the chance and the limit, it is whole.
    let open = json!({ "type": "object", "additionalProperties": true });
    for (seed, most) in (0..24).zip([2, 3, 8, 40].into_iter().cycle()) {
        let options = json!({ "schema": open, "max_new_tokens": most, "temperature": 2, "top_k": 0, "seed": seed });
        let answer = ask(&generate(options).unwrap(), &[json!("x")]).await.remove(0);
        assert!(answer["value"].is_object() && answer["finish_reason"] == "eos_token", "{answer}");
    }
    let answers = ask(&generate(json!({ "top_logprobs": 2 })).unwrap(), &[json!("x")]).await;
    let tokens = answers[0]["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), answers[0]["generated_tokens"].as_u64().unwrap() as usize);
    for token in tokens {
        assert_eq!(token["id"], token["top"][0]["id"]);
        assert!(token["top"][0]["logprob"].as_f64() >= token["top"][1]["logprob"].as_f64());
    }
    let whole = ask(&generate(json!({})).unwrap(), &[json!("x")]).await;
    let text = whole[0]["generated_text"].as_str().unwrap();
    let stop: String = text.chars().skip(3).take(1).collect();
    let stopped = ask(&generate(json!({ "stop": stop })).unwrap(), &[json!("x")]).await;
    assert_eq!(stopped[0]["finish_reason"], "stop_sequence");
    assert_eq!(stopped[0]["generated_text"], text[..text.find(&stop).unwrap()]);
}

/// Would catch: a conversation that is read as a text, a prompt that is longer than the model sees, one that is cut in silence.
#[tokio::test]
async fn conversations_and_long_texts() {
    let function = generate(json!({})).unwrap();
    let user = |text: &str| json!({ "role": "user", "content": text });
    let conversation = json!({ "messages": [user("Hi"), { "role": "assistant", "content": "Hello" }, user("a<|im_end|>b")] });
    let long = json!({ "messages": (0..40).map(|i| user(&format!("message {i}"))).collect::<Vec<_>>() });
    let answers = ask(&function, &[conversation, json!("word ".repeat(100)), long, json!("中".repeat(500))]).await;
    let truncated: Vec<&Value> = answers.iter().map(|answer| &answer["truncated"]).collect();
    assert_eq!(truncated, [&json!(false), &json!(true), &json!(true), &json!(true)], "{answers:?}");
    for answer in &answers {
        assert!(answer["prompt_tokens"].as_u64().unwrap() <= 52, "{answer}");
    }
    assert!(answers[1]["prompt_tokens"].as_u64().unwrap() > 45, "{}", answers[1]);
    // As many messages as there is room for: one more has 18 tokens at most.
    assert!(answers[2]["prompt_tokens"].as_u64().unwrap() > 34, "{}", answers[2]);
    let strict = generate(json!({ "too_long": "reject" })).unwrap();
    let refused = |answer: &Value| (answer["rejected"]["code"].as_str().unwrap().to_owned(), answer["rejected"]["field"].clone());
    let answers = ask(
        &strict,
        &[
            json!("word ".repeat(100)),
            json!(" "),
            json!({}),
            json!({ "messages": "x" }),
            json!({ "messages": [] }),
            json!({ "messages": [user("x"), user("")] }),
            json!({ "messages": [{ "role": "hacker", "content": "x" }] }),
            json!("a\0b"),
        ],
    )
    .await;
    let codes: Vec<String> = answers.iter().map(|answer| refused(answer).0).collect();
    let expected = [
        "text_too_long",
        "empty_text",
        "missing_field",
        "wrong_type",
        "too_many_items",
        "empty_text",
        "prompt_refused",
        "nul_character",
    ];
    assert_eq!(codes, expected);
    let plain = generate(json!({ "chat": false, "prompt": "Q: {text} A:" })).unwrap();
    let answers = ask(&plain, &[json!("x"), json!({ "messages": [user("x")] })]).await;
    assert!(answers[0]["generated_text"].is_string());
    assert_eq!(answers[1]["rejected"]["code"], "unexpected_field");
}

#[test]
fn options_that_are_none_are_named() {
    for (wrong, named) in [
        (json!({ "temprature": 1 }), "no option `temprature`; known: bad_words"),
        (json!({ "temperature": -1 }), "`temperature` is -1"),
        (json!({ "top_p": 0 }), "`top_p`"),
        (json!({ "repetition_penalty": 0 }), "`repetition_penalty`"),
        (json!({ "max_new_tokens": 0 }), "`max_new_tokens` is 0; write 1 to 63"),
        (json!({ "max_new_tokens": 64 }), "the model sees 64"),
        (json!({ "min_new_tokens": 13 }), "`min_new_tokens`"),
        (json!({ "top_logprobs": 21 }), "`top_logprobs`"),
        (json!({ "stop": ["a", ""] }), "`stop`"),
        (json!({ "labels": ["a", "a"] }), "`labels`"),
        (json!({ "labels": ["a"], "schema": { "type": "null" } }), "exclude"),
        (json!({ "schema": { "type": "string", "minLength": 20 } }), "`max_new_tokens` is 12"),
        (json!({ "schema": { "type": "string", "format": "date" } }), "`format`"),
        (json!({ "schema": { "type": "object", "additionalProperties": true }, "max_new_tokens": 1 }), "of `schema` may need 2"),
        (json!({ "prompt": "no place" }), "{text}"),
        (json!({ "chat": false, "system": "x" }), "`system`"),
        (json!({ "logit_bias": { "290": 1 } }), "below 290"),
        (json!({ "too_long": "window" }), "`too_long`"),
        (json!({ "bad_words": [""] }), "`bad_words`"),
    ] {
        let error = generate(wrong.clone()).err().unwrap_or_else(|| panic!("{wrong} was taken"));
        assert!(error.starts_with("generate: ") && error.contains(named), "{error}");
    }
}

#[tokio::test]
async fn a_request_changes_what_it_may() {
    let function = generate(json!({ "seed": 1 })).unwrap();
    let tuned = |parameters: Value| function.tuned(parameters.as_object().unwrap());
    let short = tuned(json!({ "max_new_tokens": 2, "temperature": 1 })).unwrap();
    assert_eq!(ask(&*short, &[json!("x")]).await[0]["generated_tokens"], 2);
    assert_eq!(tuned(json!({ "pass_event": true })).err().unwrap().name, "pass_event");
    assert_eq!(tuned(json!({ "top_p": 3 })).err().unwrap().name, "top_p");
    assert!(function.about().options["max_new_tokens"] == 12);
    let answer = ask(&function, &[json!("x")]).await;
    assert_eq!(function.bare(&answer[0]), json!({ "generated_text": answer[0]["generated_text"] }));
}

#[tokio::test]
async fn pieces_go_out_while_it_writes() {
    for (options, tells) in [(json!({ "temperature": 1.0 }), false), (json!({ "temperature": 1.0, "top_logprobs": 1 }), true)] {
        let function = generate(options).unwrap();
        let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
        let sink: Sink = Box::new(move |piece| to.send(piece).is_ok());
        let Outcome::Emit(predictions) = function.answer(&input(0, &json!("x")), Some(sink)).await.unwrap() else { panic!() };
        let (mut text, mut tokens) = (String::new(), Vec::new());
        while let Some(piece) = from.recv().await {
            assert_eq!(!piece.tokens.is_empty(), tells, "{piece:?}");
            text += &piece.text;
            tokens.extend(piece.tokens);
        }
        assert_eq!(predictions[0].fields["generated_text"], text);
        // The last ones may have added no text.
        let all = predictions[0].fields.get("tokens").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        assert!(all.starts_with(&tokens) && all.is_empty() != tells, "{all:?} {tokens:?}");
    }
}

/// Would catch: anything between a llama2.c file and its story that is not as in run.c: rows, positions, vocabulary. The story is
/// the first 32 tokens of a forward pass written after run.c in numpy.
#[tokio::test]
async fn a_story_goes_on_as_in_run_c() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models/stories260K");
    let file = shared.join("stories260K.bin");
    if !file.exists() {
        println!("left out: {} is not there", file.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let request = Request {
        file,
        folder: folder.path().join("m"),
        dtype: Dtype::F32,
        tokenizer: Some(shared.join("tok512.bin")),
        rope_theta: None,
    };
    import(&request).unwrap();
    let writer = Generate::open(&request.folder).unwrap();
    let options = json!({ "max_new_tokens": 32, "complete_sentence": true });
    let function = Generate::new(Arc::clone(&writer), options.as_object().unwrap()).unwrap();
    let answer = ask(&function, &[json!("Once upon a time")]).await.remove(0);
    assert_eq!(answer["generated_text"], ", there was a little girl named Lily. She loved to play outside in the park.");
    let whole = function.changed(json!({ "complete_sentence": false }).as_object().unwrap()).unwrap();
    let story = ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw";
    assert_eq!(ask(&whole, &[json!("Once upon a time")]).await[0]["generated_text"], story);
}

/// Would catch: anything between the file and the answer that is not as in transformers: weights, tokens, template, network.
#[tokio::test]
async fn smollm2_answers_as_in_transformers() {
    let Some(file) = smollm2() else { return };
    let writer = tokio::task::spawn_blocking(move || opened(&file, Dtype::F32)).await.unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(fixture("generate/smollm2.json")).unwrap()).unwrap();
    let options = json!({ "max_new_tokens": 24, "logprobs": true });
    let function = Generate::new(writer, options.as_object().unwrap()).unwrap();
    let values: Vec<Value> = cases.iter().map(|case| json!({ "messages": case["messages"] })).collect();
    let answers = ask(&function, &values).await;
    for (case, answer) in cases.iter().zip(&answers) {
        assert_eq!(answer["prompt_tokens"], case["prompt"].as_array().unwrap().len());
        let ids: Vec<&Value> = answer["tokens"].as_array().unwrap().iter().map(|token| &token["id"]).collect();
        assert_eq!(ids, case["new"].as_array().unwrap().iter().collect::<Vec<_>>(), "{answer}");
        assert_eq!(answer["generated_text"], case["text"]);
    }
}

/// Another tiny model, without a template, whose answers transformers has written (`tests/fixtures/writer/make.py`).
fn llama() -> Arc<Writer> {
    static KNOWN: OnceLock<Arc<Writer>> = OnceLock::new();
    Arc::clone(KNOWN.get_or_init(|| Generate::open(&fixture("writer/llama")).unwrap()))
}

fn of_llama(options: Value) -> Result<Generate, String> {
    Generate::new(llama(), options.as_object().unwrap())
}

/// Would catch: an option of the search that is passed over, an end that is part of the text, answers in another order.
#[tokio::test]
async fn beams_find_what_transformers_finds() {
    let truth: Value = serde_json::from_slice(&std::fs::read(fixture("writer/truth.json")).unwrap()).unwrap();
    for case in truth["searched"].as_array().unwrap() {
        let mut options = json!({ "max_new_tokens": 12 });
        options.as_object_mut().unwrap().extend(case["options"].as_object().unwrap().clone());
        let answer = ask(&of_llama(options).unwrap(), &[case["text"].clone()]).await.remove(0);
        let texts: Vec<&Value> = match answer["answers"].as_array() {
            Some(answers) => answers.iter().map(|answer| &answer["generated_text"]).collect(),
            None => vec![&answer["generated_text"]],
        };
        assert_eq!(texts, case["texts"].as_array().unwrap().iter().collect::<Vec<_>>(), "{case}\n{answer}");
        for (ids, answer) in case["ids"].as_array().unwrap().iter().zip(answer["answers"].as_array().into_iter().flatten()) {
            let ids = ids.as_array().unwrap().len() as u64;
            let ended = answer["finish_reason"] == "eos_token";
            assert_eq!(answer["generated_tokens"].as_u64().unwrap(), ids + u64::from(ended), "{answer}");
        }
    }
}

/// Would catch: a penalty or a ban that a search passes over or counts by another text's words, a stop text that is said, one that is found in a
/// word that only begins like it.
#[tokio::test]
async fn steered_beams_find_what_transformers_finds() {
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(fixture("writer/steered.json")).unwrap()).unwrap();
    let (mut stopped, mut others) = (0, 0);
    for case in &cases {
        let mut options = json!({ "max_new_tokens": 16 });
        options.as_object_mut().unwrap().extend(case["options"].as_object().unwrap().clone());
        let answer = ask(&of_llama(options).unwrap(), &[case["text"].clone()]).await.remove(0);
        let answers = answer["answers"].as_array().cloned().unwrap_or_else(|| vec![answer.clone()]);
        for (answer, expected) in answers.iter().zip(case["answers"].as_array().unwrap()) {
            for (ours, theirs) in [("generated_text", "text"), ("finish_reason", "finish"), ("generated_tokens", "tokens")] {
                assert_eq!(answer[ours], expected[theirs], "{case}\n{answer}");
            }
            stopped += usize::from(answer["finish_reason"] == "stop_sequence");
            others += usize::from(answer["finish_reason"] != "stop_sequence");
        }
        assert_eq!(answers.len(), case["answers"].as_array().unwrap().len());
    }
    assert!(stopped > 5 && others > 10, "{stopped} {others}");
    // These are not transformers': each text loses by what it has said itself, so that no word comes three times.
    let options = json!({ "max_new_tokens": 16, "num_beams": 3, "frequency_penalty": 2.0, "presence_penalty": 2.0 });
    let penalised = ask(&of_llama(options).unwrap(), &[cases[0]["text"].clone()]).await.remove(0);
    let plain =
        ask(&of_llama(json!({ "max_new_tokens": 16, "num_beams": 3 })).unwrap(), &[cases[0]["text"].clone()]).await.remove(0);
    assert_ne!(penalised["generated_text"], plain["generated_text"]);
}

/// Would catch: answers of one prompt that see each other, a first answer that is another than alone.
#[tokio::test]
async fn several_answers_are_those_of_their_seeds() {
    let options =
        |n: usize, seed: u64| json!({ "max_new_tokens": 10, "temperature": 1.3, "num_return_sequences": n, "seed": seed });
    let texts = [json!("where is my parcel ?"), json!("the cat sat on the mat . ".repeat(3)), json!("a")];
    for _ in 0..3 {
        let together = ask(&of_llama(options(4, 11)).unwrap(), &texts).await;
        for (at, (text, answer)) in texts.iter().zip(&together).enumerate() {
            let answers = answer["answers"].as_array().unwrap();
            assert_eq!((answers.len(), &answers[0]["generated_text"]), (4, &answer["generated_text"]));
            for one in answers {
                let alone = of_llama(options(1, one["seed"].as_u64().unwrap())).unwrap();
                let alone = offline::call(&alone, &mut *Plain.sitting(), at, std::slice::from_ref(text)).await.unwrap().remove(0);
                assert_eq!((&alone["generated_text"], &alone["finish_reason"]), (&one["generated_text"], &one["finish_reason"]));
            }
            let different: std::collections::BTreeSet<&str> =
                answers.iter().filter_map(|one| one["generated_text"].as_str()).collect();
            assert!(different.len() > 1, "{answers:?}");
        }
    }
    let several = of_llama(options(2, 5)).unwrap();
    assert!(several.pieces().is_none() && of_llama(options(1, 5)).unwrap().pieces().is_some());
    let answer = ask(&several, &texts[..1]).await;
    let expected: Value =
        answer[0]["answers"].as_array().unwrap().iter().map(|one| json!({ "generated_text": one["generated_text"] })).collect();
    assert_eq!(several.bare(&answer[0]), expected);
    for (options, said) in [
        (json!({ "num_return_sequences": 2 }), "`temperature` 0 all answers would be the same"),
        (json!({ "num_return_sequences": 9, "temperature": 1 }), "`num_return_sequences` is 9"),
        (json!({ "num_return_sequences": 3, "num_beams": 2 }), "2 beams have 2 answers"),
        (json!({ "num_beams": 17 }), "`num_beams` is 17"),
        (json!({ "num_beams": 2, "temperature": 1 }), "`temperature` does not go with `num_beams`"),
        (json!({ "num_beams": 2, "labels": ["a", "b"] }), "`labels` does not go with"),
        (json!({ "num_beams": 2, "schema": { "type": "boolean" } }), "`schema` does not go with"),
        (json!({ "num_beams": 2, "early_stopping": 3 }), "true, false or"),
    ] {
        let mut all = json!({ "max_new_tokens": 12 });
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let error = of_llama(all).err().unwrap();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn one_line_of_rust_goes_on() {
    let model = crate::function::api::generate(&fixture("writer/llama").display().to_string()).unwrap();
    let short = model.option("max_new_tokens", 5).unwrap();
    let one = short.call("where is my parcel ?").unwrap();
    assert!(one.generated_tokens <= 5 && one.prompt_tokens > 2 && !one.truncated && one.answers.is_empty());
    let texts: Vec<String> = (0..20).map(|i| format!("the cat {}", i % 3)).collect();
    let many = short.call_batch(&texts).unwrap();
    assert_eq!((many.len(), &many[4].text), (20, &many[1].text));
    assert!(short.call(" ").unwrap_err().to_string().contains("empty"));
    assert!(short.chat([("user", "hi")]).unwrap_err().to_string().contains("no chat template"));
    assert!(short.option("top_p", 3).err().unwrap().to_string().contains("`top_p`"));
}
