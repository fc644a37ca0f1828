//! The encoder against candle's BertModel, against the sentence-transformers results, and on bad models and bad texts.

use crate::support::absent::absent;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use millrace::event::{Event, Position, RawEvent};
use millrace::function::{Function, Input, Outcome, embed::Embed, sentiment::Sentiment};
use millrace::inference::{Encoder, Head, InferenceError, Options, Registry, Threads, batch};
use safetensors::{Dtype, tensor::TensorView};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const TEXTS: [&str; 7] = [
    "Hello world",
    "A man is playing a guitar on the stage while the crowd sings along.",
    "gg wp, that last fight was insane 😂😂",
    "naïve café, 中文 and Ελληνικά in one line",
    "I would like to return my order #12345: it arrived broken, and nobody answers the phone!",
    ".",
    "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog. The quick brown fox jumps.",
];

/// The folder of all-MiniLM-L6-v2: given by `MILLRACE_MINILM_DIR`, else fetched once into the system's temporary folder.
fn minilm() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        if let Some(given) = std::env::var_os("MILLRACE_MINILM_DIR") {
            return Some(PathBuf::from(given));
        }
        let script = shared("models/get-minilm.sh")?;
        let folder = std::env::temp_dir().join("millrace-minilm");
        let status = std::process::Command::new("sh").arg(script).arg(&folder).status().ok()?;
        status.success().then_some(folder)
    };
    let folder = FOLDER.get_or_init(find).as_deref();
    if folder.is_none() {
        absent("all-MiniLM-L6-v2 is not here; set MILLRACE_MINILM_DIR to its folder");
    }
    folder
}

/// A file of the folder `shared` beside the repository.
fn shared(file: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(file);
    path.exists().then_some(path)
}

fn options(token_budget: usize) -> Options {
    Options { threads: Threads::Exactly(2), token_budget, ..Options::default() }
}

fn open(folder: &Path) -> Encoder {
    Encoder::open("minilm", folder, None, &options(512)).unwrap()
}

