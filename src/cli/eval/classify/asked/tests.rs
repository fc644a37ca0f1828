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
        assert_eq!(found.worth[..4], [Some(1.0); 4]);
        let unknown = measured(&own, &asked, &own.model, Kind::Several, &["other".to_owned()]).err().unwrap().to_string();
        assert!(unknown.contains("a.jsonl line") && unknown.contains("no label"), "{unknown}");

        let own = args("regression", &path, &[]);
        let mut given = rows(&own, |output| output["score"].clone(), json!(0));
        given[4]["label"] = json!(given[3]["label"].as_f64().unwrap() + 10.0);
        told(&path, &given);
        let asked = Asked::read(&own).unwrap();
        let found = measured(&own, &asked, &own.model, Kind::Number, &[]).unwrap();
        let Of::Number(figures) = &found.report.figures else { panic!("{:?}", found.report) };
        assert!(found.worth[..4].iter().all(|worth| worth.unwrap().abs() < 1e-9) && figures.mse > 10.0, "{figures:?}");
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
        assert!(found.worth.iter().all(|worth| worth.unwrap().abs() < 1e-9), "{:?}", found.worth);
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
        let asked = Asked::read(&own).unwrap();
        assert_eq!(crate::cli::eval::classify::of_one_label(&own, asked.rows()).unwrap().models[0].accuracy, 1.0);
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

fn refused(args: &Args) -> String {
    crate::cli::eval::classify::run(args).unwrap_err().to_string()
}

/// Would catch: a label that nobody may choose and that counts as wrong, names of labels that are passed over, pairs of which every row is
/// refused.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_model_could_answer_is_refused_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    tokio::task::block_in_place(|| {
        let row = |label: &str| json!({ "text": "good film", "label": label });
        told(&path, &[row("refund"), row("Refund")]);
        for more in [&[][..], &["--options", "{\"multi_label\": true}"]] {
            let error = refused(&args("nli", &path, &[&["--labels", "refund,delay"], more].concat()));
            assert!(error.contains("a.jsonl line 2") && error.contains("\"Refund\"") && error.contains("delay"), "{error}");
        }
        let own = |label: &str| json!({ "text": "good film", "label": label, "candidate_labels": "refund, delay" });
        told(&path, &[own("refund"), own("0")]);
        let error = refused(&args("nli", &path, &[]));
        assert!(error.contains("a.jsonl line 2") && error.contains("\"0\"") && error.contains("refund"), "{error}");
        let error = refused(&args("nli", &path, &["--label-names", "refund,delay"]));
        assert!(error.contains("--label-names is for a model's own labels"), "{error}");
        told(&path, &[json!({ "premise": "good", "hypothesis": "film", "label": "refund" })]);
        let error = refused(&args("nli", &path, &["--labels", "refund,delay"]));
        assert!(error.contains("--labels is for single texts"), "{error}");
        told(&path, &[json!({ "text": "good film", "label": 1.5 })]);
        let error = refused(&args("regression", &path, &["--label-names", "a"]));
        assert!(error.contains("this one gives a number"), "{error}");
        for none in ["nan", "inf"] {
            told(&path, &[row(none)]);
            let error = refused(&args("regression", &path, &[]));
            assert!(error.contains("a.jsonl line 1") && error.contains("is no number"), "{error}");
        }
    });
}

/// Another folder of the same network, with other labels.
fn renamed(to: &Path, labels: Value, threshold: Option<f64>, network: &str) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions").join(network);
    std::fs::create_dir(to).unwrap();
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(from.join("config.json")).unwrap()).unwrap();
    (config["id2label"], config["problem_type"]) = (labels, "multi_label_classification".into());
    config["label2id"] = Value::Null;
    if let Some(threshold) = threshold {
        config["threshold"] = threshold.into();
    }
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
    to.display().to_string()
}

