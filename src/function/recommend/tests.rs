//! The function behind its fold, and the shipped chains of pipelines, record by record.

use super::*;
use crate::config::{Config, Pipeline};
use crate::event::{Decoder, Event, Position, RawEvent};
use crate::function::Function;
use crate::function::copy::Copy;
use crate::function::embed::Embed;
use crate::inference::{Encoder, Options as Engine};
use crate::record::{self, Provenance};
use crate::state::in_memory::InMemory;
use crate::state::recommend::RecommendFold;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const START_S: i64 = 1_362_000_000;

/// One pipeline of a config, without its neighbours: records in, records out.
struct Stage {
    pipeline: Pipeline,
    decoder: Decoder,
    function: Arc<dyn Function>,
    fold: Option<InMemory<RecommendFold>>,
    offset: i64,
}

/// What became of an event: its records' keys and values, or the word of a skip or a rejection.
type Ending = Result<Vec<(String, Value)>, &'static str>;

impl Stage {
    fn of(config: &Config, name: &str) -> Self {
        let pipeline = config.pipeline.iter().find(|pipeline| pipeline.name == name).unwrap().clone();
        let options = &pipeline.options;
        let function: Arc<dyn Function> = match &*pipeline.function {
            "copy" => Arc::new(Copy::new(options).unwrap()),
            "embed" => {
                let name = pipeline.model.as_deref().unwrap();
                let encoder = Encoder::open(name, &config.models[name].path, None, &Engine::default()).unwrap();
                Arc::new(Embed::new(Arc::new(encoder)).with(options).unwrap())
            }
            _ => Arc::new(Recommend::new(config.recommend_of(&pipeline).unwrap(), options).unwrap()),
        };
        let decoder = Decoder::new(pipeline.event, pipeline.fields.clone(), config.limits_of(&pipeline).clone());
        let fold = config.recommend_of(&pipeline).map(|signals| InMemory::new(RecommendFold::new(signals)));
        Self { pipeline, decoder, function, fold, offset: 0 }
    }

    fn run(&mut self, value: &Value) -> Ending {
        let position = Position { topic: self.pipeline.topic[0].as_str().into(), partition: 0, offset: self.offset };
        self.offset += 1;
        let payload = Some(value.to_string().into_bytes().into());
        let raw = RawEvent { position, timestamp_ms: 0, key: None, payload, headers: vec![] };
        let event: Event = self.decoder.decode(raw).map_err(|(_, rejection)| rejection.code)?;
        let features = match &mut self.fold {
            Some(fold) => Some(fold.apply(&event).map_err(|rejection| rejection.code)?),
            None => None,
        };
        let slice = [Input { event, features }];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(self.function.call(&slice)).unwrap().remove(0);
        let predictions = match outcome {
            Outcome::Emit(predictions) => predictions,
            Outcome::Skip(word) => return Err(word),
            Outcome::Reject(rejection) => return Err(rejection.code),
        };
        let spec = self.function.spec();
        let by = Provenance {
            pipeline: self.pipeline.name.as_str().into(),
            run: 1,
            function: spec.name.into(),
            model: spec.model.as_str().into(),
            config: "".into(),
            fold: None,
            keeps_latest: false,
        };
        let record = |(n, prediction): (usize, Prediction)| {
            let out = self.pipeline.output_topic().into();
            let Prediction { key, fields, label, score, model } = prediction;
            let record =
                record::prediction(&by, &slice[0].event, n as i16, &out, key.as_deref(), &fields, label, score, model.as_ref());
            assert!(score.is_none_or(f64::is_finite));
            let mut value: Value = serde_json::from_str(&record.value).unwrap();
            value["label of the row"] = json!(record.label);
            value["score of the row"] = json!(record.score);
            (String::from_utf8(record.key.unwrap_or_default().into()).unwrap(), value)
        };
        Ok(predictions.into_iter().enumerate().map(record).collect())
    }

    /// The only record.
    fn one(&mut self, value: &Value) -> (String, Value) {
        let mut records = self.run(value).unwrap();
        assert_eq!(records.len(), 1);
        records.remove(0)
    }
}

fn sample(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples").join(name);
    Config::load(&path, &BTreeMap::new()).unwrap()
}

fn click(id: &str, second: i64, user: &str, item: &str) -> Value {
    json!({ "id": id, "user": user, "item": item, "kind": "rate", "time": (START_S + second) * 1_000 })
}

fn film(id: &str, item: &str, title: &str) -> Value {
    json!({ "id": id, "kind": "item", "item": item, "title": title, "categories": ["Drama"], "time": START_S * 1_000 })
}

fn items(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap()).collect()
}

