//! Which place wins, and what is said when none has the model.

use super::twin::{COMMIT, Twin};
use crate::hub::{Hub, Places, Repo, State, look};
use std::collections::BTreeMap;
use std::path::Path;

fn model(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::write(folder.join(name), "{}").unwrap();
    }
}

/// Places in a folder: a, b, c and a cache.
fn places(root: &Path) -> Places {
    let at = |name: &str| Some(root.join(name));
    Places {
        base: root.join("base"),
        models: at("a"),
        here: at("b"),
        beside: at("c"),
        cache: at("cache"),
        ..Places::of(&|_| None)
    }
}

fn cache(root: &Path) -> std::path::PathBuf {
    let of = root.join("cache/models--acme--tiny");
    std::fs::create_dir_all(of.join("refs")).unwrap();
    std::fs::write(of.join("refs/main"), format!("{COMMIT}\n")).unwrap();
    of.join("snapshots").join(COMMIT)
}

/// Would catch: another order, a place that is only half there and wins, a cache that is not read.
#[test]
fn the_first_place_that_has_all_of_it_wins() {
    let root = tempfile::tempdir().unwrap();
    let (root, places) = (root.path(), places(root.path()));
    let snapshot = cache(root);
    for folder in
        [snapshot, root.join("c/acme/tiny"), root.join("b/acme/tiny"), root.join("a/acme/tiny"), root.join("base/acme/tiny")]
    {
        std::fs::create_dir_all(&folder).unwrap();
        if !folder.starts_with(root.join("base")) {
            // Without weights it is passed over.
            std::fs::write(folder.join("config.json"), "{}").unwrap();
            let before = places.find("acme/tiny").map(|found| found.folder);
            assert!(before.is_err() || before.is_ok_and(|before| before != folder));
        }
        model(&folder);
        assert_eq!(places.find("acme/tiny").unwrap().folder, folder);
    }
    let by_commit = Places { base: root.join("x"), models: None, here: None, beside: None, ..places };
    let found = by_commit.find(&format!("acme/tiny@{COMMIT}")).unwrap();
    assert_eq!((found.name.as_str(), found.commit.as_deref()), ("acme/tiny", Some(COMMIT)));
}

