use super::*;
use clap::Parser;
use std::path::PathBuf;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(model: &str, input: &Path, more: &[&str]) -> Args {
    let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions").join(name);
    let (model, input) = (folder(model).display().to_string(), input.display().to_string());
    Line::parse_from([&["x", "--model", &model, "--input", &input], more].concat()).args
}

fn told(path: &Path, rows: &[Value]) -> PathBuf {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
    path.to_owned()
}

const TEXTS: [&str; 5] = ["good film", "the film was bad", "Anna lives in Paris", "so a river", "good good bad"];

/// What the model itself says is right; the last row is not.
fn rows(args: &Args, label: impl Fn(&Value) -> Value, wrong: Value) -> Vec<Value> {
    let function = open(args, &args.model, Kind::Several).unwrap();
    let events: Vec<Example> =
        TEXTS.iter().map(|text| Example { event: json!({ "text": text }), wanted: Value::Null, place: String::new() }).collect();
    let outputs = answers(&*function, 0, &events).unwrap();
    let mut rows: Vec<Value> =
        TEXTS.iter().zip(&outputs).map(|(text, output)| json!({ "text": text, "label": label(output) })).collect();
    rows[4]["label"] = wrong;
    rows
}

/// Would catch: labels above another threshold than is asked for, a number that is rounded to a label, a row that counts for another.
#[tokio::test(flavor = "multi_thread")]
async fn several_labels_and_numbers_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    tokio::task::block_in_place(|| {
        let own = args("many", &path, &["--threshold", "0.4"]);
        let names = |output: &Value| -> Value {
            output["labels"].as_array().unwrap().iter().map(|label| label["label"].clone()).collect()
        };
        told(&path, &rows(&own, names, json!([])));
        let asked = Asked::read(&own).unwrap();
        assert!(!asked.brings_labels());
        let found = measured(&own, &asked, &own.model, Kind::Several, &[]).unwrap();
        let Of::Several(figures) = &found.report.figures else { panic!("{:?}", found.report) };
        assert!((figures.exact_match - 0.8).abs() < 1e-9 && figures.micro_f1 > 0.5, "{figures:?}");
        assert_eq!(found.worth[..4], [1.0; 4]);
        let unknown = measured(&own, &asked, &own.model, Kind::Several, &["other".to_owned()]).err().unwrap().to_string();
        assert!(unknown.contains("a.jsonl line") && unknown.contains("no label"), "{unknown}");

        let own = args("regression", &path, &[]);
        let mut given = rows(&own, |output| output["score"].clone(), json!(0));
        given[4]["label"] = json!(given[3]["label"].as_f64().unwrap() + 10.0);
        told(&path, &given);
        let asked = Asked::read(&own).unwrap();
        let found = measured(&own, &asked, &own.model, Kind::Number, &[]).unwrap();
        let Of::Number(figures) = &found.report.figures else { panic!("{:?}", found.report) };
        assert!(found.worth[..4].iter().all(|worth| worth.abs() < 1e-9) && figures.mse > 10.0, "{figures:?}");
        told(&path, &[json!({ "text": "a", "label": "good" })]);
        let asked = Asked::read(&own).unwrap();
        let error = measured(&own, &asked, &own.model, Kind::Number, &[]).err().unwrap().to_string();
        assert!(error.contains("is no number"), "{error}");
    });
}

