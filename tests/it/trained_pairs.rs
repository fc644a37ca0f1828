//! Pairs of texts and numbers, learnt and asked with the program itself.

use crate::trained_kit::{figure, refused, said, text};
use millrace::inference::{Encoder, Options, Problem};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const THINGS: [&str; 12] =
    ["card", "parcel", "order", "phone", "shoes", "ticket", "book", "lamp", "coat", "chair", "watch", "bag"];
const MOODS: [&str; 3] = ["bad", "fair", "good"];
const NEW: &str = "--new layers=2,hidden=32,heads=2 --tokenizer bpe:300";
const PLAN: &str = "--lr 2e-3 --batch 16 --checks 1 --seed 3";

/// What follows from both texts, and from neither alone.
fn inference(folder: &Path) {
    let mut rows = String::from("id\tpremise\thypothesis\tgold\n");
    for (i, thing) in THINGS.iter().cycle().take(192).enumerate() {
        let (first, second) = (i / 12 % 2, i / 24 % 2);
        let label = ["contradiction", "neutral", "entailment"][first + second];
        let (mood, like) = (["bad", "good"][first], ["hate", "like"][second]);
        rows += &format!("{i}\tthe {thing} number {i} is {mood}\tpeople {like} it\t{label}\n");
    }
    fs::write(folder.join("nli.tsv"), rows).unwrap();
}

fn called(folder: &Path, function: &str, model: &str, options: Value, asked: Value) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.current_dir(folder).args(["call", function, "--model", model, "--options", &options.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{asked}").unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{asked}: {}", text(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&done.stdout)))
}

/// Would catch: a second text that nobody reads, segments that are lost on the way, a folder that what reads pairs cannot use.
#[test]
fn a_model_of_inference_is_trained_on_pairs_and_scores_any_labels() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    inference(folder.path());
    let nli = "--train nli.tsv --label-column gold";
    let lines = said(folder.path(), &format!("train {NEW} {nli} --out nli --epochs 30 {PLAN}"));
    assert!(lines.contains("task label, since each pair of texts has one label"), "{lines}");
    // Each text alone leaves half of the rows open.
    assert!(figure(&lines, "dev accuracy", "accuracy") > 80.0, "{lines}");
    assert!(lines.contains("tokens of a pair: p50 ") && lines.contains("0 of ") && lines.contains("(--max-tokens)"), "{lines}");
    let card = fs::read_to_string(at("nli/README.md")).unwrap();
    assert!(card.contains("tokens of a pair: p50 ") && card.contains("whose text stands in an earlier one: 0"), "{card}");
    assert!(card.contains("texts from premise and hypothesis, label from gold; not read: id"), "{card}");
    for file in ["confusion.svg", "runs/curves.svg"] {
        assert!(at("nli").join(file).exists(), "{file}");
    }
    assert!(fs::read_to_string(at("nli/runs/curves.csv")).unwrap().contains("dev/macro_f1"));
    let options = json!({"candidate_labels": ["hate it", "like it"], "hypothesis_template": "people {}"});
    // Of a thing that is good "like" is entailed, "hate" is not.
    for thing in ["lamp", "card", "watch"] {
        let asked = json!(format!("the {thing} number 7 is good"));
        assert_eq!(called(folder.path(), "classify", "nli", options.clone(), asked)["label"], "like it", "{thing}");
    }
    let pair = json!({"text": "the lamp number 3 is good", "text_pair": "people hate it"});
    assert_eq!(called(folder.path(), "classify", "nli", json!({}), pair)["label"], "neutral");

    // One of the two alone, where somebody says so; and what learns from one text alone.
    let short = "--max-steps 1 --checks 1 --max-tokens 8";
    let one = said(folder.path(), &format!("train {NEW} {nli} --text-column premise --out one {short}"));
    assert!(one.contains("since each row has one label") && one.contains("tokens of a text"), "{one}");
    let both = said(folder.path(), &format!("train {NEW} {nli} --text-column hypothesis,premise --out both {short}"));
    assert!(both.contains("tokens of a pair") && both.contains(" (100.0 %) are cut at 8 (--max-tokens), "), "{both}");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/minilm-en");
    let shipped = shipped.to_str().unwrap();
    for (more, words) in [
        (format!("--from {shipped} --recipe probe"), "two texts each"),
        (format!("--from {shipped} --recipe setfit"), "two texts each"),
        (format!("{NEW} --text-column premise,body"), "no text column"),
        (format!("{NEW} --teacher nli --unlabelled nli.tsv"), "--unlabelled has single texts"),
    ] {
        let told = refused(folder.path(), &format!("train {more} {nli} --out refused"));
        assert!(told.contains(words), "{more}: {told}");
    }
    // A student of the same pairs, whose own labels count for nothing.
    let taught = format!("train {NEW} {nli} --teacher nli --hard-weight 0 --out taught --epochs 30 {PLAN}");
    let lines = said(folder.path(), &taught);
    assert!(figure(&lines, "dev accuracy", "accuracy") > 70.0, "{lines}");
}

