//! From labelled texts to a classifier that answers, with the program itself.

use millrace::inference::{Backbones, Encoder, Head, InferenceError, Options};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The encoder that lies in the repository.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

fn millrace(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millrace")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Three intents, twelve texts each.
fn intents(folder: &Path) -> PathBuf {
    let things = ["card", "parcel", "order", "phone", "shoes", "ticket", "book", "lamp", "coat", "chair", "watch", "bag"];
    let mut file = String::from("text,intent\n");
    for thing in things {
        file += &format!("where is my {thing}? it has not arrived,delivery\n");
        file += &format!("I want my money back for the {thing},refund\n");
        file += &format!("\"thank you, the {thing} is wonderful\",praise\n");
    }
    let path = folder.join("intents.csv");
    fs::write(&path, file).unwrap();
    path
}

/// Would catch: a head that is read otherwise than it was written, labels in another order, a card or matrix that is not written.
#[test]
fn a_probe_learns_intents_and_answers_through_the_same_program() {
    let folder = tempfile::tempdir().unwrap();
    let (train, out) = (intents(folder.path()), folder.path().join("intent"));
    for recipe in ["probe", "centroid"] {
        let encoder = shipped("minilm-en");
        let args =
            ["train", "--recipe", recipe, "--from", encoder.to_str().unwrap(), "--train", train.to_str().unwrap(), "--out"];
        let trained = millrace(&[&args[..], &[out.to_str().unwrap()]].concat());
        assert!(trained.status.success(), "{}", text(&trained.stderr));
        let said = text(&trained.stdout);
        assert!(said.contains("dev accuracy 100.00"), "{recipe}: {said}");
        let asked = Encoder::open("intent", &out, None, &Options::default()).unwrap();
        assert_eq!(asked.labels().unwrap(), ["delivery", "praise", "refund"]);
        let answers = asked
            .answer_blocking(Head::Classify, vec!["my letter did not come yet".into(), "give me a refund please".into()])
            .unwrap();
        let best = |values: &[f32]| (0..3).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
        assert_eq!((best(&answers[0].values), best(&answers[1].values)), (0, 2), "{recipe}: {answers:?}");
        assert!(answers.iter().all(|answer| (answer.values.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    }
    for file in ["confusion.svg", "confusion.csv", "README.md"] {
        assert!(!fs::read_to_string(out.join(file)).unwrap().is_empty(), "{file}");
    }
    assert!(fs::read_to_string(out.join("README.md")).unwrap().contains("--task label "));
    let measured = millrace(&[
        "eval",
        "classify",
        "--model",
        out.to_str().unwrap(),
        "--input",
        train.to_str().unwrap(),
        "--against",
        out.to_str().unwrap(),
        "--json",
    ]);
    let report: serde_json::Value =
        serde_json::from_slice(&measured.stdout).unwrap_or_else(|_| panic!("{}", text(&measured.stderr)));
    assert_eq!((report["models"][0]["rows"].as_u64(), report["compared"]["p_value"].as_f64()), (Some(36), Some(1.0)));
    assert!(report["models"][0]["accuracy"].as_f64().unwrap() > 0.97, "{report}");
}

/// Would catch: a head that answers from another encoder than it was trained on, and weights that are held twice.
#[test]
fn heads_share_their_encoder_and_know_it() {
    let folder = tempfile::tempdir().unwrap();
    let (train, out) = (intents(folder.path()), folder.path().join("intent"));
    let encoder = shipped("minilm-en");
    let args =
        ["train", "--recipe", "centroid", "--from", encoder.to_str().unwrap(), "--train", train.to_str().unwrap(), "--out"];
    assert!(millrace(&[&args[..], &[out.to_str().unwrap()]].concat()).status.success());
    let options = Options { backbones: Backbones::default(), ..Options::default() };
    let whole = Encoder::open("whole", &encoder, None, &options).unwrap();
    let head = Encoder::open("head", &out, None, &options).unwrap();
    assert!(whole.shares_backbone(&head));
    assert!(!whole.shares_backbone(&Encoder::open("other", &encoder, None, &Options::default()).unwrap()));

    let config = fs::read_to_string(out.join("config.json")).unwrap();
    let digest = whole.digest().as_str().to_owned();
    let other = "0".repeat(64);
    fs::write(out.join("config.json"), config.replace(&digest, &other)).unwrap();
    let error = Encoder::open("head", &out, None, &options).err().unwrap();
    assert!(matches!(&error, InferenceError::Unsupported { cause, .. } if cause.contains(&digest)), "{error}");
    fs::write(out.join("config.json"), config.replace("minilm-en", "absent")).unwrap();
    let error = Encoder::open("head", &out, None, &options).err().unwrap().to_string();
    assert!(error.contains("absent/config.json"), "{error}");
}

/// Would catch: a smaller model that is kept though its answers are others.
#[test]
fn a_copy_that_lost_too_much_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts.txt");
    fs::write(&texts, (0..60).map(|i| format!("Where is parcel number {i}?\n")).collect::<String>()).unwrap();
    let copy = |form: &str| {
        let out = folder.path().join(form);
        let (from, to, texts) = (shipped("minilm-en"), out.to_str().unwrap().to_owned(), texts.to_str().unwrap().to_owned());
        let done = millrace(&["models", "quantize", from.to_str().unwrap(), &to, "--texts", &texts, "--form", form]);
        (done, out)
    };
    let (done, out) = copy("f16");
    assert!(done.status.success(), "{}", text(&done.stderr));
    let vectors = |folder: &Path| {
        let encoder = Encoder::open("x", folder, None, &Options::default()).unwrap();
        encoder.answer_blocking(Head::Embed, vec!["Where is my parcel?".into()]).unwrap().swap_remove(0).values
    };
    let (a, b) = (vectors(&shipped("minilm-en")), vectors(&out));
    assert!(a.iter().zip(&b).map(|(x, y)| x * y).sum::<f32>() > 0.99999);
    // A weight that half precision cannot hold.
    let file = fs::read(out.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let name = "encoder.layer.0.attention.self.key.weight";
    let large: Vec<u8> = (0..384 * 384).flat_map(|i| (if i == 5 { 1e6f32 } else { 0.01 }).to_le_bytes()).collect();
    let view = |(of, view): (String, safetensors::tensor::TensorView<'_>)| {
        let bytes = if of == name { large.clone() } else { view.data().to_vec() };
        let dtype = if of == name { safetensors::Dtype::F32 } else { view.dtype() };
        (of, dtype, view.shape().to_vec(), bytes)
    };
    let held: Vec<_> = tensors.tensors().into_iter().map(view).collect();
    let views = held.iter().map(|(n, d, s, b)| (n.as_str(), safetensors::tensor::TensorView::new(*d, s.clone(), b).unwrap()));
    fs::write(out.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let lossy = folder.path().join("lossy");
    let (from, to, texts) = (out.to_str().unwrap(), lossy.to_str().unwrap(), texts.to_str().unwrap());
    let done = millrace(&["models", "quantize", from, to, "--texts", texts, "--form", "f16"]);
    assert!(!done.status.success() && !lossy.exists(), "{}", text(&done.stderr));
    let again = copy("f16").0;
    assert!(!again.status.success() && text(&again.stderr).contains("is there already"), "{}", text(&again.stderr));
}

/// A folder with a network to be drawn: two layers of 32, and the tokenizer of the shipped encoder.
fn drawn(folder: &Path) -> PathBuf {
    let base = folder.join("drawn");
    fs::create_dir_all(&base).unwrap();
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(shipped("minilm-en").join("config.json")).unwrap()).unwrap();
    for (key, value) in [("hidden_size", 32), ("num_hidden_layers", 2), ("num_attention_heads", 2), ("intermediate_size", 64)] {
        config[key] = value.into();
    }
    fs::write(base.join("config.json"), config.to_string()).unwrap();
    fs::copy(shipped("minilm-en").join("tokenizer.json"), base.join("tokenizer.json")).unwrap();
    base
}

fn train(base: &Path, file: &Path, out: &Path, more: &[&str]) -> Output {
    let paths = ["train", "--from", base.to_str().unwrap(), "--train", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    millrace(&[&paths[..], &["--prune-vocabulary", "--checks", "1", "--seed", "3"], more].concat())
}

/// Would catch: a run that stops because of a blank line or of the rows that it chose itself to measure on, layers that stay as they were
/// drawn, a run that a signal loses.
#[test]
fn what_stops_a_run_is_the_fault_of_its_files_or_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (base, out) = (drawn(folder.path()), folder.path().join("out"));
    let path = folder.path().join("rows.jsonl");
    // Half of the texts have a label of their own, those that would be measured on too.
    let one = |i: usize| format!("{{\"text\": \"text {i}\", \"spans\": [[0, 4, \"of {}\"]]}}\n", i.min(30));
    fs::write(&path, format!(" \n\n{}", (0..60).map(one).collect::<String>())).unwrap();
    let refused = train(&base, &path, &out, &["--tune-layers", "1"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("--tune-layers"), "{}", text(&refused.stderr));
    let plan = ["--epochs", "20", "--batch", "4", "--keep-seconds", "3600"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["train", "--prune-vocabulary", "--checks", "1", "--seed", "3", "--from"])
        .arg(&base)
        .arg("--train")
        .arg(&path)
        .arg("--out")
        .arg(&out)
        .args(plan)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !out.join("runs").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before the signal");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let stopped = child.wait_with_output().unwrap();
    assert!(!stopped.status.success() && text(&stopped.stderr).contains("--resume"), "{}", text(&stopped.stderr));
    let done = train(&base, &path, &out, &[&plan[..], &["--resume"]].concat());
    assert!(done.status.success() && text(&done.stdout).contains("goes on behind step"), "{}", text(&done.stderr));
    assert!(!out.join(".training").exists() && out.join("README.md").exists());
}

/// Would catch: a head that the functions read otherwise than it was trained, a threshold that nobody reads, a folder without a limit.
#[test]
fn every_head_is_trained_from_nothing_and_answers_through_its_function() {
    let folder = tempfile::tempdir().unwrap();
    let (base, out) = (drawn(folder.path()), folder.path().join("out"));
    let things = ["card", "parcel", "order", "phone", "shoes", "ticket", "book", "lamp", "coat", "chair", "watch", "bag"];
    let places = ["Paris", "London", "Berlin", "Rome", "Madrid", "Vienna"];
    let (mut lists, mut spans, mut questions) = (String::new(), String::new(), String::new());
    for (i, thing) in things.iter().cycle().take(120).enumerate() {
        let place = places[i % places.len()];
        let labels = match i % 3 {
            0 => "[\"late\", \"angry\"]",
            1 => "[\"late\"]",
            _ => "[]",
        };
        let words = ["my {} is late and i am angry", "my {} is late", "my {} is here"][i % 3].replace("{}", thing);
        lists += &format!("{{\"text\": \"{words} {i}\", \"labels\": {labels}}}\n");
        spans += &format!("the\tO\n{thing}\tB-thing\nis\tO\nin\tO\n{place}\tB-place\n\n");
        let context = format!("The {thing} number {i} is in {place} today.");
        let start = context.find(place).unwrap();
        questions += &format!(
            "{{\"question\": \"Where is it?\", \"context\": \"{context}\", \"answers\": {{\"text\": [\"{place}\"], \"answer_start\": [{start}]}}}}\n"
        );
    }
    for (file, content, task, said) in [
        ("lists.jsonl", lists, "labels", "micro-F1"),
        ("spans.conll", spans, "tag", "dev F1"),
        ("questions.jsonl", questions, "answer", "exact match"),
    ] {
        let path = folder.path().join(file);
        fs::write(&path, content).unwrap();
        let done = train(&base, &path, &out, &["--epochs", "12", "--lr", "5e-3", "--batch", "16"]);
        let lines = text(&done.stdout);
        assert!(done.status.success(), "{lines}{}", text(&done.stderr));
        assert!(lines.contains(&format!("task {task}, since")) && lines.contains("all weights are drawn"), "{lines}");
        let last = lines.lines().rfind(|line| line.contains(said) && !line.starts_with("step")).unwrap_or_default();
        let figure = last.split("F1 ").nth(1).and_then(|rest| rest.split(',').next()?.parse::<f64>().ok()).unwrap_or_default();
        assert!(figure > 90.0, "{task}: {last}\n{lines}");
        let config: serde_json::Value = serde_json::from_slice(&fs::read(out.join("tokenizer_config.json")).unwrap()).unwrap();
        assert_eq!(config["model_max_length"], if task == "answer" { 192 } else { 512 });
        assert!(fs::read_to_string(out.join("README.md")).unwrap().contains("--seed 3"));
        if task == "labels" {
            let config: serde_json::Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
            let encoder = Encoder::open("x", &out, None, &Options::default()).unwrap();
            let threshold = config["threshold"].as_f64().unwrap() as f32;
            assert_eq!(encoder.described().threshold, Some(threshold));
        }
    }
}

/// Would catch: a run that begins anew in silence, or goes on to other weights, after the process was killed.
#[test]
fn a_run_that_is_killed_goes_on_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, whole, cut) = (intents(folder.path()), folder.path().join("whole"), folder.path().join("cut"));
    let command = |out: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command
            .args(["train", "--new", "layers=1,hidden=16", "--tokenizer", "bpe:100", "--train"])
            .arg(&rows)
            .arg("--out")
            .arg(out);
        command.args(["--epochs", "40", "--batch", "4", "--checks", "1", "--dropout", "0.1", "--word-dropout", "0.1"]).args(more);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };
    let done = command(&whole, &[]).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(!whole.join(".training").exists() && whole.join("runs/curves.svg").exists());

    let mut child = command(&cut, &["--keep-seconds", "0"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let state = cut.join(".training/state.safetensors");
    while !state.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(state.exists() && !cut.join("model.safetensors").exists());
    for (more, said) in [(&[][..], "--resume"), (&["--resume", "--weight-decay", "0.1"], "other options")] {
        let refused = command(&cut, more).output().unwrap();
        assert!(!refused.status.success() && text(&refused.stderr).contains(said), "{}", text(&refused.stderr));
    }
    let done = command(&cut, &["--resume"]).output().unwrap();
    assert!(done.status.success() && text(&done.stdout).contains("goes on behind step"), "{}", text(&done.stderr));
    let weights = |out: &Path| fs::read(out.join("model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&cut), "the weights differ");
    assert!(!cut.join(".training").exists());
}

/// Would catch: a tokenizer that the reader of models does not know, positions or a vocabulary that do not fit, word dropout while
/// measuring.
#[test]
fn a_network_is_drawn_and_its_tokenizer_learnt_from_chinese_texts() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("reviews.tsv"), folder.path().join("zh"));
    let things = ["房间", "早餐", "服务", "位置", "网络", "电视", "空调", "前台"];
    let mut rows = String::from("label\ttext_a\n");
    for (i, thing) in things.iter().cycle().take(160).enumerate() {
        let (label, said) = [("0", "很差，不会再来"), ("1", "很好，下次再来")][i / 8 % 2];
        rows += &format!("{label}\t第{i}次住这家酒店，{thing}{said}。\n");
    }
    fs::write(&file, rows).unwrap();
    let (file, to) = (file.to_str().unwrap(), out.to_str().unwrap());
    let new = ["train", "--new", "layers=1,hidden=32,heads=1,wide=64", "--tokenizer", "bpe:120", "--train", file, "--out", to];
    let more = ["--epochs", "6", "--lr", "5e-3", "--batch", "16", "--checks", "1", "--max-tokens", "48", "--word-dropout", "0.1"];
    let done = millrace(&[&new[..], &more, &["--dropout", "0.1", "--int8"]].concat());
    let said = text(&done.stdout);
    assert!(done.status.success(), "{said}{}", text(&done.stderr));
    assert!(said.contains("tokens learnt from the training file") && said.contains("dev accuracy 100.00"), "{said}");
    let encoder = Encoder::open("zh", &out, None, &Options::default()).unwrap();
    assert_eq!((encoder.max_tokens(), encoder.labels().unwrap().len()), (48, 2));
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("--new layers=1,hidden=32,heads=1,wide=64 --tokenizer bpe:120"), "{card}");
    let refused = millrace(&["train", "--train", file, "--out", to]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("--from"), "{}", text(&refused.stderr));
}

/// Would catch: a student that learns the labels of its file though they count for nothing, a teacher that is not told in the card, options
/// that mean nothing together.
#[test]
fn a_student_learns_from_a_teacher_what_its_file_has_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (encoder, rows, to) = (shipped("minilm-en"), intents(folder.path()), at("teacher"));
    let paths = ["--from", encoder.to_str().unwrap(), "--train", rows.to_str().unwrap(), "--out", to.to_str().unwrap()];
    let teacher = millrace(&[&["train", "--recipe", "probe"][..], &paths].concat());
    assert!(teacher.status.success(), "{}", text(&teacher.stderr));
    drawn(folder.path());
    // The file to learn from has each label at the next text; that to measure on is right.
    let right = fs::read_to_string(at("intents.csv")).unwrap();
    let rows: Vec<(&str, &str)> = right.lines().skip(1).map(|line| line.rsplit_once(',').unwrap()).collect();
    let wrong = (0..rows.len()).map(|i| format!("{},{}\n", rows[i].0, rows[(i + 1) % rows.len()].1)).collect::<String>();
    fs::write(at("wrong.csv"), format!("text,intent\n{wrong}")).unwrap();
    let things = ["spoon", "fork", "knife", "plate", "bowl", "glass", "pan", "pot"];
    let forms = ["where is my {}? it has not arrived", "I want my money back for the {}", "thank you, the {} is wonderful"];
    let more = things.iter().flat_map(|thing| forms.map(|form| form.replace("{}", thing) + "\n"));
    fs::write(at("more.txt"), more.collect::<String>() + "\n").unwrap();
    let taught = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        let student = "train --from drawn --prune-vocabulary --teacher teacher --dev intents.csv --out student";
        command.current_dir(folder.path()).args(student.split(' '));
        command.args("--epochs 16 --lr 5e-3 --batch 16 --checks 1 --seed 3".split(' '));
        command.args(more).output().unwrap()
    };
    let done = taught(&["--train", "wrong.csv", "--unlabelled", "more.txt", "--hard-weight", "0"]);
    let said = text(&done.stdout);
    assert!(done.status.success(), "{said}{}", text(&done.stderr));
    assert!(said.contains("24 texts without labels, 0 of them") && said.contains("teacher: dev accuracy 100.00"), "{said}");
    let last = said.lines().rfind(|line| line.starts_with("dev accuracy")).unwrap_or_default();
    let figure = last.split(' ').nth(2).and_then(|figure| figure.trim_end_matches(',').parse::<f64>().ok()).unwrap_or_default();
    assert!(figure > 95.0, "{said}");
    let card = fs::read_to_string(at("student/README.md")).unwrap();
    let digest = Encoder::open("x", &at("teacher"), None, &Options::default()).unwrap().digest().as_str().to_owned();
    assert!(card.contains(&format!("teacher teacher, sha256 {digest}")), "{card}");
    assert!(card.contains("--teacher teacher --temperature 2 --hard-weight 0 --unlabelled more.txt"), "{card}");
    fs::write(at("words.conll"), "the\tO\ncard\tB-thing\n\n".repeat(20)).unwrap();
    for (more, words) in [
        (&["--train", "wrong.csv", "--label-names", "a,b,c"][..], "they must be the same"),
        (&["--train", "wrong.csv", "--temperature", "0"], "--temperature must be above 0"),
        (&["--train", "wrong.csv", "--hard-weight", "1"], "--hard-weight must be from 0 to below 1"),
        (&["--train", "words.conll", "--unlabelled", "more.txt"], "not of words"),
        (&["--train", "wrong.csv", "--task", "answer"], "leave --teacher out"),
    ] {
        let refused = taught(more);
        assert!(!refused.status.success() && text(&refused.stderr).contains(words), "{more:?}: {}", text(&refused.stderr));
    }
    let refused = millrace(&["train", "--train", "x.csv", "--from", "x", "--out", "y", "--temperature", "3"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("--teacher"), "{}", text(&refused.stderr));
}

/// Would catch: pairs that teach nothing, a cap that does not hold, a model that needs the encoder that it was tuned from, a body that the
/// stream's networks read otherwise.
#[test]
fn few_texts_tune_an_encoder_and_the_folder_stands_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rows = intents(folder.path());
    // A base with weights that know nothing of these labels: drawn, and trained on something else for a step.
    let other = (0..40).map(|i| format!("{} {i},{}\n", ["one two", "three four"][i % 2], i % 2)).collect::<String>();
    fs::write(at("other.csv"), format!("text,label\n{other}")).unwrap();
    let made = millrace(&[
        "train",
        "--from",
        drawn(folder.path()).to_str().unwrap(),
        "--train",
        at("other.csv").to_str().unwrap(),
        "--out",
        at("base").to_str().unwrap(),
        "--max-steps",
        "1",
        "--checks",
        "1",
    ]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    // Of each label eight texts to learn from; the rest is measured on.
    let all = fs::read_to_string(&rows).unwrap();
    let lines: Vec<&str> = all.lines().skip(1).collect();
    fs::write(at("few.csv"), format!("text,intent\n{}\n", lines[..24].join("\n"))).unwrap();
    fs::write(at("rest.csv"), format!("text,intent\n{}\n", lines[24..].join("\n"))).unwrap();
    let run = |out: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.current_dir(folder.path()).args(["train", "--recipe", "setfit", "--from", "base", "--train", "few.csv"]);
        command.args(["--dev", "rest.csv", "--out", out]).args(more).output().unwrap()
    };
    let plan = ["--pairs", "301", "--lr", "3e-3", "--train-tables", "--checks", "1"];
    let done = run("topics", &plan);
    let said = text(&done.stdout);
    assert!(done.status.success(), "{said}{}", text(&done.stderr));
    assert!(said.contains("300 pairs of 24 texts") && said.contains("tuned 19 steps"), "{said}");
    let loss = |line: &str| line.split("loss of pairs ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    let losses: Vec<f64> =
        said.lines().filter(|line| line.contains("before") || line.contains("best dev")).filter_map(loss).collect();
    assert!(losses.len() == 2 && losses[1] < 0.5 * losses[0], "{said}");
    let last = said.lines().rfind(|line| line.starts_with("dev accuracy")).unwrap_or_default();
    let figure = last.split(' ').nth(2).and_then(|figure| figure.trim_end_matches(',').parse::<f64>().ok()).unwrap_or_default();
    assert!(figure > 90.0, "a third is chance: {said}");
    let card = fs::read_to_string(at("topics/README.md")).unwrap();
    assert!(card.contains("--recipe setfit --pairs 301 --c 1,10,100") && card.contains("--batch 16"), "{card}");
    assert!(!at("topics/.training").exists() && at("topics/runs/curves.csv").exists());

    // The seed says all that is drawn.
    assert!(run("again", &plan).status.success());
    for file in ["body/model.safetensors", "model.safetensors"] {
        assert!(fs::read(at("topics").join(file)).unwrap() == fs::read(at("again").join(file)).unwrap(), "{file} differs");
    }
    for (more, words) in [
        (&["--int8"][..], "--int8 means nothing"),
        (&["--teacher", "topics"], "--teacher means nothing"),
        (&["--pairs", "1"], "--pairs must be 2"),
        (&["--task", "labels"], "--recipe full"),
    ] {
        let refused = run("refused", more);
        assert!(!refused.status.success() && text(&refused.stderr).contains(words), "{more:?}: {}", text(&refused.stderr));
    }

    fs::remove_dir_all(at("base")).unwrap();
    fs::rename(at("topics"), at("moved")).unwrap();
    let options = Options { backbones: Backbones::default(), ..Options::default() };
    let moved = Encoder::open("moved", &at("moved"), None, &options).unwrap();
    let answers = moved.answer_blocking(Head::Classify, vec!["where is my hat? it has not arrived".into()]).unwrap();
    assert!(answers[0].values[0] > answers[0].values[1].max(answers[0].values[2]), "{answers:?}");
    let body = Encoder::open("body", &at("moved/body"), None, &options).unwrap();
    assert!(body.shares_backbone(&moved) && body.labels().is_none() && body.unread().is_empty(), "{:?}", body.unread());
    let encoder = shipped("minilm-en");
    let refused = millrace(&["train", "--train", "x.csv", "--from", encoder.to_str().unwrap(), "--out", "y", "--pairs", "9"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("--pairs means nothing"), "{}", text(&refused.stderr));
}