fn vectors(encoder: &Encoder, head: Head, texts: &[&str]) -> Vec<Vec<f32>> {
    let texts = texts.iter().map(|t| (*t).to_owned()).collect();
    encoder.answer_blocking(head, texts).unwrap().into_iter().map(|a| a.values).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn furthest(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().flatten().zip(b.iter().flatten()).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// candle's BertModel over a padded batch, with mean pooling: the oracle.
fn candle_embed(folder: &Path, batch: &[Vec<u32>]) -> Vec<Vec<f32>> {
    candle_forward(&candle_model(folder), batch)
}

fn candle_model(folder: &Path) -> BertModel {
    let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    BertModel::load(VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).unwrap(), &config).unwrap()
}

fn candle_forward(model: &BertModel, batch: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let width = batch.iter().map(Vec::len).max().unwrap();
    let padded = |f: &dyn Fn(u32) -> u32, fill: u32| -> Vec<u32> {
        batch.iter().flat_map(|ids| (0..width).map(|i| ids.get(i).map_or(fill, |id| f(*id))).collect::<Vec<_>>()).collect()
    };
    let shape = (batch.len(), width);
    let ids = Tensor::from_vec(padded(&|id| id, 0), shape, &Device::Cpu).unwrap();
    let mask = Tensor::from_vec(padded(&|_| 1, 0), shape, &Device::Cpu).unwrap();
    let out = model.forward(&ids, &ids.zeros_like().unwrap(), Some(&mask)).unwrap();
    let weights = mask.to_dtype(DType::F32).unwrap().unsqueeze(2).unwrap();
    let sum = out.broadcast_mul(&weights).unwrap().sum(1).unwrap();
    let norm = sum.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
    sum.broadcast_div(&norm).unwrap().to_vec2().unwrap()
}

#[test]
fn embeddings_are_those_of_candles_bert() {
    let Some(folder) = minilm() else { return };
    let encoder = open(folder);
    let ids: Vec<Vec<u32>> = TEXTS.iter().map(|t| encoder.tokenize(t).unwrap().ids).collect();
    let ours = vectors(&encoder, Head::Embed, &TEXTS);
    let theirs = candle_embed(folder, &ids);
    for ((text, a), b) in TEXTS.iter().zip(&ours).zip(&theirs) {
        assert!(cosine(a, b) >= 0.99999, "{text}: cosine {}", cosine(a, b));
    }
    assert!(furthest(&ours, &theirs) < 2e-6, "{}", furthest(&ours, &theirs));
}

/// The first numbers for this sentence in the documentation of sentence-transformers ("Computing Embeddings").
#[test]
fn embeddings_are_those_of_sentence_transformers() {
    let Some(folder) = minilm() else { return };
    let published =
        [-0.0137173, -0.0428515, -0.0156286, 0.0140537, 0.0395538, 0.121_796, 0.0294334, -0.0317524, 0.0354959, -0.079_314];
    let ours = vectors(&open(folder), Head::Embed, &["This framework generates embeddings for each input sentence"]);
    assert!(furthest(&[ours[0][..10].to_vec()], &[published.to_vec()]) < 2e-6, "{:?}", &ours[0][..10]);
}

#[test]
fn sts_benchmark_gives_the_published_correlation() {
    let (Some(folder), Some(file)) = (minilm(), shared("data/nlp/stsbenchmark/sts-test.csv")) else {
        absent("../shared/data/nlp/stsbenchmark/sts-test.csv is not here");
        return;
    };
    let rows = std::fs::read_to_string(file).unwrap();
    let rows: Vec<Vec<&str>> = rows.lines().map(|l| l.split('\t').collect()).collect();
    assert_eq!(rows.len(), 1379);
    let gold: Vec<f64> = rows.iter().map(|r| r[4].parse().unwrap()).collect();
    let texts: Vec<&str> = rows.iter().flat_map(|r| [r[5], r[6]]).collect();
    let vectors = vectors(&open(folder), Head::Embed, &texts);
    let ours: Vec<f64> = vectors.chunks(2).map(|pair| cosine(&pair[0], &pair[1])).collect();
    let rho = 100.0 * millrace::train::metrics::spearman(&gold, &ours);
    eprintln!("STS-B test: Spearman {rho:.4}");
    assert!((rho - 82.03).abs() <= 0.05, "Spearman {rho:.4}, published 82.0325");
}

#[test]
fn a_text_does_not_depend_on_its_batch_mates() {
    let Some(folder) = minilm() else { return };
    let together = Encoder::open("minilm", folder, None, &options(100_000)).unwrap();
    let many: Vec<&str> = TEXTS.iter().copied().cycle().take(40).collect();
    let in_company = vectors(&together, Head::Embed, &many);
    for (index, text) in TEXTS.iter().enumerate() {
        let alone = vectors(&together, Head::Embed, &[text]);
        assert!(alone == in_company[index..=index], "{text}: {}", furthest(&alone, &in_company[index..=index]));
    }
    let reversed: Vec<&str> = many.iter().rev().copied().collect();
    let mut back = vectors(&together, Head::Embed, &reversed);
    back.reverse();
    assert!(back == in_company);
}

#[test]
fn a_text_of_a_hundred_thousand_tokens_is_cut_fast() {
    let Some(folder) = minilm() else { return };
    let encoder = open(folder);
    let long = "stream ".repeat(100_000);
    let started = Instant::now();
    let answers = encoder.answer_blocking(Head::Embed, vec![long.clone(), "short".to_owned()]).unwrap();
    let took = started.elapsed();
    assert_eq!((answers[0].tokens, answers[0].truncated), (256, true));
    assert_eq!((answers[1].tokens, answers[1].truncated), (3, false));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let head = vectors(&encoder, Head::Embed, &[&long[..7 * 254]]);
    assert!(furthest(&head, &[answers[0].values.clone()]) <= 1e-6);
    // One word without an end, and blanks without an end.
    let odd = encoder.answer_blocking(Head::Embed, vec!["x".repeat(1_000_000), format!("a{}b", " ".repeat(1_000_000))]).unwrap();
    assert!(odd.iter().all(|a| a.truncated));
}

#[test]
fn sorting_by_length_leaves_little_padding() {
    let lengths: Vec<usize> = (0..2000).map(|i| 4 + (i * 23) % 61).collect();
    let sorted = batch::padding_share(&lengths, &batch::by_token_budget(&lengths, 512));
    let unsorted: Vec<Vec<usize>> = (0..2000).collect::<Vec<_>>().chunks(16).map(<[usize]>::to_vec).collect();
    assert!(sorted < 0.03, "{sorted}");
    assert!(batch::padding_share(&lengths, &unsorted) > 0.4);
}

#[tokio::test]
async fn embed_answers_a_slice_in_order_and_rejects_what_has_no_text() {
    let Some(folder) = minilm() else { return };
    let embed = Embed::load(folder).unwrap();
    let slice = [input(Some("hello there")), input(None), input(Some(" \n")), input(Some("goodbye"))];
    let outcomes = embed.call(&slice).await.unwrap();
    let code = |o: &Outcome| match o {
        Outcome::Emit(predictions) => predictions[0].fields["dimensions"].to_string(),
        Outcome::Reject(rejection) => rejection.code.to_owned(),
        Outcome::Skip(reason) => (*reason).to_owned(),
    };
    assert_eq!(outcomes.iter().map(code).collect::<Vec<_>>(), ["384", "missing_field", "empty_text", "384"]);
    let refused = Sentiment::load(folder).err().unwrap();
    assert!(refused.to_string().contains("classifier"), "{refused}");
}

fn input(text: Option<&str>) -> Input {
    let position = Position { topic: Arc::from("chat"), partition: 0, offset: 0 };
    let raw = RawEvent { position, timestamp_ms: 0, key: None, payload: None, headers: Vec::new() };
    Input::plain(Event { body: None, raw, id: "chat/0/0".into(), key: None, event_time_ms: 0, text: text.map(Into::into) })
}

/// On the starter encoder of the repository, so that it is run everywhere.
///
/// Would catch: a second reading of one model, a digest that is not asked for, and weights of which one byte differs.
#[test]
fn a_model_is_opened_once_and_its_digest_is_checked() {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/minilm-en");
    let registry = Registry::new(options(512));
    let first = registry.encoder("minilm", &starter, None).unwrap();
    assert_eq!(first.id(), format!("minilm@{}", &first.digest().as_str()[..12]));
    let again = registry.encoder("minilm", &starter, Some(first.digest().as_str())).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let wrong = "0123456789abcdef";
    let differs = |error: &InferenceError, wanted: &str, found: &str| {
        assert!(matches!(error, InferenceError::WrongDigest { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(wanted) && message.contains("model.safetensors") && message.contains(found), "{message}");
    };
    for error in [
        registry.encoder("minilm", &starter, Some(wrong)).err().unwrap(),
        Encoder::open("minilm", &starter, Some(wrong), &options(512)).err().unwrap(),
    ] {
        differs(&error, wrong, first.digest().short());
    }
    assert_eq!(registry.loaded(), [first.id()]);

    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(starter.join(file), copy.path().join(file)).unwrap();
    }
    let digest = first.digest().as_str();
    Encoder::open("copied", copy.path(), Some(digest), &options(512)).unwrap();
    let weights = copy.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    // Weights that can be read all the same: without a digest nobody would see it.
    let other = Encoder::open("copied", copy.path(), None, &options(512)).unwrap();
    let error = Encoder::open("copied", copy.path(), Some(digest), &options(512)).err().unwrap();
    differs(&error, digest, other.digest().short());
}

/// A small random classifier in a folder, with MiniLM-like names; `change` may spoil the tensors or the config.
struct Tiny {
    folder: tempfile::TempDir,
    tensors: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    config: serde_json::Value,
}

impl Tiny {
    const WORDS: [&str; 8] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "very"];

    fn new() -> Self {
        let mut tiny = Self {
            folder: tempfile::tempdir().unwrap(),
            tensors: HashMap::new(),
            config: serde_json::json!({
                "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": 32,
                "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 8,
                "max_position_embeddings": 16, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
                "hidden_dropout_prob": 0.0, "initializer_range": 0.02,
                "id2label": {"0": "negative", "1": "neutral", "2": "positive"}
            }),
        };
        let shapes: [(&str, &[usize]); 5] = [
            ("bert.embeddings.word_embeddings.weight", &[8, 32]),
            ("bert.embeddings.position_embeddings.weight", &[16, 32]),
            ("bert.embeddings.token_type_embeddings.weight", &[2, 32]),
            ("bert.pooler.dense", &[32, 32]),
            ("classifier", &[3, 32]),
        ];
        for (name, shape) in shapes {
            if name.ends_with(".weight") { tiny.random(name, shape) } else { tiny.linear(name, shape) }
        }
        tiny.norm("bert.embeddings.LayerNorm");
        for layer in 0..2 {
            let at = |name: &str| format!("bert.encoder.layer.{layer}.{name}");
            for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
                tiny.linear(&at(name), &[32, 32]);
            }
            tiny.linear(&at("intermediate.dense"), &[64, 32]);
            tiny.linear(&at("output.dense"), &[32, 64]);
            tiny.norm(&at("attention.output.LayerNorm"));
            tiny.norm(&at("output.LayerNorm"));
        }
        tiny
    }

    fn random(&mut self, name: &str, shape: &[usize]) {
        let seed = name.bytes().fold(17u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
        let value = |i: usize| {
            let mixed = (seed ^ (i as u32).wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            ((mixed ^ (mixed >> 15)) % 2001) as f32 / 2000.0 - 0.5
        };
        self.put(name, shape, (0..shape.iter().product()).map(value).collect());
    }

    fn put(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), (Dtype::F32, shape.to_vec(), bytes));
    }

    fn linear(&mut self, name: &str, shape: &[usize]) {
        self.random(&format!("{name}.weight"), shape);
        self.random(&format!("{name}.bias"), &shape[..1]);
    }

    fn norm(&mut self, name: &str) {
        self.put(&format!("{name}.weight"), &[32], vec![1.1; 32]);
        self.put(&format!("{name}.bias"), &[32], vec![0.05; 32]);
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.tensors[name].2.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn write(&self) -> &Path {
        let folder = self.folder.path();
        let views = self.tensors.iter().map(|(n, (t, s, b))| (n, TensorView::new(*t, s.clone(), b).unwrap()));
        std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
        std::fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        let vocabulary: HashMap<&str, usize> = Self::WORDS.iter().enumerate().map(|(i, w)| (*w, i)).collect();
        let tokenizer = serde_json::json!({
            "version": "1.0", "added_tokens": [], "decoder": null,
            "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
            "padding": {"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
                "pad_token": "[PAD]"},
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                "vocab": vocabulary}
        });
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        folder
    }

    fn error(&self) -> InferenceError {
        Encoder::open("tiny", self.write(), None, &options(64)).err().unwrap()
    }
}