/// Would catch: names that several labels do not get, a comparison with a model of other labels, one label with a threshold that is a
/// number.
#[tokio::test(flavor = "multi_thread")]
async fn several_labels_have_names_and_may_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    tokio::task::block_in_place(|| {
        let known: Vec<String> = ["angry", "sad", "glad"].map(str::to_owned).to_vec();
        // The file has them as numbers.
        let numbered = |output: &Value| -> Value {
            let number = |label: &Value| ["angry", "glad", "sad"].iter().position(|name| label == name).unwrap().to_string();
            output["labels"].as_array().unwrap().iter().map(|label| number(&label["label"])).collect()
        };
        let plain = args("many", &path, &["--threshold", "0.4"]);
        let mut own = rows(&plain, numbered, json!([]));
        own.push(json!({ "text": TEXTS[0], "label": ["0", "1", "2"] }));
        told(&path, &own);
        let named = args("many", &path, &["--threshold", "0.4", "--label-names", "angry,glad,sad"]);
        let asked = Asked::read(&named).unwrap();
        let found = measured(&named, &asked, &named.model, Kind::Several, &known).unwrap();
        assert_eq!(found.worth[..4], [Some(1.0); 4]);
        let error = measured(&plain, &asked, &plain.model, Kind::Several, &known).err().unwrap().to_string();
        assert!(error.contains("Use --label-names"), "{error}");
        let few = args("many", &path, &["--label-names", "angry,glad"]);
        assert!(refused(&few).contains("2 names for the 3 labels"));
        let other = renamed(&folder.path().join("other"), json!({ "0": "furious", "1": "sad", "2": "glad" }), None, "many");
        let error = refused(&args("many", &path, &["--against", &other]));
        assert!(error.contains("different labels") && error.contains("furious"), "{error}");

        let one = renamed(&folder.path().join("one"), json!({ "0": "spam" }), Some(0.0), "single");
        told(&path, &[json!({ "text": TEXTS[0], "label": ["spam"] }), json!({ "text": TEXTS[1], "label": [] })]);
        let one = args(&one, &path, &[]);
        crate::cli::eval::classify::run(&one).unwrap();
        let found = measured(&one, &Asked::read(&one).unwrap(), &one.model, Kind::Several, &["spam".to_owned()]).unwrap();
        assert_eq!(found.worth, [Some(1.0), Some(0.0)], "each has the label, from 0 on");
    });
}

/// Would catch: a refused row that is right where nothing is wanted, that costs a model nothing, or that nobody is told of.
#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_counted_and_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    tokio::task::block_in_place(|| {
        let long = "good film ".repeat(100);
        let reject = ["--options", "{\"too_long\": \"reject\"}"];
        told(&path, &[json!({ "text": long, "label": 0 }), json!({ "text": "good", "label": 1 })]);
        let own = args("regression", &path, &reject);
        let found = measured(&own, &Asked::read(&own).unwrap(), &own.model, Kind::Number, &[]).unwrap();
        assert!(found.report.refused == 1 && found.worth[0].is_none() && found.worth[1].is_some(), "{:?}", found.report);
        told(&path, &[json!({ "text": long, "label": [] }), json!({ "text": "good", "label": ["sad"] })]);
        let own = args("many", &path, &[&reject[..], &["--threshold", "1"]].concat());
        let found = measured(&own, &Asked::read(&own).unwrap(), &own.model, Kind::Several, &[]).unwrap();
        let Of::Several(figures) = &found.report.figures else { panic!("{:?}", found.report) };
        assert_eq!((figures.exact_match, found.worth), (0.0, vec![None, Some(0.0)]));
        told(&path, &[json!({ "text": long, "label": "a" }), json!({ "text": "good", "label": "b" })]);
        let own = args("nli", &path, &[&reject[..], &["--labels", "a,b"]].concat());
        let report = chosen(&own, &Asked::read(&own).unwrap()).unwrap();
        assert_eq!((report.models[0].refused, report.models[0].rows), (1, 2));
        assert!(report.to_string().contains("2 rows, 1 of them refused"), "{report}");
        let told = serde_json::to_value(&report).unwrap();
        assert_eq!(told["models"][0]["refused"], 1);
        assert_eq!(both(&[Some(1), None, Some(3)], &[Some(4), Some(5), None]), (vec![1], vec![4]));
    });
}
