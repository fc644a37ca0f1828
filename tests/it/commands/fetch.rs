//! `millrace models fetch` against a hub on this machine: what is found where, what is fetched, what is refused.

use super::desk::twin::{COMMIT, Fault, sha};
use super::desk::{Desk, WEIGHTS, fixture};
use crate::support::command::Ended;

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
