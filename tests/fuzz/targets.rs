//! What is fed with damaged inputs, and the good inputs to begin with.

use super::doors::{self, DOORS, Door};
use super::registry;
use super::states::Remembers;
use base64::Engine;
use millrace::config::{Config, EventKind, Fields, Format, Limits};
use millrace::event::{Decoder, Event, Position, RawEvent};
use millrace::function::{offline, text_function};
use millrace::inference::checkpoint::ModelConfig;
use millrace::inference::generate::Schema;
use millrace::inference::network::{self, Scratch, Sequence};
use millrace::inference::template::{ChatTemplate, Message, Setting};
use millrace::inference::{Encoder, Head, Options, TextTokenizer, Threads, Weights, causal, import, seq2seq};
use millrace::schema::Reading;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Texts that every opened model reads.
const TEXTS: [&str; 3] = ["a very good day", "", "\u{202e}🧑‍🧑‍🧒 [SEP] \u{0} é 中文 <s>"];

/// How a target is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Encoder,
    Network,
    Causal,
    Seq2seq,
    Tokenizer,
    Import,
    Event(EventKind),
    /// A value and the file of its schema.
    Value(Format),
    Settings,
    Scoring,
    Template,
    Schema,
    Request,
    Door(Door),
    /// Answers about a schema, and a value of it.
    Answers(Format),
    /// Rows by their keys.
    States(Remembers),
    /// What travels with K.
    OffsetMetadata,
}

