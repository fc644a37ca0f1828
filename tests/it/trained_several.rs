//! One encoder with several heads, trained and asked with the program itself.

use millrace::inference::{Backbones, Encoder, Head, Options, best};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `train several` in `folder` with the base, the three tasks and the settings of these tests.
fn command(folder: &Path, out: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.current_dir(folder).args(["train", "several", "--from", "base", "--out", out]);
    command.args("--task intent=intents.csv --task state=states.jsonl --task words=words.conll".split(' '));
    command.args("--dev words=words.conll --label-names intent=delivery,praise,refund".split(' '));
    command.args("--epochs 16 --lr 5e-3 --batch 16 --checks 1 --seed 3".split(' ')).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, out: &str, more: &[&str]) -> Output {
    command(folder, out, more).output().unwrap()
}

/// A tokenizer of whole words; all others are one.
fn tokenizer(texts: &str) -> Value {
    let words: BTreeSet<String> = texts.to_lowercase().split(|c: char| !c.is_alphabetic()).map(str::to_owned).collect();
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let tokens: Vec<String> = special.into_iter().chain(words.into_iter().filter(|word| !word.is_empty())).collect();
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(i, token)| (token.clone(), json!(i))).collect();
    let added = [0, 1, 2, 3, 4].map(|id: usize| json!({"id": id, "content": tokens[id], "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}));
    let of = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": u32::from(name == "B")}});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null, "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [of("[CLS]"), text("A"), of("[SEP]")], "pair": [of("[CLS]"), text("A"), of("[SEP]"), text("B"), of("[SEP]")],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary}
    })
}

