//! `millrace models` and `millrace models fetch` against a hub on this machine: what is found where, what is fetched, what is refused.

#[path = "../../../src/hub/tests/twin.rs"]
mod twin;

use crate::support::command::Ended;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use twin::{COMMIT, Fault, Twin, sha};

const WEIGHTS: &str = "model.safetensors";
/// Variables that say where models are.
const PLACES: [&str; 8] = [
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "MILLRACE_MODELS",
    "TRANSFORMERS_OFFLINE",
    "XDG_CACHE_HOME",
];

fn fixture(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions/one").join(file)).unwrap()
}

/// A folder to work in, with a cache of its own, and a hub that has `acme/tiny`.
struct Desk {
    folder: tempfile::TempDir,
    twin: Twin,
}

impl Desk {
    fn new() -> Self {
        let twin = Twin::start();
        let files = ["config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS].map(|name| (name, fixture(name)));
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        twin.add("acme/tiny", &files);
        twin.state.lock().unwrap().large.push(WEIGHTS.into());
        Self { folder: tempfile::tempdir().unwrap(), twin }
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        for name in PLACES {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.twin.endpoint()).env("HF_HOME", self.folder.path().join("hf"));
        command.args(arguments).envs(variables.iter().copied()).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn millrace(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        self.command(arguments, variables).output().unwrap().into()
    }

    fn fetch(&self) -> Ended {
        self.millrace(&["models", "fetch", "acme/tiny"], &[])
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("hf/hub/models--acme--tiny")
    }

    /// How the bytes of the weights were asked for.
    fn ranges(&self) -> Vec<Option<String>> {
        let asked = self.twin.asked("GET", &sha(&fixture(WEIGHTS)));
        asked.iter().map(|headers| headers.get("range").cloned()).collect()
    }
}

/// The end of the weights' address.
fn far() -> &'static str {
    Box::leak(sha(&fixture(WEIGHTS)).into_boxed_str())
}

/// Would catch: a download that nobody allowed, a message without the places or the command that helps, a model that is fetched and not
/// found, a second download.
#[test]
fn a_model_is_fetched_where_that_is_allowed_and_found_from_then_on() {
    let desk = Desk::new();
    let call = ["call", "classify", "--model", "acme/tiny", "good film"];
    let said = |ended: &Ended, words: &[&str]| {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        words.iter().for_each(|word| assert!(ended.err.contains(word), "{word}: {}", ended.err));
        assert!(ended.out.is_empty(), "{ended:?}");
    };
    let places = [
        "there is no model `acme/tiny`. Looked for, in this order:",
        "acme/tiny (a folder): absent",
        "models/acme/tiny (models here): absent",
        "(models beside the program): absent",
        "(the hub's cache): absent",
    ];
    let order = |ended: &Ended| {
        let at: Vec<Option<usize>> = places.iter().map(|place| ended.err.find(place)).collect();
        assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{}", ended.err);
    };
    for command in
        [&call[..], &["models", "check", "acme/tiny"], &["train", "--from", "acme/tiny", "--train", "x.csv", "--out", "o"]]
    {
        let refused = desk.millrace(command, &[]);
        order(&refused);
        said(&refused, &["not asked, downloads are not allowed", "Fetch it: millrace models fetch acme/tiny@main"]);
    }
    let allowed = [&call[..], &["--allow-download"]].concat();
    for variable in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        let refused = desk.millrace(&allowed, &[(variable, "yes")]);
        order(&refused);
        said(
            &refused,
            &[&format!("not asked, {variable} is on"), &format!("env -u {variable} millrace models fetch acme/tiny@main")],
        );
        said(
            &desk.millrace(&["models", "fetch", "acme/tiny"], &[(variable, "1")]),
            &[&format!("{variable} is on"), "nothing is fetched"],
        );
    }
    let config = desk.folder.path().join("c.toml");
    let section = "[[pipeline]]\nname = \"p\"\ntopic = \"t\"\nevent = \"json\"\nfunction = \"classify\"\nmodel = \"acme/tiny\"\n";
    std::fs::write(&config, section).unwrap();
    let by_config = ["call", "classify", "--config", "c.toml", "good film"];
    said(&desk.millrace(&by_config, &[]), &["model \"acme/tiny\"", "downloads are not allowed", "models fetch acme/tiny"]);
    assert_eq!(desk.twin.requests(), 0, "nobody was asked");