/// One thing that reads files, and good files for it.
pub struct Target {
    /// As folders of the corpus are named.
    pub name: String,
    kind: Kind,
    /// The files that belong together, by the name that the reader looks for. One of them is damaged.
    pub files: BTreeMap<String, Vec<u8>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn target(name: String, kind: Kind, files: impl IntoIterator<Item = (String, PathBuf)>) -> Target {
    let read = |(name, path): (String, PathBuf)| (name, std::fs::read(&path).unwrap_or_else(|_| panic!("{}", path.display())));
    Target { name, kind, files: files.into_iter().map(read).collect() }
}

fn text(name: &str, kind: Kind, seeds: &[&str]) -> Target {
    let files = seeds.iter().enumerate().map(|(i, seed)| (format!("{i}"), seed.as_bytes().to_vec())).collect();
    Target { name: name.into(), kind, files }
}

/// A folder whose weights are in two files.
fn in_parts(name: String, config: Vec<u8>, parts: [PathBuf; 2]) -> Target {
    let mut files = saved_in_parts(&parts.map(|part| part.with_extension("safetensors")));
    files.insert("config.json".into(), config);
    Target { name, kind: Kind::Network, files }
}

/// Files of weights and the index of what is in which, as `save_pretrained` leaves them.
pub fn saved_in_parts(parts: &[PathBuf]) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut index) = (BTreeMap::new(), Map::new());
    for part in parts {
        let (file, bytes) = (last(part), std::fs::read(part).unwrap());
        for name in safetensors::SafeTensors::deserialize(&bytes).unwrap().names() {
            index.insert(name.to_owned(), file.as_str().into());
        }
        files.insert(file, bytes);
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": index });
    files.insert("model.safetensors.index.json".into(), index.to_string().into_bytes());
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Everything, in order of name within a kind.
pub fn all() -> Vec<Target> {
    let mut all = Vec::new();
    let root = fixtures();
    let folders = |of: &str| entries(&root.join(of)).into_iter().filter(|path| path.is_dir());
    for folder in folders("functions") {
        let files = entries(&folder).into_iter().map(|path| (last(&path), path));
        all.push(target(format!("encoder-{}", last(&folder)), Kind::Encoder, files));
    }
    for folder in folders("encoders2") {
        for head in ["sequence", "tokens", "spans", "mask", "beams"] {
            let config = folder.join(format!("{head}.v5.json"));
            if config.is_file() {
                let config = std::fs::read(config).unwrap();
                all.push(in_parts(
                    format!("network-{}-{head}", last(&folder)),
                    config,
                    ["base", head].map(|part| folder.join(part)),
                ));
            }
        }
    }
    for folder in folders("encoders").filter(|folder| folder.join("cases.json").is_file()) {
        let cases: Value = serde_json::from_slice(&std::fs::read(folder.join("cases.json")).unwrap()).unwrap();
        let case = cases["cases"].as_array().unwrap().iter().find(|case| case["head"] == "sequence").unwrap();
        let config = case["config"].to_string().into_bytes();
        all.push(in_parts(format!("network-{}", last(&folder)), config, ["backbone", "sequence"].map(|part| folder.join(part))));
    }
    for folder in folders("causal") {
        let files = ["config.json", "model.safetensors"].map(|name| (name.to_owned(), folder.join(name)));
        all.push(target(format!("causal-{}", last(&folder)), Kind::Causal, files));
    }
    // Folders without weights are of tokenisers alone.
    for folder in folders("seq2seq").filter(|folder| folder.join("model.safetensors").is_file()) {
        let config = ["v5.json", "v4.json"].map(|name| folder.join(name)).into_iter().find(|path| path.is_file()).unwrap();
        let files = [
            ("config.json".to_owned(), config),
            ("generation_config.json".to_owned(), folder.join("generation_config.json")),
            ("model.safetensors".to_owned(), folder.join("model.safetensors")),
        ];
        all.push(target(format!("seq2seq-{}", last(&folder)), Kind::Seq2seq, files));
    }
    for folder in folders("encoders/tokenizers") {
        let files = entries(&folder).into_iter().filter(|path| last(path) != "expected.json").map(|path| (last(&path), path));
        all.push(target(format!("tokenizer-{}", last(&folder)), Kind::Tokenizer, files));
    }
    for path in entries(&root.join("import")).into_iter().filter(|path| last(path).ends_with(".gguf")) {
        all.push(target(format!("import-{}", last(&path)), Kind::Import, [(last(&path), path)]));
    }
    for path in entries(&root.join("scoring")) {
        let name = last(&path);
        if !name.ends_with(".rows.json") && !name.ends_with(".py") {
            all.push(target(format!("scoring-{name}"), Kind::Scoring, [(name, path)]));
        }
    }
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples");
    let settings = entries(&samples).into_iter().filter(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        last(path).ends_with(".toml") && text.contains("[[pipeline]]")
    });
    let settings = settings.map(|path| (last(&path), path));
    all.push(target("settings".into(), Kind::Settings, settings));
    all.extend(texts(&root));
    all.extend(values(&root.join("schemas")));
    all.extend(DOORS.map(|(name, door, seeds)| text(name, Kind::Door(door), seeds)));
    for (name, format) in [("avro", Format::Avro), ("protobuf", Format::Protobuf)] {
        let files = registry::files(&root.join("schemas"), name);
        all.push(Target { name: format!("registry-{name}"), kind: Kind::Answers(format), files });
    }
    for (name, of) in [("risk", Remembers::Risk), ("recommend", Remembers::Recommend), ("dialogue", Remembers::Dialogue)] {
        all.push(Target { name: format!("state-{name}"), kind: Kind::States(of), files: of.rows() });
    }
    all.push(text("offset-metadata", Kind::OffsetMetadata, &["millrace records=4711"]));
    all
}

/// Values as other implementations wrote them, without a prefix.
fn values(root: &Path) -> [Target; 2] {
    let golden: Value = serde_json::from_slice(&std::fs::read(root.join("golden.json")).unwrap()).unwrap();
    let datum = |text: &Value| base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap();
    let mut avro = target("value-avro".into(), Kind::Value(Format::Avro), [("main.avsc".into(), root.join("payment.avsc"))]);
    avro.files.insert("value".into(), datum(&golden["avro_datum"]["bytes"]));
    let beside = [("main.proto".into(), root.join("shop/order.proto")), ("money.proto".into(), root.join("shop/money.proto"))];
    let mut protobuf = target("value-protobuf".into(), Kind::Value(Format::Protobuf), beside);
    let flat = String::from_utf8_lossy(&protobuf.files["main.proto"]).replace("shop/money.proto", "money.proto");
    protobuf.files.insert("main.proto".into(), flat.into_bytes());
    protobuf.files.insert("value".into(), datum(&golden["protobuf"][0]["datum"]));
    [avro, protobuf]
}