/// Would catch: a stage that does not write what the next one reads, a key of the wrong field, an event that counts twice because it
/// was sent twice, a request that is folded, a list whose reason is lost on the way.
#[test]
fn the_shipped_chain_makes_lists_of_two_topics() {
    let mut config = sample("recommend-stream.toml");
    // Of six events the crowd has foreseen most: let the other signal be heard.
    config.recommend.as_mut().unwrap().blend.weights.insert("day".into(), 0.1);
    let (mut merge, mut recommend) = (Stage::of(&config, "merge"), Stage::of(&config, "recommend"));
    assert_eq!(merge.pipeline.output_topic(), recommend.pipeline.topic[0]);
    let mut send = |event: &Value| {
        let (key, record) = merge.one(event);
        (key, recommend.run(&record))
    };
    assert_eq!(send(&film("m1", "a", "A film")), ("a".into(), Err("item")));
    for (number, (user, item)) in [("u", "a"), ("u", "b"), ("v", "a"), ("v", "b"), ("w", "c")].into_iter().enumerate() {
        send(&click(&format!("c{number}"), number as i64, user, item)).1.unwrap();
    }
    let last = click("c5", 10, "x", "a");
    let (key, told) = send(&last);
    let (record_key, record) = told.unwrap().remove(0);
    assert_eq!((key.as_str(), record_key.as_str()), ("x", "x"));
    assert_eq!((&record["user"], &record["support"], &record["status"]), (&json!("x"), &json!(1), &json!("ok")));
    assert_eq!((items(&record), &record["fallback"]), (vec!["b", "c"], &json!(null)));
    assert_eq!((&record["items"][0]["reason"], &record["label of the row"]), (&json!("next"), &json!("personal")));
    assert_eq!(record["score of the row"], record["items"][0]["score"]);
    assert_eq!((&record["history"][0]["item"], &record["affinity"]["half_life_ms"]), (&json!("a"), &json!(30 * 86_400_000_i64)));
    assert_eq!(record["affinity"]["weights"], json!({ "Drama": 1.0 }), "the film's category came from the other topic");
    assert_eq!(record["reference_time_ms"], json!((START_S + 10) * 1_000));
    let again = send(&last).1.unwrap().remove(0).1;
    assert_eq!((&again["support"], &again["status"], &again["history"]), (&json!(1), &json!("passed_over"), &record["history"]));
    let late = send(&click("c6", 8, "x", "c")).1.unwrap().remove(0).1;
    assert_eq!((&late["status"], &late["support"]), (&json!("late"), &json!(2)));
    let ask = json!({ "id": "q", "kind": "request", "user": "new", "time": (START_S + 20) * 1_000 });
    for _ in 0..2 {
        let new = send(&ask).1.unwrap().remove(0).1;
        assert_eq!((&new["fallback"], &new["label of the row"]), (&json!("new_user"), &json!("new_user")));
        assert_eq!((items(&new)[0], &new["support"], &new["history"]), ("a", &json!(0), &json!([])));
    }
    assert_eq!(send(&json!({ "id": "x", "kind": "rate", "user": "u", "time": 1 })).1, Err("missing_field"));
}

/// Would catch: vectors that are lost between `embed` and the fold, vectors of two models in one sum, a record that does not say
/// whose vectors it is made of, a new film without neighbours.
#[test]
fn the_shipped_chain_carries_vectors_of_one_model() {
    let mut config = sample("recommend-vectors.toml");
    let named = config.models.get_mut("minilm").unwrap();
    named.path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/sentiment-en");
    let (mut clicks, mut movies) = (Stage::of(&config, "clicks"), Stage::of(&config, "movies"));
    let model = movies.function.spec().model.clone();
    let interest = config.recommend.as_mut().and_then(|signals| signals.interest.as_mut()).unwrap();
    assert_eq!((interest.dimensions, interest.model.split('@').next()), (384, model.split('@').next()));
    interest.model.clone_from(&model);
    let mut recommend = Stage::of(&config, "recommend");
    assert_eq!(recommend.function.spec().model, model);
    assert!([&clicks, &movies].iter().all(|stage| stage.pipeline.output_topic() == recommend.pipeline.topic[0]));
    let (key, mut described) = movies.one(&film("m1", "a", "A sad film"));
    assert_eq!((key.as_str(), &described["event"]["title"]), ("a", &json!("A sad film")));
    recommend.run(&described).unwrap();
    described["event"] = film("m2", "b", "The other model's film");
    described["model"] = json!("minilm@000000000000");
    recommend.run(&described).unwrap();
    let (key, near) = movies.one(&film("m3", "c", "A sad film again"));
    let of_item = recommend.one(&near);
    assert_eq!((key, &of_item.1["label of the row"]), (of_item.0, &json!("cold_item")));
    assert_eq!(items(&of_item.1["similar"]), ["a"], "not b: its vector is of another model");
    let mut take = |id: &str, second: i64, item: &str| {
        let (_, click) = clicks.one(&click(id, second, "u", item));
        recommend.run(&click).unwrap()
    };
    let first = take("c1", 1, "a");
    let support = |record: &Value| record["interest"]["support"].clone();
    assert_eq!((first[0].0.as_str(), first[1].0.as_str()), ("u", "a"), "one record of the user, one of the item");
    assert_eq!((&first[0].1["interest"]["model"], support(&first[0].1)), (&json!(model), json!(1)));
    assert_eq!((items(&first[0].1), &first[0].1["items"][0]["reason"]), (vec!["c"], &json!("interest")));
    assert_eq!(first[1].1["popularity"]["day"], json!({ "weight": 1.0, "half_life_ms": 86_400_000 }));
    assert_eq!((support(&take("c2", 2, "b")[0].1), support(&take("c3", 3, "c")[0].1)), (json!(1), json!(2)));
}