    let fetched = desk.fetch();
    assert_eq!(fetched.code, Some(0), "{fetched:?}");
    let snapshot = desk.cache().join("snapshots").join(COMMIT);
    let digest = sha(&fixture(WEIGHTS));
    for word in [snapshot.to_str().unwrap(), &format!("commit {COMMIT}"), "MB fetched", &format!("weights {digest}"), "found"] {
        assert!(fetched.out.contains(word), "{word}: {}", fetched.out);
    }
    let requests = desk.twin.requests();
    assert!(
        desk.fetch().out.contains("0.0 MB fetched") && desk.twin.requests() == requests + 1,
        "the revision alone is asked for"
    );

    let listed = desk.millrace(&["models", "--json"], &[]).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let one = &listed[0];
    assert_eq!((&one["name"], &one["place"]), (&format!("acme/tiny@{COMMIT}").into(), &"the hub's cache".into()));
    assert_eq!((&one["task"], &one["family"], &one["digest"]), (&"classify".into(), &"bert".into(), &digest.into()));
    assert_eq!(one["labels"], serde_json::json!(["bad", "so-so", "good"]));
    let checked = desk.millrace(&["models", "check", one["name"].as_str().unwrap(), "--json"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(checked.json()["digest"], one["digest"]);
    for command in [&call[..], &by_config] {
        let answered = desk.millrace(command, &[("HF_HUB_OFFLINE", "1")]);
        assert!(answered.code == Some(0) && answered.json()["label"].is_string(), "{answered:?}");
    }
    assert_eq!(desk.twin.requests(), requests + 1, "what is there is not asked for");

    // Where downloads are allowed a name is enough.
    for (command, home) in [(&allowed[..], "two"), (&by_config, "three")] {
        if home == "three" {
            std::fs::write(&config, format!("[hub]\nallow_download = true\n{section}")).unwrap();
        }
        let answered = desk.millrace(command, &[("HF_HOME", home)]);
        assert!(answered.code == Some(0) && answered.json()["label"].is_string(), "{answered:?}");
        let link = desk.folder.path().join(home).join("hub/models--acme--tiny/refs/main");
        assert_eq!(std::fs::read_to_string(link).unwrap(), COMMIT);
    }
}

/// Would catch: a download that begins anew although most of it is there, one that is put together wrongly.
#[test]
fn what_was_cut_off_is_gone_on_with() {
    let desk = Desk::new();
    desk.twin.fault(far(), Fault::Cut(20_000));
    let fetched = desk.fetch();
    assert_eq!(fetched.code, Some(0), "{fetched:?}");
    assert_eq!(desk.ranges(), [None, Some("bytes=20000-".to_owned())]);

    // As a process that was killed leaves it; once more where the hub knows no ranges by then.
    for knows_ranges in [true, false] {
        let desk = Desk::new();
        let part = desk.cache().join("blobs").join(far()).with_extension("incomplete");
        std::fs::create_dir_all(part.parent().unwrap()).unwrap();
        std::fs::write(&part, &fixture(WEIGHTS)[..30_000]).unwrap();
        if !knows_ranges {
            desk.twin.fault(far(), Fault::NoRange);
        }
        let fetched = desk.fetch();
        assert_eq!(fetched.code, Some(0), "{fetched:?}");
        assert_eq!(desk.ranges(), [Some("bytes=30000-".to_owned())]);
        assert_eq!(std::fs::read(desk.cache().join("snapshots").join(COMMIT).join(WEIGHTS)).unwrap(), fixture(WEIGHTS));
        assert!(!part.exists() && desk.millrace(&["models", "check", "acme/tiny"], &[]).code == Some(0));
    }
}

/// Would catch: weights that are not what the hub says and are used, or that stay in the way of the next try.
#[test]
fn a_wrong_hash_is_refused() {
    let desk = Desk::new();
    desk.twin.state.lock().unwrap().hashes.insert(WEIGHTS.into(), "a".repeat(64));
    let refused = desk.fetch();
    assert!(refused.code == Some(1) && refused.out.is_empty(), "{refused:?}");
    for word in [WEIGHTS, "sha256", &sha(&fixture(WEIGHTS)), &"a".repeat(64), "removed, ask again"] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    let refused = desk.millrace(&["models", "check", "acme/tiny"], &[]);
    assert!(refused.code == Some(1) && refused.err.contains("the revision main is not there"), "{refused:?}");
    let listed = desk.millrace(&["models"], &[]);
    assert!(listed.out.contains("CANNOT BE USED") && listed.out.contains("model.safetensors is missing"), "{listed:?}");
    desk.twin.state.lock().unwrap().hashes.clear();
    assert_eq!(desk.fetch().code, Some(0));
    assert!(!desk.millrace(&["models"], &[]).out.contains("CANNOT BE USED"));
}

/// Would catch: a refusal of the hub that is told as another, a token in a message, a name that is no model's taken for one.
#[test]
fn refusals_of_a_hub_say_what_to_do() {
    let desk = Desk::new();
    let fetch = |name: &str, variables: &[(&str, &str)]| desk.millrace(&["models", "fetch", name], variables);
    for (name, code, said) in [
        ("acme/none", 1, "has no model `acme/none`"),
        ("acme/tiny@v9", 1, "no revision `v9`"),
        ("tiny", 2, "write org/name"),
        ("../x/y", 2, "write org/name"),
    ] {
        let refused = fetch(name, &[]);
        assert!(refused.code == Some(code) && refused.err.contains(said), "{refused:?}");
    }
    desk.twin.state.lock().unwrap().token = Some("right-token");
    assert!(fetch("acme/tiny", &[]).err.contains("set HF_TOKEN"));
    let refused = fetch("acme/tiny", &[("HF_TOKEN", "wrong-token")]);
    assert!(refused.err.contains("does not let this token read") && !refused.err.contains("wrong-token"), "{refused:?}");
    // A hub that is busy for a moment is asked again.
    desk.twin.fault("revision/main", Fault::Status(429, ""));
    let fetched = fetch("acme/tiny", &[("HF_TOKEN", "right-token")]);
    assert!(fetched.code == Some(0) && !fetched.out.contains("right-token"), "{fetched:?}");
    let away = desk.millrace(&["models", "fetch", "acme/tiny"], &[("HF_ENDPOINT", "ftp://127.0.0.1")]);
    assert!(away.code == Some(1) && away.err.contains("https:// or http://"), "{away:?}");
}

/// Would catch: another order of the places, a model of a config that is not listed, a folder that cannot be used and looks fine.
#[test]
fn models_are_listed_by_place() {
    let desk = Desk::new();
    let none = desk.millrace(&["models"], &[]);
    assert!(none.code == Some(0) && none.out.contains("No models were found"), "{none:?}");
    assert_eq!(desk.millrace(&["models", "--json"], &[]).json(), serde_json::json!([]));
    let put = |folder: &str, files: &[&str]| {
        let folder = desk.folder.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|name| std::fs::write(folder.join(name), fixture(name)).unwrap());
    };
    let whole = ["config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS];
    put("given/first", &whole);
    put("models/second", &whole);
    put("models/acme/third", &whole);
    put("models/half", &whole[..3]);
    put("own/fourth", &whole);
    put("models/no-model", &["tokenizer.json"]);
    std::fs::write(desk.folder.path().join("models/half/pytorch_model.bin"), "pickle").unwrap();
    std::fs::write(desk.folder.path().join("c.toml"), "[models.mine]\npath = \"own/fourth\"\n").unwrap();
    assert_eq!(desk.fetch().code, Some(0));
    let given = [("MILLRACE_MODELS", "given")];
    let listed = desk.millrace(&["models", "--config", "c.toml", "--json"], &given).json();
    let named: Vec<(&str, &str)> =
        listed.as_array().unwrap().iter().map(|one| (one["name"].as_str().unwrap(), one["place"].as_str().unwrap())).collect();
    let fetched = format!("acme/tiny@{COMMIT}");
    let expected = [
        ("mine", "config"),
        ("first", "$MILLRACE_MODELS"),
        ("acme/third", "models here"),
        ("half", "models here"),
        ("second", "models here"),
        (fetched.as_str(), "the hub's cache"),
    ];
    assert_eq!(named, expected);
    for one in listed.as_array().unwrap() {
        let wrong = one["wrong"].as_str();
        assert_eq!(wrong.is_some(), one["name"] == "half", "{one}");
        assert!(wrong.is_none_or(|wrong| wrong.contains("pytorch_model.bin can run code")), "{one}");
        // By its name a model is found where the list says.
        if one["place"] != "config" && wrong.is_none() {
            let checked = desk.millrace(&["models", "check", one["name"].as_str().unwrap()], &given);
            assert!(checked.code == Some(0) && checked.out.contains(one["digest"].as_str().unwrap()), "{checked:?}");
        }
    }
    let told = desk.millrace(&["models", "--config", "c.toml"], &given).out;
    for word in ["mine (config)", "second (models here)", "classify, bert, labels bad, so-so, good", "CANNOT BE USED", "sha256"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(!told.contains("no-model"), "{told}");
}

/// Would catch: a list that panics where nobody reads it to its end, as `millrace models | head` does.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let desk = Desk::new();
    assert_eq!(desk.fetch().code, Some(0));
    for command in
        [&["models"][..], &["models", "--json"], &["models", "check", "acme/tiny"], &["models", "check", "acme/tiny", "--json"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended: Ended = desk.command(command, &[]).stdout(writer).stderr(Stdio::piped()).output().unwrap().into();
        assert!(ended.code == Some(0) && ended.err.is_empty(), "{command:?}: {ended:?}");
    }
}

/// Would catch: a folder of a language model that is told wrongly, or one that cannot be used and passes.
#[test]
fn a_folder_is_told_or_refused() {
    let desk = Desk::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions");
    let check = |name: &str| desk.millrace(&["models", "check", root.join(name).to_str().unwrap(), "--json"], &[]);
    for (name, head, labels) in
        [("one", "sequence", 3), ("tag", "tokens", 5), ("answer", "spans", 0), ("fill", "mask", 0), ("nli", "sequence", 3)]
    {
        let told: Value = check(name).json();
        assert_eq!((&told["family"], &told["max_tokens"]), (&"bert".into(), &64.into()), "{told}");
        assert!(told["head"].as_str().unwrap().starts_with(head), "{told}");
        if labels > 0 {
            assert_eq!(told["labels"].as_array().unwrap().len(), labels, "{told}");
        }
        assert_eq!(told["digest"], sha(&std::fs::read(root.join(name).join(WEIGHTS)).unwrap()));
        assert_eq!(told["sample"].is_string(), head == "sequence", "{told}");
    }
    let usage = desk.millrace(&["models", "check", root.join("one").to_str().unwrap(), "--features", "a"], &[]);
    assert!(usage.code == Some(2) && usage.err.contains("scoring model"), "{usage:?}");
    let folder = desk.folder.path().join("spoiled");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS] {
        write(name, &fixture(name));
    }
    let spoiled = || desk.millrace(&["models", "check", "spoiled"], &[]);
    assert_eq!(spoiled().code, Some(0));
    let config = String::from_utf8(fixture("config.json")).unwrap();
    for (name, bytes, said) in [
        (WEIGHTS, fixture(WEIGHTS)[..20_000].to_vec(), WEIGHTS),
        ("tokenizer.json", b"{}".to_vec(), "tokenizer.json"),
        ("config.json", config.replace("\"bert\"", "\"no-such\"").into_bytes(), "no-such"),
        ("config.json", b"[".to_vec(), "config.json"),
    ] {
        write(name, &bytes);
        let refused = spoiled();
        assert!(refused.code == Some(1) && refused.err.contains(said) && refused.out.is_empty(), "{name}: {refused:?}");
        write(name, &fixture(name));
    }
}

/// Would catch: a file that is no model and leaves a folder behind.
#[test]
fn what_cannot_be_imported_leaves_nothing() {
    let desk = Desk::new();
    let file = desk.folder.path().join("x.gguf");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import/llama.gguf");
    let bytes = std::fs::read(source).unwrap();
    for (bytes, said) in [(&b"GGUF"[..], "x.gguf"), (&bytes[..15_000], "x.gguf"), (b"PK\x03\x04 no model", "x.gguf")] {
        std::fs::write(&file, bytes).unwrap();
        let refused = desk.millrace(&["models", "import", "x.gguf", "out"], &[]);
        assert!(refused.code == Some(1) && refused.err.contains(said), "{refused:?}");
        assert!(!desk.folder.path().join("out").join(WEIGHTS).exists());
    }
    std::fs::write(&file, &bytes).unwrap();
    let imported = desk.millrace(&["models", "import", "x.gguf", "models/mine", "--dtype", "f16"], &[]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let listed = desk.millrace(&["models", "--json"], &[]).json();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["task"], &listed[0]["family"]),
        (&"mine".into(), &"generate".into(), &"llama".into())
    );
    assert!(imported.out.contains(listed[0]["digest"].as_str().unwrap()), "{imported:?}");
}