/// Two moods of a thing, and a number that both make.
fn judged(folder: &Path) {
    let mut rows = String::new();
    let mut stars = String::from("text,stars\n");
    for (i, thing) in THINGS.iter().cycle().take(216).enumerate() {
        let (first, second) = (i / 12 % 3, i / 36 % 3);
        let number = 10.5 + 20.0 * first as f64 + 9.0 * second as f64;
        let texts =
            [(MOODS[first], "seller"), (MOODS[second], "buyer")].map(|(mood, who)| format!("{mood} {thing} {i} of the {who}"));
        rows += &format!("{{\"text\": \"{}\", \"text_pair\": \"{}\", \"label\": {number}}}\n", texts[0], texts[1]);
        stars += &format!("the {thing} {i} is {},{}\n", MOODS[first], 1 + 2 * first);
    }
    fs::write(folder.join("judged.jsonl"), rows).unwrap();
    fs::write(folder.join("stars.csv"), stars).unwrap();
}

/// Would catch: numbers in another scale than the file's, a head that `rerank` and `classify` do not take for one of numbers, a label that
/// is no number and is passed over.
#[test]
fn numbers_of_pairs_and_of_texts_are_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    judged(folder.path());
    let lines = said(folder.path(), &format!("train {NEW} --train judged.jsonl --out judge --epochs 30 {PLAN}"));
    assert!(lines.contains("task score, since each pair of texts has a number, such as 10.5; --task says otherwise"), "{lines}");
    assert!(lines.contains("numbers from 10.5 to 68.5, mean "), "{lines}");
    assert!(figure(&lines, "dev Pearson", "Spearman") > 85.0 && figure(&lines, "dev Pearson", "Pearson") > 90.0, "{lines}");
    assert!(figure(&lines, "dev Pearson", "mean error") < 6.0, "{lines}");
    let config: Value = serde_json::from_slice(&fs::read(at("judge/config.json")).unwrap()).unwrap();
    assert_eq!((&config["problem_type"], &config["id2label"]["0"]), (&"regression".into(), &"score".into()));
    let curves = fs::read_to_string(at("judge/runs/curves.csv")).unwrap();
    assert!(curves.contains(",dev/pearson,") && curves.contains(",dev/spearman,"), "{curves}");
    assert!(fs::read_to_string(at("judge/README.md")).unwrap().contains("--task score"));

    let query = json!({"query": "good lamp 7 of the seller", "texts": ["bad lamp 7 of the buyer", "good lamp 7 of the buyer"]});
    let ranked = called(folder.path(), "rerank", "judge", json!({}), query);
    assert_eq!(ranked["ranks"][0]["index"], 1, "{ranked}");
    let scores = [0, 1].map(|place| ranked["ranks"][place]["score"].as_f64().unwrap());
    assert!((scores[0] - 68.5).abs() < 9.0 && (scores[1] - 50.5).abs() < 9.0, "{scores:?}");

    // A run that goes on from there begins where this one ended: a step changes little.
    let goes =
        said(folder.path(), "train --from judge --train judged.jsonl --out further --max-steps 1 --lr 1e-6 --checks 1 --int8");
    assert!(figure(&goes, "dev Pearson", "mean error") < 6.0, "{goes}");

    // Whole numbers are labels unless somebody says otherwise.
    let task = "--train stars.csv --task score --label-names stars";
    let stars = said(folder.path(), &format!("train {NEW} {task} --out stars --epochs 20 {PLAN}"));
    assert!(figure(&stars, "dev Pearson", "Pearson") > 90.0, "{stars}");
    let given = called(folder.path(), "classify", "stars", json!({}), json!("the lamp 200 is good"));
    assert!(given["label"] == "stars" && (given["score"].as_f64().unwrap() - 5.0).abs() < 1.0, "{given}");
    let encoder = Encoder::open("stars", &at("stars"), None, &Options::default()).unwrap();
    assert_eq!(encoder.problem(), Some(Problem::Regression));
    let guessed = said(folder.path(), &format!("train {NEW} --train stars.csv --out guessed --max-steps 1 --checks 1"));
    assert!(guessed.contains("task label, since"), "{guessed}");

    let right = fs::read_to_string(at("stars.csv")).unwrap();
    fs::write(at("wrong.csv"), right.replacen(",5\n", ",five\n", 1)).unwrap();
    fs::write(at("same.csv"), "text,stars\n".to_owned() + &(0..60).map(|i| format!("row {i},3\n")).collect::<String>()).unwrap();
    let line = right.lines().position(|line| line.ends_with(",5")).unwrap() + 1;
    for (more, words) in [
        ("--train wrong.csv --task score", format!("wrong.csv line {line}: the label \"five\" is no number")),
        ("--train same.csv --task score", "all numbers to learn from are 3".to_owned()),
        ("--train stars.csv --task score --label-names a,b", "2 names for the one number".to_owned()),
        ("--train stars.csv --task score --teacher stars", "leave --teacher out".to_owned()),
        ("--train stars.csv --task score --class-weights balanced", "not for --task score".to_owned()),
    ] {
        let told = refused(folder.path(), &format!("train {NEW} {more} --out refused"));
        assert!(told.contains(&words), "{more}: {told}");
    }
    let told = refused(folder.path(), "train --from judge --train stars.csv --recipe probe --task score --out refused");
    assert!(told.contains("--recipe full"), "{told}");
}