fn texts(root: &Path) -> Vec<Target> {
    let events = [
        (
            EventKind::Transaction,
            "transaction",
            r#"{"id":"t1","account":"a","amount":12.5,"currency":"EUR","merchant":"m","time":"2026-01-02T03:04:05Z"}"#,
        ),
        (
            EventKind::ChatMessage,
            "chat",
            r#"{"id":"m1","conversation":"c","text":"where is it? é","time":"2026-01-02T03:04:05.5+02:00"}"#,
        ),
        (EventKind::Click, "click", r#"{"id":"k1","user":"u","item":"i","kind":"view","time":1767322800123}"#),
        (EventKind::Json, "json", r#"{"a":{"id":7,"key":"k","at":"2026-01-02T03:04:05Z","t":"deep"}}"#),
    ];
    let mut all: Vec<Target> =
        events.iter().map(|(kind, name, seed)| text(&format!("event-{name}"), Kind::Event(*kind), &[seed])).collect();
    let schemas = [
        r#"{"type":"object","properties":{"a":{"type":"string","maxLength":9},"b":{"type":"array","items":{"type":"integer"},"maxItems":3}},"required":["a"]}"#,
        r#"{"type":"object","properties":{"e":{"enum":["x","y",1,null]},"c":{"const":true},"n":{"type":"number"}},"required":["n","e"]}"#,
    ];
    all.push(text("schema", Kind::Schema, &schemas));
    let templates: Value = serde_json::from_slice(&std::fs::read(root.join("generate/templates.json")).unwrap()).unwrap();
    let sources: Vec<&str> = templates["templates"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    all.push(text("template", Kind::Template, &sources));
    for (function, folder, input) in [
        ("classify", "one", r#"{"options":{"top_k":2},"input":{"text":"a good day"}}"#),
        (
            "classify",
            "nli",
            r#"{"options":{"candidate_labels":["refund","praise"],"hypothesis_template":"This is {}."},"input":"where is it"}"#,
        ),
        ("tag", "tag", r#"{"options":{"too_long":"window","stride":2},"input":"anna went to rome"}"#),
        ("answer", "answer", r#"{"options":{"top_k":2},"input":{"question":"who?","context":"anna went to rome."}}"#),
        ("fill", "fill", r#"{"options":{"top_k":3},"input":"a [MASK] day"}"#),
        ("rerank", "rank", r#"{"options":{},"input":{"query":"day","texts":["a good day","no"]}}"#),
        ("similar", "single", r#"{"options":{},"input":{"source_sentence":"day","sentences":["a good day","no"]}}"#),
        ("summarize", "single", r#"{"options":{},"input":"One day. Two days. Three good days. A bad one."}"#),
    ] {
        let mut own = target(format!("request-{function}-{folder}"), Kind::Request, []);
        for path in entries(&root.join("functions").join(folder)) {
            own.files.insert(format!("model/{}", last(&path)), std::fs::read(&path).unwrap());
        }
        own.files.insert("request".into(), input.as_bytes().to_vec());
        all.push(own);
    }
    all
}

/// The result as text, good or bad.
fn told<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(good) => format!("ok {}", format!("{good:?}").chars().take(80).collect::<String>()),
        Err(bad) => bad.to_string(),
    }
}

impl Target {
    /// Files that may be damaged.
    pub fn damaged(&self) -> Vec<&str> {
        self.files.keys().map(String::as_str).filter(|name| self.kind != Kind::Request || *name == "request").collect()
    }

    /// Reads with `bytes` in place of `file`, and says what came of it. A case that takes memory or time without end shows by itself.
    pub fn run(&self, file: &str, bytes: &[u8]) -> String {
        match self.kind {
            Kind::Event(kind) => decode(kind, bytes),
            Kind::Settings => settings(bytes),
            Kind::Template => template(bytes),
            Kind::Schema => match serde_json::from_slice::<Value>(bytes) {
                Ok(value) => told(Schema::parse(&value).map(|_| "a schema")),
                Err(_) => "not JSON".into(),
            },
            Kind::Scoring => told(
                millrace::scoring::Model::parse(bytes).map(|model| model.names().len()).map_err(|fault| format!("{fault:?}")),
            ),
            Kind::Door(door) => doors::ask(door, bytes),
            Kind::Answers(format) => told(runtime().block_on(registry::read(&self.with(file, bytes), format))),
            Kind::States(of) => of.fold_on(&self.with(file, bytes)),
            Kind::OffsetMetadata => match std::str::from_utf8(bytes).map(millrace::publisher::parse_offset_metadata) {
                Ok(Some(_)) => "a count".into(),
                Ok(None) => "not ours".into(),
                Err(_) => "not UTF-8".into(),
            },
            _ => self.in_folder(file, bytes),
        }
    }

    /// All files, one of them damaged.
    fn with(&self, file: &str, bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.files.clone();
        files.insert(file.to_owned(), bytes.to_vec());
        files
    }

    fn in_folder(&self, file: &str, bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, good) in &self.files {
            let path = folder.path().join(name.strip_prefix("model/").unwrap_or(name));
            std::fs::write(path, if name == file { bytes } else { good }).unwrap();
        }
        let folder = folder.path();
        let told = match self.kind {
            Kind::Encoder => told(encode(folder)),
            Kind::Network => told(run_network(folder)),
            Kind::Causal => told(write(folder)),
            Kind::Seq2seq => told(transduce(folder)),
            Kind::Tokenizer => told(tokenize(folder)),
            Kind::Value(format) => told(read_value(folder, format)),
            Kind::Import => {
                let into = tempfile::tempdir().unwrap();
                let request = import::Request {
                    file: folder.join(file),
                    folder: into.path().join("model"),
                    dtype: import::Dtype::F32,
                    tokenizer: None,
                    rope_theta: None,
                };
                told(import::import(&request).map(|_| "imported"))
            }
            _ => self.ask(folder, bytes),
        };
        told.replace(&*folder.to_string_lossy(), "FOLDER")
    }

    /// A function with the options of a request, and its input.
    fn ask(&self, folder: &Path, bytes: &[u8]) -> String {
        let Ok(request) = serde_json::from_slice::<Value>(bytes) else { return "not JSON".into() };
        let function = self.name.split('-').nth(1).unwrap_or_default();
        let encoder = match Encoder::open("fuzz", folder, None, &single()) {
            Ok(encoder) => std::sync::Arc::new(encoder),
            Err(error) => return error.to_string(),
        };
        let none = Map::new();
        let options = request.get("options").and_then(Value::as_object).unwrap_or(&none);
        let function = match text_function(function, encoder, options) {
            Ok(function) => function,
            Err(cause) => return cause,
        };
        let input = request.get("input").cloned().unwrap_or_default();
        let answered = runtime().block_on(offline::call(&*function, &mut offline::Plain, 0, &[input]));
        match answered {
            Ok(outputs) => outputs[0].to_string().chars().take(120).collect(),
            Err(error) => error.to_string(),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn single() -> Options {
    Options { threads: Threads::Exactly(1), ..Options::default() }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn encode(folder: &Path) -> Outcome<usize> {
    let encoder = Encoder::open("fuzz", folder, None, &single())?;
    let texts = || TEXTS.map(str::to_owned).to_vec();
    let mut heads = vec![Head::Embed];
    if encoder.labels().is_some() {
        heads.extend([Head::Classify, Head::Logits]);
    }
    if encoder.token_labels().is_some() {
        heads.push(Head::Tokens);
    }
    if encoder.has_spans() {
        heads.push(Head::Spans);
    }
    let mut numbers = 0;
    for head in heads {
        for answer in encoder.answer_blocking(head, texts())? {
            assert!(answer.values.iter().all(|value| value.is_finite()), "a number that is none came out of {head:?}");
            numbers += answer.values.len();
        }
    }
    Ok(numbers)
}

fn run_network(folder: &Path) -> Outcome<usize> {
    let config = ModelConfig::open(folder)?;
    let weights = Weights::open(folder, None)?;
    let tensors = weights.tensors()?;
    let network = network::load(&config, &tensors)?;
    let ids: Vec<u32> = vec![1, 2, 3, 4, 5, 6, 7];
    let mut scratch = Scratch::default();
    network.encode(&[Sequence { ids: &ids, types: &[] }, Sequence { ids: &ids[..3], types: &[] }], &mut scratch)?;
    Ok(scratch.x.len())
}

fn write(folder: &Path) -> Outcome<usize> {
    let options = causal::Options { threads: Threads::Exactly(1), cache_bytes: 1 << 20, ..causal::Options::default() };
    let generator = causal::Generator::open("fuzz", folder, None, &options)?;
    let written = runtime().block_on(generator.generate(causal::Request::greedy(vec![1, 2, 3], 3, vec![])))?;
    Ok(written.tokens.len())
}

fn transduce(folder: &Path) -> Outcome<usize> {
    let model = seq2seq::Transducer::open("fuzz", folder, None, &single())?;
    let options = seq2seq::GenerateOptions { max_new_tokens: 4, ..model.defaults().clone() };
    Ok(model.transduce_blocking(vec![vec![3, 4, 5], vec![6]], &options)?.concat().len())
}

fn tokenize(folder: &Path) -> Outcome<usize> {
    let tokenizer = TextTokenizer::open(folder, 16)?;
    let mut count = 0;
    for text in TEXTS {
        // Some have no token for an empty text.
        let Ok(tokens) = tokenizer.encode(text) else { continue };
        assert!(tokens.ids.len() <= 16, "more tokens than asked for");
        tokenizer.decode(&tokens.ids, true)?;
        count += tokens.ids.len();
    }
    Ok(count)
}

fn read_value(folder: &Path, format: Format) -> Outcome<usize> {
    let of = match format {
        Format::Protobuf => "format = 'protobuf'\nschema = 'main.proto'\nmessage = 'shop.Order'",
        _ => "format = 'avro'\nschema = 'main.avsc'",
    };
    let text = format!("[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'json'\nfunction = 'copy'\n{of}\n");
    let mut config = Config::parse(&text, "fuzz.toml", &BTreeMap::new())?;
    config.base = folder.to_owned();
    let body = Reading::of(&config, &config.pipeline[0])?.body().ok_or("nothing reads it")?;
    let value = std::fs::read(folder.join("value"))?;
    let json = body.json(&value, &Limits::default())?;
    serde_json::from_str::<Value>(&json).map_err(|error| panic!("no JSON came of it: {error}")).map(|_: Value| json.len().min(1))
}

fn decode(kind: EventKind, bytes: &[u8]) -> String {
    let path = |path: &str| Some(path.to_owned());
    let fields = Fields { id: path("a.id"), key: path("a.key"), time: path("a.at"), text: path("a.t") };
    let decoder = Decoder::new(kind, if kind == EventKind::Json { fields } else { Fields::default() }, Limits::default());
    let raw = RawEvent {
        position: Position { topic: "fuzz".into(), partition: 0, offset: 0 },
        timestamp_ms: 1,
        key: None,
        payload: Some(bytes.into()),
        headers: Vec::new(),
    };
    match decoder.decode(raw) {
        Ok(_) => "ok".into(),
        Err((_, rejection)) => {
            // Decoding contains panics as this; none may come.
            assert!(rejection.code != "poison", "{}", rejection.detail);
            format!("{}: {}", rejection.code, rejection.detail)
        }
    }
}

/// A good event at an offset.
pub fn decoded(kind: EventKind, body: &Value, offset: i64) -> Event {
    let time = (kind == EventKind::Json).then(|| "time".to_owned());
    let decoder = Decoder::new(kind, Fields { time, ..Fields::default() }, Limits::default());
    let raw = RawEvent {
        position: Position { topic: "fuzz".into(), partition: 0, offset },
        timestamp_ms: body["time"].as_i64().unwrap(),
        key: None,
        payload: Some(body.to_string().into_bytes().into()),
        headers: Vec::new(),
    };
    decoder.decode(raw).map_err(|(_, rejection)| rejection.detail).unwrap()
}

fn settings(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return "not UTF-8".into() };
    match Config::parse(text, "fuzz.toml", &BTreeMap::new()) {
        Ok(config) => config.findings().join("; "),
        Err(error) => error.to_string(),
    }
}

fn template(bytes: &[u8]) -> String {
    let Ok(source) = std::str::from_utf8(bytes) else { return "not UTF-8".into() };
    let specials = serde_json::json!({ "bos_token": "<s>", "eos_token": "</s>" });
    let messages = [Message::new("system", "Be kind."), Message::new("user", "hi </s> <|im_end|> 🧑‍🧑‍🧒")];
    let setting = Setting { generation_prompt: true, ..Setting::default() };
    let opened = ChatTemplate::new(source, specials.as_object().cloned().unwrap_or_default());
    told(opened.and_then(|template| template.render(&messages, &setting, &["</s>".to_owned()])).map(|_| "a prompt"))
}
