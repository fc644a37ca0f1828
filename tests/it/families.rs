//! Every function on every family that has a head for it: tiny networks whose logits are held to transformers elsewhere, here with a
//! tokenizer of letters, so that the whole function runs. The table of `docs/models.md` says no more and no less.

use crate::corpus::fuzz::targets::saved_in_parts;
use millrace::function::generate::Generate;
use millrace::function::model::Model;
use millrace::function::{Function, offline, text_function};
use millrace::inference::generate::Writer;
use millrace::inference::seq2seq::TextToText;
use millrace::inference::{Encoder, Options, Threads, causal};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Ids that the networks know.
const VOCABULARY: usize = 96;

/// Functions by the head that they need; those of the first need none.
const BY_HEAD: [(&str, &[&str]); 5] = [
    ("vectors", &["embed", "similar", "rerank", "summarize"]),
    ("sequence", &["classify"]),
    ("tokens", &["tag"]),
    ("spans", &["answer"]),
    ("mask", &["fill"]),
];

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Letters are tokens; what is left of the ids is never written.
fn tokenizer() -> Value {
    let mut tokens: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    tokens.extend(('a'..='z').map(String::from));
    tokens.extend(('a'..='z').map(|letter| format!("##{letter}")));
    tokens.extend([".", "?", ","].map(str::to_owned));
    assert!(tokens.len() <= VOCABULARY);
    let vocabulary: Map<String, Value> = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let special = |token: &str| {
        json!({ "id": vocabulary[token], "content": token, "special": true, "normalized": false,
        "single_word": false, "lstrip": false, "rstrip": false })
    };
    let added = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(special);
    let part = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
    let ids = |token: &str| json!({ "id": token, "ids": [vocabulary[token]], "tokens": [token] });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "TemplateProcessing",
            "single": [part("[CLS]"), text("A", 0), part("[SEP]")],
            "pair": [part("[CLS]"), text("A", 0), part("[SEP]"), text("B", 0), part("[SEP]")],
            "special_tokens": { "[CLS]": ids("[CLS]"), "[SEP]": ids("[SEP]") } },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": vocabulary },
    })
}