/// Would catch: heads of pairs or numbers on a shared encoder that answer otherwise than they were trained.
#[test]
fn pairs_and_numbers_are_learnt_beside_other_tasks() {
    let folder = tempfile::tempdir().unwrap();
    inference(folder.path());
    judged(folder.path());
    // A tokenizer of all files' texts, and a network to be drawn.
    let of = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap().replace(['\t', ',', '"'], " ");
    let all = ["nli.tsv", "judged.jsonl", "stars.csv"].map(of).concat();
    let rows = all.lines().enumerate().map(|(i, line)| format!("{line},{}\n", i % 2)).collect::<String>();
    fs::write(folder.path().join("all.csv"), format!("text,label\n{rows}")).unwrap();
    said(folder.path(), &format!("train {NEW} --train all.csv --out base --max-steps 1 --checks 1"));
    fs::remove_file(folder.path().join("base/model.safetensors")).unwrap();
    let tasks = "--task nli=nli.tsv --label-column nli=gold --task judge=judged.jsonl --task stars=stars.csv --kind stars=score";
    let lines = said(folder.path(), &format!("train several --from base {tasks} --out ours --epochs 30 {PLAN}"));
    for words in ["task nli: label, since", "task judge: score, since", "task stars: score, as was said"] {
        assert!(lines.contains(words), "{words}: {lines}");
    }
    assert!(figure(&lines, "dev accuracy", "accuracy") > 75.0, "{lines}");
    for words in
        ["--model ours/nli --against ALONE --input ROWS --label-column gold", "eval classify --model ours/judge --against"]
    {
        assert!(lines.contains(words), "{words}: {lines}");
    }
    let judge = lines.lines().find(|line| line.starts_with("dev Pearson")).unwrap();
    assert!(figure(judge, "dev Pearson", "Pearson") > 80.0 && figure(&lines, "dev Pearson", "Pearson") > 90.0, "{lines}");
    let given = called(folder.path(), "classify", "ours/stars", json!({}), json!("the lamp 200 is good"));
    assert!((given["score"].as_f64().unwrap() - 5.0).abs() < 1.5, "{given}");
    let help = said(folder.path(), "train several --help");
    assert!(!help.contains("setfit"), "{help}");
}

/// Would catch: weights that the loss does not see, a card that does not name them, texts that come twice and nobody hears of.
#[test]
fn rare_labels_count_more_where_somebody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = String::from("text,label\n");
    for (i, thing) in THINGS.iter().cycle().take(192).enumerate() {
        // Of what is late a third is urgent, and nothing in the text tells which.
        let (late, urgent) = (i / 12 % 2 == 1, (i / 24 + i) % 3 == 0);
        rows += &format!(
            "the {thing} is {},{}\n",
            if late { "late" } else { "here" },
            if late && urgent { "urgent" } else { "calm" }
        );
    }
    fs::write(folder.path().join("rows.csv"), rows).unwrap();
    let data = "--train rows.csv --dev rows.csv";
    let run = |out: &str, more: &str| {
        let lines = said(folder.path(), &format!("train {NEW} {data} --out {out} {more} --epochs 12 {PLAN}"));
        (figure(&lines, "  urgent:", "recall"), lines)
    };
    let (plain, lines) = run("plain", "");
    assert!(lines.contains("in an earlier one: 168, ") && lines.contains("such as line 38 beside line 14"), "{lines}");
    let (balanced, lines) = run("balanced", "--class-weights balanced");
    assert!(plain < 0.1 && balanced > 0.9, "{plain} {balanced}: {lines}");
    assert!(lines.contains("class weights: calm 0.6000, urgent 3.0000"), "{lines}");
    let card = fs::read_to_string(folder.path().join("balanced/README.md")).unwrap();
    assert!(card.contains("--class-weights balanced") && card.contains("class weights: calm 0.6000"), "{card}");
    let (named, lines) = run("named", "--class-weights urgent=5");
    assert!(named > 0.9 && lines.contains("calm 1.0000, urgent 5.0000"), "{named}: {lines}");
    for (more, words) in [
        ("--class-weights late=2", "the labels are calm, urgent"),
        ("--class-weights urgent=0", "weight above 0"),
        ("--class-weights balanced --teacher plain", "leave out --class-weights or --teacher"),
    ] {
        let told = refused(folder.path(), &format!("train {NEW} {data} --out refused {more}"));
        assert!(told.contains(words), "{more}: {told}");
    }
    let told =
        refused(folder.path(), &format!("train --from plain --recipe probe {data} --out refused --class-weights balanced"));
    assert!(told.contains("--class-weights means nothing to this recipe"), "{told}");
}
