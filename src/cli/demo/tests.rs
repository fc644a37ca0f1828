use super::clicks;
use super::streams::Ends;
use super::transactions::{Transactions, What, until_day};
use crate::config::{Config, Pipeline};
use crate::function::offline;
use crate::inference::{Options, Registry};
use crate::scoring::{Policy, Reasons};
use crate::worker::{build, folds};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

fn load(file: &str) -> Config {
    Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file), &BTreeMap::new()).unwrap()
}

fn pipeline<'a>(config: &'a Config, function: &str) -> &'a Pipeline {
    config.pipeline.iter().find(|pipeline| pipeline.function == function).unwrap()
}

/// What the pipeline of that function answers to events.
async fn answers(config: &Config, function: &str, events: &[Value]) -> Vec<Value> {
    let pipeline = pipeline(config, function);
    let function = build::function(config, pipeline, &Registry::new(Options::default())).unwrap();
    let mut sitting = folds::offline(config, pipeline).sitting();
    let mut answers = Vec::new();
    for slice in events.chunks(1_000) {
        answers.extend(offline::call(&*function, &mut *sitting, answers.len(), slice).await.unwrap());
    }
    answers
}

/// The share of pairs of a fraud and an honest payment in which the fraud has the higher score; half of it where both have the same.
fn auc(scored: &[(f64, bool)]) -> f64 {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut won, mut honest, mut frauds) = (0.0, 0.0, 0.0);
    for same in sorted.chunk_by(|a, b| a.0 == b.0) {
        let of_fraud = same.iter().filter(|(_, fraud)| *fraud).count() as f64;
        let of_honest = same.len() as f64 - of_fraud;
        won += of_fraud * (honest + of_honest / 2.0);
        honest += of_honest;
        frauds += of_fraud;
    }
    won / (honest * frauds)
}

#[test]
fn a_pair_of_equal_scores_counts_half() {
    assert_eq!(auc(&[(0.1, false), (0.9, true), (0.5, false), (0.5, true)]), 0.875);
}

/// Would catch: a model of other features, or one that has learned nothing, files that do not fit it, a reason without a text.
#[tokio::test]
async fn the_starter_model_finds_fraud_that_it_has_not_seen() {
    let config = load("deploy/samples/demo.toml");
    let mut payments = Transactions::new(4711).peekable();
    let events: Vec<_> = until_day(&mut payments, 40).collect();
    let bodies: Vec<Value> = events.iter().map(|event| serde_json::from_str(&event.body).unwrap()).collect();
    let (mut scored, mut by_amount, mut explained) = (Vec::new(), Vec::new(), 0);
    for (event, answer) in events.iter().zip(answers(&config, "risk", &bodies).await) {
        let What::Payment { fraud, .. } = event.what else {
            assert_eq!(answer["skipped"], "label", "{answer}");
            continue;
        };
        assert_eq!(answer["status"], "ok", "{answer}");
        scored.push((answer["probability"].as_f64().unwrap(), fraud.is_some()));
        by_amount.push((answer["features"]["amount"].as_f64().unwrap(), fraud.is_some()));
        explained += answer["reasons"].as_array().map_or(0, Vec::len);
    }
    // The first days meet an empty history, and count.
    let (model, amount) = (auc(&scored), auc(&by_amount));
    assert!(model > 0.93 && model > amount + 0.05, "the model has AUC {model}, the amount alone {amount}");
    assert!(explained > 0);
}

/// Would catch: a model that is trained on other features than the demo has, reasons that name none of them.
#[test]
fn what_is_trained_on_is_what_is_scored() {
    let (demo, trained) = (load("deploy/samples/demo.toml"), load("models/risk-starter/features.toml"));
    let declared = demo.risk_of(pipeline(&demo, "risk")).unwrap();
    assert_eq!(Some(declared), trained.risk_of(&trained.pipeline[0]));
    let names: Vec<String> = declared.feature.iter().map(|feature| feature.name.clone()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/risk-starter");
    Reasons::load(&folder.join("reasons.toml"), &names).unwrap();
    Policy::load(&folder.join("policy.toml")).unwrap();
}

/// Would catch: a sample that does not unpack, a film that is rated before it is told of or told of twice, a list that nobody asked
/// for, two ratings that cannot be told apart, bad events that are taken.
#[tokio::test]
async fn the_sample_of_clicks_is_what_the_pipeline_reads() {
    let (config, sample) = (load("deploy/samples/demo.toml"), clicks::Sample::read().unwrap());
    assert_eq!(sample.ratings.len(), 8_000);
    let keys: HashSet<_> = sample.ratings.iter().map(|rating| (&rating.user, rating.time)).collect();
    assert_eq!(keys.len(), 8_000);
    let (history, live) = sample.messages();
    assert!(history.iter().all(|message| message.ends == Ends::Skipped));
    let messages: Vec<_> = history.into_iter().chain(live.into_iter().take(600)).collect();
    let bodies: Vec<Value> = messages.iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect();
    let mut told = HashSet::new();
    for (message, (body, answer)) in messages.iter().zip(bodies.iter().zip(answers(&config, "recommend", &bodies).await)) {
        let item = body["item"].as_str();
        match body["kind"].as_str().unwrap() {
            "item" => assert!(told.insert(item), "{body} is told twice"),
            "rate" => assert!(told.contains(&item), "{body} comes before its film"),
            _ => assert_eq!(answer["items"].as_array().map(Vec::len), Some(10), "{answer}"),
        }
        assert_eq!(message.ends == Ends::Skipped, answer.get("skipped").is_some(), "{body} {answer}");
        assert_eq!(message.ends == Ends::Prediction, answer["status"] == "ok", "{body} {answer}");
    }
    let bad: Vec<Value> =
        clicks::BAD.iter().map(|(_, body)| serde_json::from_str(body).unwrap_or_else(|_| (*body).into())).collect();
    let codes: Vec<Value> =
        answers(&config, "recommend", &bad).await.iter().map(|answer| answer["rejected"]["code"].clone()).collect();
    assert_eq!(codes, ["not_an_object", "missing_field", "unknown_kind", "missing_field"]);
}