/// Would catch: a message without a place, without what is missing there, or without the command that helps.
#[test]
fn what_was_looked_at_is_told() {
    let root = tempfile::tempdir().unwrap();
    let (root, places) = (root.path(), places(root.path()));
    let snapshot = cache(root);
    model(&snapshot);
    std::fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    std::fs::create_dir_all(root.join("b/acme/tiny")).unwrap();
    let error = places.find("acme/tiny").unwrap_err();
    let states: Vec<String> = error.looked.iter().map(|place| place.state.to_string()).collect();
    let expected =
        ["absent", "absent", "incomplete, config.json is missing", "absent", "incomplete, model.safetensors is missing"];
    assert_eq!(states, expected);
    let text = error.to_string();
    for said in ["`acme/tiny`", "$MILLRACE_MODELS", "downloads are not allowed", "Fetch it: millrace models fetch acme/tiny@main"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
    let plain = places.find("no-such").unwrap_err();
    assert!(plain.looked.len() == 4 && plain.help.contains("millrace models") && plain.hub.is_empty(), "{plain}");
    for odd in ["", "/no/such", "a/b/c", "../x/y", "acme/tiny@../x", "acme/.tiny", "a b/c", "acme/tiny@"] {
        assert!(Repo::parse(odd).is_none(), "{odd}");
        assert!(places.find(odd).is_err(), "{odd}");
    }
}

/// Would catch: a download that nobody allowed, or that goes out although a variable forbids it; one that is allowed and not made.
#[tokio::test]
async fn a_hub_is_asked_only_where_that_is_allowed() {
    let twin = Twin::start();
    let files: [(&str, &[u8]); 3] = [("config.json", b"{}"), ("tokenizer.json", b"{}"), ("model.safetensors", b"w")];
    twin.add("acme/new", &files);
    let root = tempfile::tempdir().unwrap();
    let env = BTreeMap::from([
        ("HF_ENDPOINT".to_owned(), twin.endpoint()),
        ("HF_HOME".to_owned(), root.path().display().to_string()),
        ("TRANSFORMERS_OFFLINE".to_owned(), "YES".to_owned()),
    ]);
    let offline = Places::of(&|name| env.get(name).cloned());
    let error = offline.clone().allowing(true).find("acme/new").unwrap_err();
    assert!(error.to_string().contains("TRANSFORMERS_OFFLINE is on") && twin.requests() == 0, "{error}");
    let online = Places { offline: None, ..offline };
    assert!(online.find("acme/new").is_err() && twin.requests() == 0);
    let found = online.clone().allowing(true).find("acme/new").unwrap();
    assert_eq!(found.folder, root.path().join("hub/models--acme--new/snapshots").join(COMMIT));
    let asked = twin.requests();
    assert_eq!(online.find("acme/new").unwrap(), found);
    assert_eq!(twin.requests(), asked, "what is there is not asked for");
    let hub = Hub { tries: 1, ..online.hub.clone() };
    let error = Places { hub, ..online }.allowing(true).find("acme/none").unwrap_err();
    assert!(error.to_string().contains("has no model `acme/none`") && error.help.contains("HF_TOKEN"), "{error}");
}

#[test]
fn variables_name_the_cache() {
    let of = |pairs: &[(&str, &str)]| {
        let env: BTreeMap<String, String> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Places::of(&|name| env.get(name).cloned())
    };
    let cache = |pairs: &[(&str, &str)]| of(pairs).cache.map(|path| path.display().to_string());
    let all = [("HF_HUB_CACHE", "/1"), ("HF_HOME", "/2"), ("XDG_CACHE_HOME", "/3"), ("HOME", "/4")];
    let expected = ["/1", "/2/hub", "/3/huggingface/hub", "/4/.cache/huggingface/hub"];
    for (from, expected) in expected.into_iter().enumerate() {
        assert_eq!(cache(&all[from..]).as_deref(), Some(expected));
    }
    assert_eq!(cache(&[]), None);
    assert_eq!(of(&[("HF_HUB_OFFLINE", "0")]).offline, None);
    assert_eq!(of(&[("HF_HUB_OFFLINE", "true")]).offline, Some("HF_HUB_OFFLINE"));
    assert_eq!(of(&[("MILLRACE_MODELS", "/m")]).models.as_deref(), Some(Path::new("/m")));
}

#[test]
fn a_folder_is_whole_or_says_what_it_lacks() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("m");
    assert_eq!(look(&folder), State::Absent);
    model(&folder);
    assert_eq!(look(&folder), State::Found);
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    assert_eq!(look(&folder).to_string(), "incomplete, the tokeniser is missing");
    std::fs::write(folder.join("config.json"), r#"{"backbone": {"folder": "../x"}}"#).unwrap();
    assert_eq!(look(&folder), State::Found, "a head stands on another folder's tokeniser");
    std::fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin")).unwrap();
    assert!(look(&folder).to_string().contains("pytorch_model.bin can run code"));
    std::fs::write(folder.join("model.safetensors.index.json"), r#"{"weight_map": {"a": "m-1.safetensors"}}"#).unwrap();
    assert_eq!(look(&folder).to_string(), "incomplete, m-1.safetensors is missing");
    let with = |name: &str| {
        std::fs::write(folder.join("model.safetensors.index.json"), format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#)).unwrap();
        look(&folder)
    };
    assert_eq!(with("../base/model.safetensors").to_string(), "incomplete, ../base/model.safetensors is missing");
    model(&root.path().join("base"));
    assert_eq!(with("../base/model.safetensors"), State::Found, "a model may share tensors with one beside it");
    for odd in [
        "../../m/model.safetensors",
        "/tmp/model.safetensors",
        "base/model.safetensors",
        "..//model.safetensors",
        "../.git/a.safetensors",
    ] {
        assert!(with(odd).to_string().contains("no file of safetensors"), "{odd}");
    }
}

/// Would catch: a name with one letter wrong that is told the places alone, a file that is told to be absent.
#[test]
fn a_name_that_is_nearly_one_and_a_file_are_told_so() {
    let root = tempfile::tempdir().unwrap();
    let model = root.path().join("sentiment-en");
    std::fs::create_dir(&model).unwrap();
    std::fs::write(model.join("config.json"), "{}").unwrap();
    std::fs::write(root.path().join("tiny.gguf"), "GGUF").unwrap();
    let here = Places { here: Some(root.path().to_owned()), ..Places::default() };
    let help = |asked: &str| here.find(asked).unwrap_err().help;
    assert!(help("sentimnt-en").starts_with("Did you mean `sentiment-en`? "), "{}", help("sentimnt-en"));
    assert!(!help("something").contains("Did you mean"), "{}", help("something"));
    let at = |name: &str| root.path().join(name).display().to_string();
    assert!(
        help(&at("sentimentt-en")).contains(&format!("Did you mean `{}`", model.display())),
        "{}",
        help(&at("sentimentt-en"))
    );
    assert!(help(&at("tiny.gguf")).contains(&format!("millrace models import {} DIR", at("tiny.gguf"))));
    assert!(help(&at("sentiment-en/config.json")).ends_with(&format!("name {}", model.display())));
}