/// Writes a model folder: a backbone and a head in files of their own, as a checkpoint in parts.
fn write(into: &Path, config: &Value, parts: &[PathBuf]) {
    for (file, bytes) in saved_in_parts(parts) {
        std::fs::write(into.join(file), bytes).unwrap();
    }
    std::fs::write(into.join("config.json"), config.to_string()).unwrap();
    std::fs::write(into.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let marks =
        json!({ "mask_token": "[MASK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]" });
    std::fs::write(into.join("tokenizer_config.json"), marks.to_string()).unwrap();
}

/// Family, head, config and files of every tiny checkpoint of an encoder.
fn checkpoints() -> Vec<(String, String, Value, Vec<PathBuf>)> {
    let mut all = Vec::new();
    for folder in ["albert", "bert", "distilbert", "electra", "mpnet", "roberta"] {
        let place = fixtures("encoders").join(folder);
        for case in read(&place.join("cases.json"))["cases"].as_array().unwrap() {
            let (head, family) = (case["head"].as_str().unwrap(), case["config"]["model_type"].as_str().unwrap_or(folder));
            if BY_HEAD.iter().any(|(of, _)| *of == head) {
                let parts = ["backbone", head].map(|part| place.join(format!("{part}.safetensors"))).to_vec();
                all.push((family.to_owned(), head.to_owned(), case["config"].clone(), parts));
            }
        }
    }
    for folder in ["bart", "deberta_v3", "modernbert", "t5", "t5_spans", "t5_tokens", "xlnet"] {
        let place = fixtures("encoders2").join(folder);
        for (head, _) in BY_HEAD {
            let config = place.join(format!("{head}.v5.json"));
            if config.is_file() {
                let config = read(&config);
                let family = config["model_type"].as_str().unwrap().to_owned();
                let parts = ["base", head].map(|part| place.join(format!("{part}.safetensors"))).to_vec();
                all.push((family, head.to_owned(), config, parts));
            }
        }
    }
    all
}

fn open(folder: &Path) -> Arc<Encoder> {
    let options = Options { threads: Threads::Exactly(1), ..Options::default() };
    Arc::new(Encoder::open("tiny", folder, None, &options).unwrap_or_else(|error| panic!("{}: {error}", folder.display())))
}

/// An input, and what the answer must be like.
fn probe(function: &str) -> (Value, fn(&Value) -> bool) {
    match function {
        "embed" => (json!("a cab"), |out| out["embedding"].as_array().is_some_and(|vector| vector.len() > 8)),
        "similar" => (json!({ "source_sentence": "a cab", "sentences": ["a cab", "no bed"] }), |out| {
            out["scores"].as_array().is_some_and(|scores| scores.len() == 2 && (scores[0].as_f64().unwrap() - 1.0).abs() < 1e-5)
        }),
        "rerank" => (json!({ "query": "a cab", "texts": ["no bed", "a cab"] }), |out| {
            out["ranks"][0]["index"] == 1 && out["ranks"].as_array().unwrap().len() == 2
        }),
        "summarize" => {
            (json!("A cab came. No bed is here. We go."), |out| out["sentences"].as_array().is_some_and(|all| !all.is_empty()))
        }
        "classify" => (json!("a cab"), |out| out["label"].is_string() && out["score"].as_f64().is_some_and(|score| score > 0.3)),
        "tag" => (json!("anna has a cab"), |out| out["entities"].is_array() && out["truncated"] == false),
        "answer" => (json!({ "question": "who?", "context": "anna has a cab." }), |out| {
            out["answer"].as_str().is_some_and(|answer| "anna has a cab.".contains(answer)) && out["score"].is_number()
        }),
        "fill" => (json!("a [MASK] is here"), |out| out["fills"].as_array().is_some_and(|fills| fills.len() == 5)),
        other => panic!("no probe for {other}"),
    }
}

async fn ask(function: &dyn Function, input: &Value) -> Value {
    let inputs = std::slice::from_ref(input);
    offline::call(function, &mut *offline::Offline::sitting(&offline::Plain), 0, inputs).await.unwrap().remove(0)
}

/// The table of `docs/models.md` whose first column has that name: functions by family.
fn told(first: &str) -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/models.md")).unwrap();
    let (_, table) = page.split_once(&format!("| {first} | ")).expect("the page has a table of families and functions");
    let mut lines = table.lines();
    let columns: Vec<String> =
        lines.next().unwrap().trim_end_matches(" |").split(" | ").map(|column| column.trim_matches('`').to_owned()).collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let families: Vec<String> = cells[0].split(", ").map(|family| family.trim_matches('`').to_owned()).collect();
        let marked: BTreeSet<String> =
            columns.iter().zip(&cells[1..]).filter(|(_, cell)| **cell == "✓").map(|(column, _)| column.clone()).collect();
        families.into_iter().map(move |family| (family, marked.clone()))
    };
    lines.skip(1).take_while(|line| line.starts_with('|')).flat_map(row).collect()
}

/// Would catch: a family whose head is read and whose function does not run; a cell of the page's table that nothing stands behind.
#[tokio::test]
async fn every_function_runs_on_every_family_that_has_its_head() {
    let mut ran: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (family, head, config, parts) in checkpoints() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &config, &parts);
        let encoder = open(folder.path());
        for (of, functions) in BY_HEAD {
            // Vectors come of the backbone, whatever head stands on it.
            if of != head && of != "vectors" {
                continue;
            }
            for name in functions {
                // With labels there are no vectors to rank by.
                if *name == "rerank" && head == "sequence" {
                    continue;
                }
                let (input, right) = probe(name);
                let function: Arc<dyn Function> = match *name {
                    "embed" => Arc::new(millrace::function::embed::Embed::new(encoder.clone())),
                    name => text_function(name, encoder.clone(), &Map::new())
                        .unwrap_or_else(|error| panic!("{family} {name}: {error}")),
                };
                let out = ask(&*function, &input).await;
                assert!(right(&out), "{family} {head} {name}: {out}");
                ran.entry(family.clone()).or_default().insert((*name).to_owned());
            }
        }
    }
    let of_encoders: BTreeMap<String, BTreeSet<String>> =
        told("family").into_iter().filter(|(family, _)| ran.contains_key(family)).collect();
    assert_eq!(of_encoders, ran, "the table of families and functions in docs/models.md");
}

/// Letters and marks as bytes are tokens, behind three that networks keep for themselves.
fn tokenizer_of_bytes() -> Value {
    let kept = ["<pad>", "<s>", "</s>"].map(str::to_owned);
    let letters = ('a'..='z').chain('A'..='Z').chain(['Ġ', 'Ċ', '.', '?', ':', ',']).map(String::from);
    let vocabulary: Map<String, Value> =
        kept.into_iter().chain(letters).enumerate().map(|(id, token)| (token, id.into())).collect();
    assert!(vocabulary.len() <= VOCABULARY);
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": bytes,
        "post_processor": null, "decoder": bytes,
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocabulary, "merges": [] },
    })
}