const REVIEWS: [&str; 5] =
    ["good", "very good film", "bad bad bad", "what a film", "very very very bad film, very very very bad film"];

#[test]
fn sentiment_gives_what_candle_computes() {
    let tiny = Tiny::new();
    let folder = tiny.write();
    let encoder = open(folder);
    let ours = vectors(&encoder, Head::Classify, &REVIEWS);
    let model = candle_model(folder);
    let tensor = |name: &str, shape: &[usize]| Tensor::from_vec(tiny.values(name), shape, &Device::Cpu).unwrap();
    let linear = |name: &str, x: &Tensor, rows: usize| {
        let weight = tensor(&format!("{name}.weight"), &[rows, 32]);
        x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&tensor(&format!("{name}.bias"), &[rows])).unwrap()
    };
    for (text, ours) in REVIEWS.iter().zip(&ours) {
        let ids = Tensor::new(encoder.tokenize(text).unwrap().ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let out = model.forward(&ids, &ids.zeros_like().unwrap(), None).unwrap();
        let pooled = linear("bert.pooler.dense", &out.narrow(1, 0, 1).unwrap().squeeze(1).unwrap(), 32).tanh().unwrap();
        let logits = linear("classifier", &pooled, 3);
        let theirs = candle_nn::ops::softmax(&logits, 1).unwrap().to_vec2::<f32>().unwrap();
        assert!(furthest(std::slice::from_ref(ours), &theirs) < 1e-5, "{text}: {ours:?}, candle says {theirs:?}");
    }
}

