//! `millrace models`, `models check` and `models import` as they are called, for language models.

use super::desk::twin::{COMMIT, sha};
use super::desk::{Desk, WEIGHTS, fixture};
use crate::support::command::Ended;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

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