/// A function over the fold's answers to small events.
fn told(signals: &str, options: Value, events: &[Value]) -> Vec<Outcome> {
    let signals: Signals = toml::from_str(signals).unwrap();
    let mut fold = InMemory::new(RecommendFold::new(&signals));
    let function = Recommend::new(&signals, options.as_object().unwrap()).unwrap();
    let input = |(number, value): (usize, &Value)| {
        let mut input = crate::function::offline::input(number, value);
        input.event.event_time_ms = START_S * 1_000 + number as i64;
        input.features = Some(fold.apply(&input.event).unwrap());
        input
    };
    let slice: Vec<Input> = events.iter().enumerate().map(input).collect();
    futures_util::FutureExt::now_or_never(function.call(&slice)).unwrap().unwrap()
}

fn words(outcomes: &[Outcome]) -> Vec<String> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Emit(predictions) => predictions
            .iter()
            .map(|one| format!("{}:{}", one.key.as_deref().unwrap_or("-"), one.label.as_deref().unwrap_or("-")))
            .collect::<Vec<_>>()
            .join(" "),
        Outcome::Skip(word) => format!("skip {word}"),
        Outcome::Reject(rejection) => rejection.code.into(),
    };
    outcomes.iter().map(word).collect()
}

/// Would catch: a list that nobody asked for, a skip without its reason, an empty list that passes for one, a score that is no number.
#[test]
fn what_is_emitted_is_what_was_asked_for() {
    let signals = "popularity = [{ name = 'p' }]\nblend = { weights = { p = 1.0 }, on_request = true }";
    let events = [
        json!({ "kind": "request", "user": "u" }),
        json!({ "kind": "item", "item": "a" }),
        json!({ "kind": "view", "user": "u", "item": "a" }),
        json!({ "kind": "request", "user": "v" }),
        json!({ "kind": "request", "user": "u" }),
    ];
    for (emit, expected) in [
        (json!(["recommend"]), ["u:cold", "skip item", "skip no_request", "v:personal", "u:cold"]),
        (json!(["recommend", "signals"]), ["u:cold", "skip item", "u:-", "v:personal", "u:cold"]),
        (json!(["items"]), ["skip no_item", "a:item", "a:item", "skip no_item", "skip no_item"]),
        (json!(["signals", "items"]), ["u:-", "a:item", "u:- a:item", "v:-", "u:-"]),
    ] {
        let outcomes = told(signals, json!({ "emit": emit }), &events);
        assert_eq!(words(&outcomes), expected, "{emit}");
        let Outcome::Emit(first) = &outcomes[if emit == json!(["items"]) { 1 } else { 0 }] else { panic!("{emit}") };
        assert!(first[0].score.is_none_or(f64::is_finite), "{:?}", first[0].score);
    }
}

/// Would catch: an event that is scored without its fold, and options that ask for what no signal makes.
#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    let refused = |signals: &str, options: Value| {
        let signals: Signals = toml::from_str(signals).unwrap();
        Recommend::new(&signals, options.as_object().unwrap()).err().unwrap_or_default()
    };
    for (signals, options, part) in [
        ("", json!({ "emit": [] }), "`emit` is empty"),
        ("", json!({ "emit": ["recommend"] }), "[recommend.blend]"),
        ("", json!({ "emit": ["interest"] }), "[recommend.interest]"),
        ("", json!({ "emit": ["lists"] }), "lists"),
        ("", json!({ "emits": [] }), "emits"),
        ("", json!({}), ""),
    ] {
        let error = refused(signals, options.clone());
        assert!(error.contains(part) && error.is_empty() == part.is_empty(), "{options}: {error}");
    }
    let function = Recommend::new(&Signals::default(), &Map::new()).unwrap();
    let mut input = crate::function::offline::input(0, &json!({ "kind": "view", "user": "u", "item": "a" }));
    for features in [None, Some(Features { numbers: [1.0].into(), ..Features::default() })] {
        input.features = features;
        match function.one(&input) {
            Err(CallError::Fatal(why)) => assert!(why.contains("[recommend]"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