#[test]
fn sentiment_names_label_score_and_all_scores() {
    let tiny = Tiny::new();
    let sentiment = Sentiment::load(tiny.write()).unwrap();
    let outcomes = sentiment.call_texts(&["very good film", "", "film ".repeat(40).as_str()]).unwrap();
    let [Outcome::Emit(first), Outcome::Reject(empty), Outcome::Emit(long)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(empty.code, "empty_text");
    let (fields, scores) = (&first[0].fields, first[0].fields["scores"].as_object().unwrap());
    let total: f64 = scores.values().map(|v| v.as_f64().unwrap()).sum();
    assert!(scores.len() == 3 && (total - 1.0).abs() < 1e-6, "{scores:?}");
    let label = first[0].label.as_deref().unwrap();
    assert_eq!(fields["label"], label);
    assert_eq!(fields["score"].as_f64(), first[0].score);
    assert_eq!(fields["score"], scores[label]);
    assert!(scores.values().all(|v| v.as_f64() <= first[0].score));
    assert_eq!((&fields["tokens"], &fields["truncated"]), (&5.into(), &false.into()));
    assert_eq!((&long[0].fields["tokens"], &long[0].fields["truncated"]), (&16.into(), &true.into()));
}

#[test]
fn sentiment_does_not_depend_on_batch_mates() {
    let tiny = Tiny::new();
    let encoder = Encoder::open("tiny", tiny.write(), None, &options(100_000)).unwrap();
    let together = vectors(&encoder, Head::Classify, &REVIEWS);
    for (text, in_company) in REVIEWS.iter().zip(together) {
        assert!(furthest(&vectors(&encoder, Head::Classify, &[text]), &[in_company]) <= 1e-6);
    }
}

#[test]
fn small_number_formats_give_nearly_the_same_answer() {
    let mut tiny = Tiny::new();
    let exact = vectors(&open(tiny.write()), Head::Classify, &REVIEWS);
    let matrices: Vec<String> = tiny.tensors.iter().filter(|(_, (_, s, _))| s.len() == 2).map(|(n, _)| n.clone()).collect();
    for (index, name) in matrices.iter().enumerate() {
        let (values, shape) = (tiny.values(name), tiny.tensors[name].1.clone());
        let halves = |f: &dyn Fn(f32) -> [u8; 2]| values.iter().flat_map(|v| f(*v)).collect::<Vec<u8>>();
        let stored = match index % 3 {
            0 => (Dtype::F16, halves(&|v| half::f16::from_f32(v).to_le_bytes())),
            1 => (Dtype::BF16, halves(&|v| half::bf16::from_f32(v).to_le_bytes())),
            _ => {
                // One scale a row, or one for each eight columns.
                let groups = if index % 2 == 0 { 1 } else { shape[1] / 8 };
                let width = shape[1] / groups;
                let scale = |part: &[f32]| part.iter().fold(0.0f32, |a, v| a.max(v.abs())) / 127.0;
                let scales: Vec<f32> = values.chunks(width).map(scale).collect();
                let bytes =
                    values.chunks(width).zip(&scales).flat_map(|(r, s)| r.iter().map(move |v| (v / s).round() as i8 as u8));
                let bytes = bytes.collect();
                let of_scales = if groups == 1 { vec![shape[0]] } else { vec![shape[0], groups] };
                tiny.put(&format!("{name}.scale"), &of_scales, scales);
                (Dtype::I8, bytes)
            }
        };
        tiny.tensors.insert(name.clone(), (stored.0, shape, stored.1));
    }
    let off = furthest(&exact, &vectors(&open(tiny.write()), Head::Classify, &REVIEWS));
    assert!(off > 0.0 && off < 0.02, "{off}");
}

#[test]
fn a_broken_model_is_refused_by_name() {
    let gone = "bert.encoder.layer.1.attention.self.key.weight";
    let mut tiny = Tiny::new();
    tiny.tensors.remove(gone);
    assert!(matches!(tiny.error(), InferenceError::MissingTensor { name, .. } if name == gone));

    let mut tiny = Tiny::new();
    tiny.put("classifier.weight", &[4, 32], vec![0.5; 128]);
    assert!(tiny.error().to_string().contains("id2label"));

    let mut tiny = Tiny::new();
    tiny.put("bert.pooler.dense.bias", &[31], vec![0.5; 31]);
    assert!(matches!(tiny.error(), InferenceError::WrongShape { name, .. } if name == "bert.pooler.dense.bias"));

    let mut tiny = Tiny::new();
    tiny.put("classifier.bias", &[3], vec![0.5, f32::NAN, 0.1]);
    assert!(tiny.error().to_string().contains("classifier.bias"));

    let mut tiny = Tiny::new();
    let bytes = vec![3; 32 * 32];
    tiny.tensors.insert("bert.pooler.dense.weight".to_owned(), (Dtype::I8, vec![32, 32], bytes));
    assert!(matches!(tiny.error(), InferenceError::MissingTensor { name, .. } if name == "bert.pooler.dense.weight.scale"));

    let mut tiny = Tiny::new();
    tiny.config["model_type"] = "reformer".into();
    assert!(tiny.error().to_string().contains("reformer"));
}

#[test]
fn damaged_and_unsafe_files_are_refused() {
    let tiny = Tiny::new();
    let folder = tiny.write();
    let weights = folder.join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(Encoder::open("tiny", folder, None, &options(64)).err(), Some(InferenceError::Malformed { .. })));
    std::fs::rename(&weights, folder.join("pytorch_model.bin")).unwrap();
    let error = Encoder::open("tiny", folder, None, &options(64)).err().unwrap();
    assert!(matches!(&error, InferenceError::UnsafeWeights { found, .. } if found == "pytorch_model.bin"), "{error}");
    let nowhere = Encoder::open("tiny", &folder.join("nowhere"), None, &options(64)).err().unwrap();
    assert!(nowhere.to_string().contains("config.json"), "{nowhere}");
}
