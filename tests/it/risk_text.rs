//! The shipped sample `risk-text` on real neighbours: what a language model says of an account's memos is a feature of its payments.

use crate::support::stage::{Plan, SOON, Stage};
use crate::support::{create_topic, read_committed};
use millrace::function::Outcome;
use millrace::function::sentiment::Sentiment;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const DAY_MS: i64 = 86_400_000;
/// When the payments are made.
const NOW_MS: i64 = 1_760_000_000_000;

/// Account, days before the payments, text. The first memo of `a` is too old for the window, that of `b` just not.
const MEMOS: [(&str, i64, &str); 7] = [
    ("a", 31, "Thank you, everything was lovely."),
    ("a", 20, "The parcel never came and nobody answers. Terrible."),
    ("b", 29, "A wonderful shop, I will buy here again."),
    ("a", 9, "I want my money back, this is a scam."),
    ("b", 3, "Worst purchase of my life."),
    ("a", 1, "Still nothing. I am very angry and disappointed."),
    ("b", 1, "All settled, great service."),
];

/// The sample with names of its own, and the files that it names.
async fn sample(stage: &Stage) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let samples = root.join("deploy/samples");
    let folder = stage.config().parent().unwrap().to_owned();
    for file in ["risk-text-rules.toml", "risk-policy.toml"] {
        std::fs::copy(samples.join(file), folder.join(file)).unwrap();
    }
    let own = std::fs::read_to_string(stage.config()).unwrap();
    let mut text = std::fs::read_to_string(samples.join("risk-text.toml")).unwrap();
    text = text.replace("../../models", root.join("models").to_str().unwrap());
    for name in ["memos", "payments", "accounts", "account-risk", "accounts.scored"] {
        text = text.replace(&format!("\"{name}\""), &format!("\"{}-{name}\"", stage.name));
    }
    let (connections, _) = own.split_once("[[pipeline]]").unwrap();
    std::fs::write(stage.config(), format!("{connections}\n{text}")).unwrap();
    for topic in ["memos", "payments", "accounts", "accounts.scored"] {
        create_topic(&format!("{}-{topic}", stage.name), 2).await;
    }
    for pipeline in ["memos", "payments", "account-risk"] {
        create_topic(&format!("{}-{pipeline}.dead-letters", stage.name), 1).await;
    }
}

fn send(producer: &BaseProducer, stage: &Stage, topic: &str, key: &str, event: &Value) {
    let (topic, event) = (format!("{}-{topic}", stage.name), event.to_string());
    producer.send(BaseRecord::to(&topic).key(key).payload(&event)).map_err(|(error, _)| error).unwrap();
}

/// Would catch: a chain whose stages do not meet, a score of another memo, account or label, a memo outside the window, payments that
/// are refused for what only memos have, memos that are scored as payments.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_writes_is_a_feature_of_what_it_pays() {
    let stage = Stage::of(Plan::default()).await;
    sample(&stage).await;
    let producer = stage.producer();
    for (number, (account, days, memo)) in MEMOS.iter().enumerate() {
        let event = json!({ "id": format!("m{number}"), "account": account, "memo": memo, "time": NOW_MS - days * DAY_MS });
        send(&producer, &stage, "memos", account, &event);
    }
    producer.flush(SOON).unwrap();
    let mut worker = stage.worker();
    let memos = MEMOS.len() as i64;
    stage.decided(2 * memos).await;
    let paid = [("a", 400.0), ("a", 700.0), ("b", 1500.0), ("c", 9000.0)];
    for (number, (account, amount)) in paid.iter().enumerate() {
        let event =
            json!({ "id": format!("t{number}"), "account": account, "amount": amount, "currency": "EUR", "time": NOW_MS });
        send(&producer, &stage, "payments", account, &event);
    }
    producer.flush(SOON).unwrap();
    stage.decided(2 * (memos + 4)).await;
    worker.signal("-TERM");
    assert_eq!(worker.end().code(), Some(0), "{}", stage.log());

    let scored: BTreeMap<String, Value> = read_committed(&format!("{}-accounts.scored", stage.name))
        .iter()
        .map(|seen| serde_json::from_slice::<Value>(&seen.payload).unwrap())
        .map(|value| (value["event_id"].as_str().unwrap().to_owned(), value))
        .collect();
    assert_eq!(scored.keys().collect::<Vec<_>>(), ["t0", "t1", "t2", "t3"], "payments are scored, and memos are not");
    assert_eq!(stage.rows().await.values().filter(|(kind, _)| kind == "dead_letter").count(), 0);
    let said = negative(&MEMOS.map(|(.., memo)| memo)).await;
    let of = |account: &str| -> Vec<f64> {
        let inside = MEMOS.iter().zip(&said).filter(|((of, days, _), _)| *of == account && *days < 30);
        inside.map(|(_, negative)| *negative).collect()
    };
    for (number, account, paid_1d) in [(0, "a", 400.0), (1, "a", 1100.0), (2, "b", 1500.0), (3, "c", 9000.0)] {
        let (found, expected) = (&scored[&format!("t{number}")]["features"], of(account));
        assert_eq!(found["amount"], paid[number].1, "{found}");
        assert_eq!(
            (found["paid_1d"].as_f64(), found["memos_30d"].as_f64()),
            (Some(paid_1d), Some(expected.len() as f64)),
            "{found}"
        );
        let Some(last) = expected.last() else {
            assert!(found["negative_mean_30d"].is_null() && found["negative_last_30d"].is_null(), "{found}");
            continue;
        };
        let mean = expected.iter().sum::<f64>() / expected.len() as f64;
        for (name, expected) in [("negative_mean_30d", mean), ("negative_last_30d", *last)] {
            let found = found[name].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-6, "t{number}, {name}: {found}, {expected} when called directly");
        }
    }
    let decisions: Vec<&Value> = scored.values().map(|value| &value["decision"]).collect();
    assert_eq!(decisions, ["approve", "review", "approve", "approve"], "angry, and more than 1000 in a day: {scored:?}");
}

/// How negative the model finds each text, asked without a stream.
async fn negative(texts: &[&str]) -> Vec<f64> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/sentiment-en");
    let sentiment = tokio::task::block_in_place(|| Sentiment::load(folder)).unwrap();
    let texts: Vec<Option<&str>> = texts.iter().map(|text| Some(*text)).collect();
    let score = |outcome: Outcome| match outcome {
        Outcome::Emit(predictions) => predictions[0].fields["scores"]["negative"].as_f64().unwrap(),
        other => panic!("{other:?}"),
    };
    sentiment.answer(&texts).await.unwrap().into_iter().map(score).collect()
}