/// Would catch: the second text of a pair passed over, by a model of one label and of a number.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_are_asked_as_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    tokio::task::block_in_place(|| {
        let own = args("regression", &path, &[]);
        let function = open(&own, &own.model, Kind::Number).unwrap();
        let pair = |i: usize| json!({ "text": TEXTS[i], "text_pair": TEXTS[(i + 1) % TEXTS.len()] });
        let events = (0..TEXTS.len()).map(|i| Example { event: pair(i), wanted: Value::Null, place: String::new() });
        let outputs = answers(&*function, 0, &events.collect::<Vec<_>>()).unwrap();
        let rows: Vec<Value> = (0..TEXTS.len())
            .map(|i| {
                let mut row = pair(i);
                row["label"] = outputs[i]["score"].clone();
                row
            })
            .collect();
        told(&path, &rows);
        let asked = Asked::read(&own).unwrap();
        let found = measured(&own, &asked, &own.model, Kind::Number, &[]).unwrap();
        assert!(found.worth.iter().all(|worth| worth.abs() < 1e-9), "{:?}", found.worth);
        let alone =
            answers(&*function, 0, &[Example { event: json!({ "text": TEXTS[0] }), wanted: Value::Null, place: String::new() }]);
        assert_ne!(alone.unwrap()[0]["score"], outputs[0]["score"]);
        // One label: the labels are those of the pairs, and another second text changes one at least.
        let own = args("nli", &path, &["--json"]);
        let function = open(&own, &own.model, Kind::Several).unwrap();
        let of = |second: &str| -> Vec<Value> {
            let event = |text: &&str| Example {
                event: json!({ "text": text, "text_pair": second }),
                wanted: Value::Null,
                place: String::new(),
            };
            answers(&*function, 0, &TEXTS.iter().map(event).collect::<Vec<_>>()).unwrap()
        };
        let (first, others) = (of(TEXTS[2]), of(TEXTS[4]));
        assert_ne!(first.iter().map(|o| &o["score"]).collect::<Vec<_>>(), others.iter().map(|o| &o["score"]).collect::<Vec<_>>());
        let rows: Vec<Value> = TEXTS
            .iter()
            .zip(&first)
            .map(|(text, output)| json!({ "text": text, "text_pair": TEXTS[2], "label": output["label"] }))
            .collect();
        told(&path, &rows);
        assert_eq!(crate::cli::eval::classify::of_one_label(&own).unwrap().models[0].accuracy, 1.0);
    });
}

/// Would catch: labels of the rows that are passed over, a comparison of other rows.
#[tokio::test(flavor = "multi_thread")]
async fn labels_may_come_with_the_texts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    tokio::task::block_in_place(|| {
        let own = args("nli", &path, &["--labels", "sport,food", "--against", "none"]);
        let function = open(&own, &own.model, Kind::Chosen).unwrap();
        let event = |text: &&str| Example {
            event: json!({ "text": text, "candidate_labels": ["sport", "food"] }),
            wanted: Value::Null,
            place: String::new(),
        };
        let outputs = answers(&*function, 0, &TEXTS.iter().map(event).collect::<Vec<_>>()).unwrap();
        let mut rows: Vec<Value> =
            TEXTS.iter().zip(&outputs).map(|(text, of)| json!({ "text": text, "label": of["label"] })).collect();
        let other = if outputs[0]["label"] == "food" { "sport" } else { "food" };
        rows[0]["label"] = other.into();
        told(&path, &rows);
        let one = Args { against: None, ..own };
        let report = chosen(&one, &Asked::read(&one).unwrap()).unwrap();
        assert!((report.models[0].accuracy - 0.8).abs() < 1e-9 && report.models[0].rows == 5, "{report}");
        // The same labels in the rows.
        rows.iter_mut().for_each(|row| row["candidate_labels"] = json!("sport, food"));
        told(&path, &rows);
        let two = Args { labels: Vec::new(), against: Some(one.model.clone()), ..one };
        let asked = Asked::read(&two).unwrap();
        assert!(asked.brings_labels());
        let report = chosen(&two, &asked).unwrap();
        assert!((report.models[0].accuracy - 0.8).abs() < 1e-9, "{report}");
        assert_eq!(report.compared.unwrap().p_value, 1.0);
        let many = Args { options: "{\"multi_label\": true, \"threshold\": 0.0}".into(), against: None, ..two };
        assert!(several_may_hold(&many).unwrap());
        let found = measured(&many, &asked, &many.model, Kind::Chosen, &[]).unwrap();
        let Of::Several(figures) = found.report.figures else { panic!("{:?}", found.report) };
        assert!(figures.exact_match == 0.0 && (figures.micro_f1 - 2.0 / 3.0).abs() < 1e-9, "{figures:?}");
    });
}