/// A causal network of ours with the tokenizer of bytes.
fn writer(folder: &Path, family: &str) -> Model {
    let place = fixtures("causal").join(family);
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(place.join(file), folder.join(file)).unwrap();
    }
    std::fs::write(folder.join("tokenizer.json"), tokenizer_of_bytes().to_string()).unwrap();
    Model::Writer(Arc::new(Writer::open("tiny", folder, None, &causal::Options::default()).unwrap()))
}

/// The function, its options, an input, and what the answer must be like.
type Writing = (&'static str, Value, Value, fn(&Value) -> bool);

fn of_writers() -> [Writing; 3] {
    let short = |name: &str, more: Value| json!({ "max_new_tokens": 6, name: more });
    [
        ("generate", short("temperature", json!(0)), json!("a cab"), |out| {
            out["generated_text"].is_string() && (1..=6).contains(&out["generated_tokens"].as_u64().unwrap())
        }),
        ("classify", json!({ "candidate_labels": ["bed", "cab"] }), json!("a cab"), |out| {
            let scores = out["labels"].as_array().unwrap().iter().map(|label| label["score"].as_f64().unwrap());
            out["labels"].as_array().unwrap().len() == 2 && (scores.sum::<f64>() - 1.0).abs() < 1e-4
        }),
        ("summarize", short("method", json!("generate")), json!("a cab came. no bed is here."), |out| {
            out["summary_text"].is_string() && out["finish_reason"].is_string()
        }),
    ]
}

fn of_translators() -> [Writing; 2] {
    let text = json!({ "text": "the cat sat", "src_lang": "en", "tgt_lang": "de" });
    [
        ("translate", json!({ "max_new_tokens": 6 }), text, |out| {
            out["translation_text"].is_string() && out["generated_tokens"].as_u64().unwrap() <= 6
        }),
        ("summarize", json!({ "method": "generate", "max_new_tokens": 6 }), json!("the cat sat on the mat."), |out| {
            out["summary_text"].is_string() && out["windows"] == 1
        }),
    ]
}

/// Would catch: a family that generates and whose texts nobody can classify or sum up; a cell of the page's second table that nothing stands behind.
#[tokio::test]
async fn every_function_that_writes_runs_on_its_families() {
    let mut ran: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in ["gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "phi", "phi3", "qwen2", "qwen3"] {
        let place = tempfile::tempdir().unwrap();
        let model = writer(place.path(), folder);
        let family = read(&place.path().join("config.json"))["model_type"].as_str().unwrap().to_owned();
        for (name, options, input, right) in of_writers() {
            let function: Arc<dyn Function> = match (name, &model) {
                ("generate", Model::Writer(writer)) => {
                    Arc::new(Generate::new(Arc::clone(writer), options.as_object().unwrap()).unwrap())
                }
                _ => text_function(name, model.clone(), options.as_object().unwrap())
                    .unwrap_or_else(|error| panic!("{family} {name}: {error}")),
            };
            let out = ask(&*function, &input).await;
            assert!(right(&out), "{family} {name}: {out}");
            ran.entry(family.clone()).or_default().insert(name.to_owned());
        }
    }
    for (family, functions) in [("t5", &["translate", "summarize"][..]), ("bart", &["summarize"]), ("marian", &["translate"])] {
        let model = TextToText::open("tiny", &fixtures("translate").join(family), None, &Options::default()).unwrap();
        let model = Model::TextToText(Arc::new(model));
        for (name, options, mut input, right) in of_translators().into_iter().filter(|(name, ..)| functions.contains(name)) {
            if family == "marian" {
                input = input["text"].clone();
            }
            let function = text_function(name, model.clone(), options.as_object().unwrap()).unwrap();
            let out = ask(&*function, &input).await;
            assert!(right(&out), "{family} {name}: {out}");
            ran.entry(family.to_owned()).or_default().insert(name.to_owned());
        }
    }
    // What a family is not for is refused.
    for (family, name, options) in [("bart", "translate", json!({})), ("marian", "summarize", json!({ "method": "generate" }))] {
        let model = TextToText::open("tiny", &fixtures("translate").join(family), None, &Options::default()).unwrap();
        let error = text_function(name, Arc::new(model), options.as_object().unwrap()).err().unwrap();
        assert!(error.contains("family"), "{error}");
    }
    assert_eq!(told("family that writes"), ran, "the table of families that write in docs/models.md");
}
