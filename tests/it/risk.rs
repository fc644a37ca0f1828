//! The function `risk` with the handbook's models: what it answers is what their libraries say.

use crate::scoring::{FOLDS, handbook, risk, table};
use millrace::config::risk::Options;
use millrace::event::{Event, Position, RawEvent};
use millrace::function::risk::{Loaded, Risk};
use millrace::function::{Function, Input, Outcome};
use millrace::scoring::{Model, Policy};
use millrace::state::Features;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

fn function(file: &Path, names: &[String], explain: &str) -> Risk {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = json!({ "explain": explain, "top_reasons": names.len(), "timings": false });
    let policy = Policy::parse("version = \"1\"\n[thresholds]\nreview = 500\n").unwrap();
    let model = Some(("handbook".to_owned(), Model::load(file).unwrap()));
    let loaded = Loaded { model, policy: Some(policy), ..Loaded::default() };
    Risk::new(&names, Options::of(options.as_object().unwrap()).unwrap(), loaded).unwrap()
}

fn input(id: u64, row: &[f64]) -> Input {
    let position = Position { topic: "t".into(), partition: 0, offset: id as i64 };
    let raw = RawEvent { position, timestamp_ms: 0, key: None, payload: Some(b"{}"[..].into()), headers: vec![] };
    let event = Event { body: None, raw, id: id.to_string().into(), key: None, event_time_ms: 0, text: None };
    Input { event, features: Some(Features { numbers: row.into(), ..Features::default() }) }
}

/// Label, score and fields of each row, in slices as large as the function takes.
async fn answers(risk: &Risk, inputs: &[Input]) -> Vec<Value> {
    let mut answers = Vec::with_capacity(inputs.len());
    for slice in inputs.chunks(risk.spec().limits.slice) {
        for outcome in risk.call(slice).await.unwrap() {
            let Outcome::Emit(mut predictions) = outcome else { panic!("{outcome:?}") };
            let prediction = predictions.remove(0);
            assert_eq!(prediction.score, prediction.fields["probability"].as_f64());
            assert_eq!(prediction.label.as_deref(), prediction.fields["decision"].as_str());
            answers.push(prediction.fields.into());
        }
    }
    answers
}

/// Would catch: features that reach the model in another order, a probability that is rounded, of another row or of another model.
#[tokio::test]
async fn the_function_scores_the_handbook_as_its_libraries() {
    let Some(folder) = risk("handbook") else { return };
    let (names, rows) = handbook(&folder);
    let fold = FOLDS[0];
    let (columns, expected) = table(&folder.join(format!("golden/test_{fold}.csv.gz")));
    let inputs: Vec<Input> = expected.iter().map(|(id, _)| input(*id, &rows[id])).collect();
    let kinds = [("xgb", "json"), ("lgb", "txt"), ("lr", "json"), ("mlp", "safetensors")];
    for (kind, ending) in kinds {
        let risk = function(&folder.join(format!("golden/{kind}_{fold}.{ending}")), &names, "review");
        let column = columns.iter().position(|name| *name == format!("p_{kind}")).unwrap();
        let (mut worst, mut reviewed) = (0.0_f64, 0);
        for (answer, (_, row)) in answers(&risk, &inputs).await.iter().zip(&expected) {
            worst = worst.max((answer["probability"].as_f64().unwrap() - row[column]).abs());
            let review = row[column] >= 0.4995;
            assert_eq!((answer["decision"] == "review", answer["status"] == "ok"), (review, true), "{kind}: {answer}");
            assert_eq!(answer.get("reasons").is_some(), review && kind != "mlp", "{kind}: {answer}");
            reviewed += usize::from(review);
        }
        eprintln!("{kind} through the function: {} rows, {reviewed} reviewed, |p - golden| <= {worst:.1e}", inputs.len());
        assert!(inputs.len() > 50_000 && reviewed > 50 && worst <= 1e-6, "{kind} is off by {worst:e}");
    }
}

/// Would catch: reasons of another row or model, a contribution that is cut or approximate.
#[tokio::test]
async fn reasons_and_what_speaks_against_add_up_to_the_margin() {
    let Some(folder) = risk("handbook") else { return };
    let (names, rows) = handbook(&folder);
    let fold = FOLDS[0];
    let (columns, shap) = table(&folder.join(format!("golden/xgb_shap_{fold}.csv.gz")));
    let inputs: Vec<Input> = shap.iter().map(|(id, _)| input(*id, &rows[id])).collect();
    let first = columns.iter().position(|name| *name == names[0]).unwrap();
    for (kind, ending) in [("xgb", "json"), ("lgb", "txt"), ("lr", "json")] {
        let file = folder.join(format!("golden/{kind}_{fold}.{ending}"));
        let model = Model::load(&file).unwrap();
        let answers = answers(&function(&file, &names, "always"), &inputs).await;
        assert_eq!(answers.len(), 1_000);
        for (answer, (id, golden)) in answers.iter().zip(&shap) {
            let reasons: HashMap<&str, f64> = answer["reasons"].as_array().unwrap().iter().map(reason).collect();
            let all = model.contributions(&rows[id]).unwrap();
            let against: f64 = all.values.iter().filter(|value| **value < 0.0).sum();
            let sum = all.bias + against + reasons.values().sum::<f64>();
            assert!((sum - answer["margin"].as_f64().unwrap()).abs() <= 1e-9, "{kind}, {id}: {sum}, {answer}");
            for (name, golden) in names.iter().zip(&golden[first..]).filter(|_| kind == "xgb") {
                let ours = reasons.get(name.as_str()).copied().unwrap_or(0.0);
                assert!((ours - golden.max(0.0)).abs() <= 1e-5, "{id}, {name}: {ours}, theirs {golden}");
            }
        }
    }
}

fn reason(reason: &Value) -> (&str, f64) {
    (reason["feature"].as_str().unwrap(), reason["contribution"].as_f64().unwrap())
}