/// A network to be drawn, two layers of 32, and three files of rows.
fn prepare(folder: &Path) {
    let things = ["card", "parcel", "order", "phone", "shoes", "ticket", "book", "lamp", "coat", "chair", "watch", "bag"];
    let (mut intents, mut states, mut words) = ("text,intent\n".to_owned(), String::new(), String::new());
    for (i, thing) in things.iter().cycle().take(48).enumerate() {
        intents += &format!("where is my {thing} number {i},0\nI want my money back for the {thing} {i},2\n");
        intents += &format!("thank you the {thing} {i} is wonderful,1\n");
        let (said, labels) = [("is late and i am angry", "late|angry"), ("is late", "late"), ("is here", "")][i % 3];
        states += &format!("{{\"text\": \"my {thing} {said} {i}\", \"label\": \"{labels}\"}}\n");
        let place = ["Paris", "London", "Rome"][i / 3 % 3];
        words += &format!("the\tO\n{thing}\tB-thing\nis\tO\nin\tO\n{place}\tB-place\n\n");
    }
    fs::create_dir_all(folder.join("base")).unwrap();
    let tokenizer = tokenizer(&format!("{intents} {states} {words}"));
    let config = json!({"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 64, "type_vocab_size": 2,
        "vocab_size": tokenizer["model"]["vocab"].as_object().unwrap().len()});
    fs::write(folder.join("base/config.json"), config.to_string()).unwrap();
    fs::write(folder.join("base/tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(folder.join("intents.csv"), intents).unwrap();
    fs::write(folder.join("states.jsonl"), states).unwrap();
    fs::write(folder.join("words.conll"), words).unwrap();
}

/// Would catch: heads that are read otherwise than they were trained, that need an encoder each, or cannot be moved; a run that a kill
/// leads to other weights, in a head too.
#[test]
fn several_heads_learn_on_one_encoder_and_a_run_that_is_killed_comes_to_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    prepare(folder.path());
    let done = run(folder.path(), "whole", &[]);
    let said = text(&done.stdout);
    assert!(done.status.success(), "{said}{}", text(&done.stderr));
    for words in ["task state: labels, since", "task words: tag, since", "task intent: label, since", "all weights are drawn"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let figure = |of: &str| {
        let line = said.lines().rfind(|line| line.contains(of) && !line.starts_with("step") && !line.starts_with("trained"));
        let rest = line.and_then(|line| line.split(of).nth(1)).unwrap_or_default();
        rest.trim_start().split([',', ' ']).next().and_then(|figure| figure.parse::<f64>().ok()).unwrap_or_default()
    };
    let figures = [figure("dev accuracy"), figure("dev micro-F1"), figure("dev F1")];
    assert!(figures.iter().all(|figure| *figure > 90.0), "{figures:?}: {said}");
    assert!(said.contains("; intent accuracy ") && said.contains("eval classify --model whole/intent --against ALONE"), "{said}");
    for file in ["README.md", "runs/curves.csv", "intent/confusion.csv", "words/README.md", "encoder/1_Pooling/config.json"] {
        assert!(at("whole").join(file).exists(), "{file}");
    }
    let curves = fs::read_to_string(at("whole/runs/curves.csv")).unwrap();
    assert!(
        curves.contains(",dev/intent/macro_f1,") && curves.contains(",dev/words/f1,") && curves.contains(",dev/mean,"),
        "{curves}"
    );
    assert!(fs::read_to_string(at("whole/README.md")).unwrap().contains("--task words=words.conll --dev words=words.conll"));

    let mut child = command(folder.path(), "cut", &["--keep-seconds", "0"]).stdout(Stdio::null()).spawn().unwrap();
    let state = at("cut/.training/state.safetensors");
    while !state.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!at("cut/encoder").exists());
    for (more, words) in [(&[][..], "--resume"), (&["--resume", "--weight-decay", "0.1"], "other options")] {
        let refused = run(folder.path(), "cut", more);
        assert!(!refused.status.success() && text(&refused.stderr).contains(words), "{}", text(&refused.stderr));
    }
    let done = run(folder.path(), "cut", &["--resume"]);
    assert!(done.status.success() && text(&done.stdout).contains("goes on behind step"), "{}", text(&done.stderr));
    for part in ["encoder", "intent", "state", "words"] {
        let weights = |out: &str| fs::read(at(out).join(part).join("model.safetensors")).unwrap();
        assert!(weights("whole") == weights("cut"), "the weights of {part} differ");
    }
    assert!(!at("cut/.training").exists());

    fs::rename(at("whole"), at("moved")).unwrap();
    let options = Options { backbones: Backbones::default(), ..Options::default() };
    let open = |name: &str| Encoder::open(name, &at("moved").join(name), None, &options).unwrap();
    let [encoder, intent, state, words] = ["encoder", "intent", "state", "words"].map(open);
    assert!(encoder.unread().is_empty() && encoder.labels().is_none(), "{:?}", encoder.unread());
    assert!([&intent, &state, &words].into_iter().all(|head| encoder.shares_backbone(head)));
    assert_eq!(
        (intent.labels().unwrap(), state.labels().unwrap()),
        (&names(["delivery", "praise", "refund"])[..], &names(["angry", "late"])[..])
    );
    assert_eq!(words.token_labels().unwrap(), names(["O", "B-place", "B-thing"]));
    assert!(state.described().threshold.is_some());
    let texts = vec!["where is my coat number 99".to_owned(), "thank you the lamp 98 is wonderful".to_owned()];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let together = runtime.block_on(encoder.answer_heads(&[&intent, &state], texts.clone())).unwrap();
    let alone = intent.answer_blocking(Head::Classify, texts).unwrap();
    assert_eq!(together.iter().map(|one| best(&one.scores[0])).collect::<Vec<_>>(), [0, 1]);
    assert!(together.iter().zip(&alone).all(|(one, alone)| one.scores[0] == alone.values));
    let mut call = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let tagged =
        call.current_dir(folder.path()).args(["call", "tag", "--model", "moved/words", "the coat is in Rome"]).output().unwrap();
    assert!(text(&tagged.stdout).contains("place"), "{}{}", text(&tagged.stdout), text(&tagged.stderr));
}

fn names<const N: usize>(names: [&str; N]) -> [String; N] {
    names.map(str::to_owned)
}

/// Would catch: a base model that is written over, an error that does not say which task's file is meant, int8 that no head stands on.
#[test]
fn an_error_names_its_task_and_int8_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    fs::write(folder.path().join("empty.csv"), "text,label\n").unwrap();
    fs::write(folder.path().join("one.csv"), "text,label\na,x\nb,x\n").unwrap();
    fs::write(folder.path().join("asked.json"), "{\"data\": []}").unwrap();
    let refused = |args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        let done = command.current_dir(folder.path()).args(["train", "several"]).args(args.split(' ')).output().unwrap();
        assert!(!done.status.success(), "{args}");
        (done.status.code(), text(&done.stderr))
    };
    for (args, code, words) in [
        ("--from base --out out", 2, "--task <NAME=FILE>"),
        ("--from base --out out --task a=intents.csv --task a=states.jsonl", 2, "two tasks have the name a;"),
        ("--from base --out out --task a/b=intents.csv", 2, "cannot be the name of a task"),
        ("--from base --out base --task a=intents.csv", 2, "--out would be written over base"),
        ("--from base --out . --task base=intents.csv", 2, "--out would be written over base"),
        ("--from base --out out --task a=intents.csv --tune-layers 1", 2, "no model.safetensors to take them from"),
        ("--from base --out out --task a=intents.csv --task b=empty.csv", 1, "task b: empty.csv has no rows"),
        ("--from base --out out --task b=absent.csv", 1, "task b: cannot open absent.csv"),
        ("--from base --out out --task b=one.csv", 1, "task b: "),
        ("--from base --out out --task b=asked.json", 1, "task b: asked.json holds questions"),
        ("--from base --out out --task a=intents.csv --text-column a=body", 1, "task a: no text column"),
        ("--from base --out out --task a=intents.csv --max-tokens 9000", 1, "has 64 positions"),
    ] {
        let (got, said) = refused(args);
        assert!(got == Some(code) && said.contains(words), "{args}: {got:?} {said}");
    }
    let done = run(folder.path(), "small", &["--int8", "--kind", "state=labels"]);
    let said = text(&done.stdout);
    assert!(done.status.success() && said.contains("before int8, mean"), "{said}{}", text(&done.stderr));
    assert!(said.contains("task state: labels, as was said"), "{said}");
    let file = fs::read(folder.path().join("small/encoder/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    assert_eq!(tensors.tensor("bert.encoder.layer.0.output.dense.weight").unwrap().dtype(), safetensors::Dtype::I8);
    let options = Options { backbones: Backbones::default(), ..Options::default() };
    let open = |name: &str| Encoder::open(name, &folder.path().join("small").join(name), None, &options).unwrap();
    assert!(open("encoder").shares_backbone(&open("intent")));
}
