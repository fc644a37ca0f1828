//! Two pipelines that fill one topic for a third, on real neighbours.

use crate::support::create_topic;
use crate::support::stage::{Plan, SOON, Stage};
use rdkafka::producer::{BaseRecord, Producer};
use serde_json::{Value, json};

/// Would catch: events that are lost, doubled or changed where topics are merged, keys that are not the chosen ones, and a review
/// that takes a neighbour's records for its own.
#[tokio::test(flavor = "multi_thread")]
async fn two_topics_become_one_that_is_keyed_anew() {
    let function = "event = \"json\"\nfields = { id = \"id\", time = \"time\" }\nfunction = \"copy\"\n\
                    options = { pass_event = true, output_key = [\"user\", \"item\"] }";
    let stage = Stage::of(Plan { function, partitions: 2, ..Plan::default() }).await;
    let (name, films) = (&stage.name, format!("{}-films", stage.name));
    create_topic(&films, 1).await;
    let second = format!(
        "[[pipeline]]\nname = \"{films}\"\ntopic = \"{films}\"\noutput_topic = \"{name}.out\"\ndead_letter_topic = \"{name}.dead\"\n{function}\n"
    );
    let text = std::fs::read_to_string(stage.config()).unwrap();
    std::fs::write(stage.config(), format!("{text}\n{second}")).unwrap();
    let producer = stage.producer();
    let mut sent: Vec<(String, Value)> = Vec::new();
    for n in 0..200 {
        let (item, time) = (format!("film {}", n % 7), 1_760_000_000_000_i64 + n);
        let (topic, key, event) = match n % 4 {
            0 => (&films, item.clone(), json!({ "id": n, "kind": "item", "item": item, "title": "é\"", "time": time })),
            _ => {
                let event = json!({ "id": n, "kind": "view", "user": n % 5, "item": item, "x": [n as f64 / 8.0], "time": time });
                (name, (n % 5).to_string(), event)
            }
        };
        producer.send(BaseRecord::<(), _>::to(topic).payload(&event.to_string())).map_err(|(error, _)| error).unwrap();
        sent.push((key, event));
    }
    producer.flush(SOON).unwrap();
    let mut worker = stage.worker();
    stage.decided(200).await;
    let (records, _) = stage.published().await;
    let mut passed: Vec<(String, Value)> = records
        .iter()
        .map(|record| {
            let value: Value = serde_json::from_slice(&record.payload).unwrap();
            (String::from_utf8(record.key.clone().unwrap()).unwrap(), value["event"].clone())
        })
        .collect();
    passed.sort_by_key(|(_, event)| event["id"].as_i64());
    assert_eq!(passed, sent);
    worker.signal("-TERM");
    assert_eq!(worker.end().code(), Some(0), "{}", stage.log());
    let ended = stage.millrace(&["verify", "--json", "--deep", "--pipeline", &films]);
    assert!(ended.code == Some(0) && ended.json()["compared"] == 50, "{ended:?}");
}
