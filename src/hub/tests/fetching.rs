//! Downloads.

use super::twin::{COMMIT, Fault, Twin, sha};
use crate::hub::{Cached, Hub, HubError, Repo, State, cached, fetch};
use std::path::Path;
use std::time::Duration;

const INDEX: &str = "model.safetensors.index.json";

fn hub(twin: &Twin, token: Option<&str>) -> Hub {
    let hub = Hub::new(Some(&twin.endpoint()), token.map(str::to_owned));
    Hub { tries: 3, pause: Duration::from_millis(1), ..hub }
}

fn repo(name: &str) -> Repo {
    Repo::parse(name).unwrap()
}

fn weights() -> Vec<u8> {
    (0..700_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A hub with a model whose weights are large.
fn tiny() -> Twin {
    let twin = Twin::start();
    let weights = weights();
    twin.add(
        "acme/tiny",
        &[
            ("config.json", b"{}"),
            ("tokenizer.json", b"{\"a\":1}"),
            ("1_Pooling/config.json", b"{\"b\":1}"),
            ("model.safetensors", &weights),
            ("pytorch_model.bin", b"pickle"),
            ("onnx/model.onnx", b"onnx"),
            ("train.py", b"print()"),
        ],
    );
    twin.state.lock().unwrap().large.push("model.safetensors".into());
    twin
}

fn get(twin: &Twin, name: &str, cache: &Path) -> Result<crate::hub::Fetched, HubError> {
    fetch(&hub(twin, None), &repo(name), cache, &mut |_| {})
}

/// Would catch: a file too many or too few, files of another commit, a cache that others do not read, a second download.
#[tokio::test]
async fn a_model_is_fetched_once_and_found_by_all() {
    let twin = tiny();
    let cache = tempfile::tempdir().unwrap();
    let fetched = get(&twin, "acme/tiny", cache.path()).unwrap();
    assert_eq!((fetched.commit.as_str(), fetched.bytes), (COMMIT, 700_000 + 2 + 7 + 7));
    let root = cache.path().join("models--acme--tiny");
    assert_eq!(fetched.folder, root.join("snapshots").join(COMMIT));
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    let mut names: Vec<String> =
        std::fs::read_dir(&fetched.folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["1_Pooling", "config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(std::fs::read(fetched.folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(std::fs::read(fetched.folder.join("1_Pooling/config.json")).unwrap(), b"{\"b\":1}");
    let link = std::fs::read_link(fetched.folder.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(sha(&weights())));
    assert_eq!(std::fs::read_dir(root.join("blobs")).unwrap().count(), 4, "nothing half is left");
    let found = cached(cache.path(), &repo("acme/tiny"));
    assert_eq!(found, Cached { folder: fetched.folder.clone(), commit: Some(COMMIT.into()), state: State::Found });
    assert_eq!(cached(cache.path(), &repo(&format!("acme/tiny@{COMMIT}"))).state, State::Found);

    assert_eq!(get(&twin, "acme/tiny", cache.path()).unwrap().bytes, 0);
    assert_eq!(twin.asked("GET", &sha(&weights())).len(), 1);
    // The revision moves on, and the file that did not change stays where it is.
    let next = "f".repeat(40);
    twin.state.lock().unwrap().revisions.insert("main".into(), next.clone());
    twin.state.lock().unwrap().revisions.insert("refs/pr/1".into(), COMMIT.into());
    let moved = get(&twin, "acme/tiny", cache.path()).unwrap();
    assert_eq!((moved.commit.as_str(), moved.bytes), (next.as_str(), 0));
    assert!(moved.folder.join("model.safetensors").is_file() && fetched.folder.join("model.safetensors").is_file());
    assert_eq!(get(&twin, "acme/tiny@refs/pr/1", cache.path()).unwrap().commit, COMMIT);
    assert_eq!(cached(cache.path(), &repo("acme/tiny@refs/pr/1")).state, State::Found);
}

/// Would catch: bytes that come twice or are left out where a connection ended, a file that begins anew although most of it is there.
#[test]
fn what_was_cut_off_is_gone_on_with() {
    let twin = tiny();
    let cache = tempfile::tempdir().unwrap();
    let blob: &'static str = Box::leak(sha(&weights()).into_boxed_str());
    twin.fault(blob, Fault::Cut(300_000));
    twin.fault(blob, Fault::Cut(100_000));
    let fetched = get(&twin, "acme/tiny", cache.path()).unwrap();
    assert_eq!(std::fs::read(fetched.folder.join("model.safetensors")).unwrap(), weights());
    let ranges: Vec<Option<String>> = twin.asked("GET", blob).iter().map(|headers| headers.get("range").cloned()).collect();
    assert_eq!(ranges, [None, Some("bytes=300000-".to_owned()), Some("bytes=400000-".to_owned())]);

    // A hub that cuts again and again ends the call; the next call goes on, also where the hub knows no ranges by then.
    let cache = tempfile::tempdir().unwrap();
    twin.fault(blob, Fault::Cut(200_000));
    (0..3).for_each(|_| twin.fault(blob, Fault::Cut(0)));
    let error = get(&twin, "acme/tiny", cache.path()).unwrap_err();
    assert!(matches!(&error, HubError::Connection { cause, .. } if !cause.is_empty()), "{error}");
    assert_eq!(cached(cache.path(), &repo("acme/tiny")).state, State::Incomplete("the revision main is not there".into()));
    let at = cached(cache.path(), &repo(&format!("acme/tiny@{COMMIT}"))).state;
    assert_eq!(at, State::Incomplete("model.safetensors is missing".into()));
    twin.fault(blob, Fault::NoRange);
    let fetched = get(&twin, "acme/tiny", cache.path()).unwrap();
    assert_eq!((fetched.bytes, std::fs::read(fetched.folder.join("model.safetensors")).unwrap()), (700_000, weights()));
}

/// Would catch: weights that are not what the hub says and get their name, or that stay and spoil each further try.
#[test]
fn a_wrong_hash_leaves_nothing() {
    let twin = tiny();
    twin.state.lock().unwrap().hashes.insert("model.safetensors".into(), "a".repeat(64));
    let cache = tempfile::tempdir().unwrap();
    let error = get(&twin, "acme/tiny", cache.path()).unwrap_err();
    assert!(matches!(&error, HubError::WrongHash { file, .. } if file == "model.safetensors"), "{error}");
    let blobs = cache.path().join("models--acme--tiny/blobs");
    assert!(std::fs::read_dir(blobs).unwrap().all(|one| one.unwrap().file_name().len() == 40));
    twin.state.lock().unwrap().hashes.clear();
    get(&twin, "acme/tiny", cache.path()).unwrap();
    // A name of a blob that leads elsewhere.
    let twin = tiny();
    twin.state.lock().unwrap().hashes.insert("model.safetensors".into(), "../../../../evil".into());
    let error = get(&twin, "acme/tiny", tempfile::tempdir().unwrap().path()).unwrap_err();
    assert!(matches!(error, HubError::NotAHub { .. }), "{error}");
}

/// Would catch: a token that another host sees, an answer that is taken for a file, a try too few where a hub is busy.
#[test]
fn what_a_hub_answers_is_understood() {
    let twin = tiny();
    let cache = tempfile::tempdir().unwrap();
    let get = |name: &str, token: Option<&str>| fetch(&hub(&twin, token), &repo(name), cache.path(), &mut |_| {});
    assert!(matches!(get("acme/none", None).unwrap_err(), HubError::NoSuchRepo { repo, .. } if repo == "acme/none"));
    let error = get("acme/tiny@v9", None).unwrap_err();
    assert!(matches!(&error, HubError::NoSuchRevision { revision, .. } if revision == "v9"), "{error}");
    twin.state.lock().unwrap().token = Some("secret-1");
    assert!(matches!(get("acme/tiny", None).unwrap_err(), HubError::NeedsToken { .. }));
    let error = get("acme/tiny", Some("secret-2")).unwrap_err();
    assert!(matches!(error, HubError::Forbidden { .. }) && !error.to_string().contains("secret"), "{error}");
    twin.fault("revision/main", Fault::Status(429, ""));
    twin.fault("revision/main", Fault::Status(503, ""));
    get("acme/tiny", Some("secret-1")).unwrap();
    assert!(!format!("{:?}", hub(&twin, Some("secret-1"))).contains("secret-1"));
    assert!(twin.asked("GET", "revision/main").last().unwrap()["authorization"].contains("secret-1"));
    let far = twin.asked("GET", &sha(&weights()));
    assert!(far.len() == 1 && !far[0].contains_key("authorization") && far[0]["host"].starts_with("localhost"), "{far:?}");
    (0..3).for_each(|_| twin.fault("revision/main", Fault::Status(429, "")));
    assert!(matches!(get("acme/tiny", Some("secret-1")).unwrap_err(), HubError::Busy { tries: 3, .. }));
    (0..3).for_each(|_| twin.fault("revision/main", Fault::Status(500, "")));
    assert!(matches!(get("acme/tiny", Some("secret-1")).unwrap_err(), HubError::Status { status: 500, .. }));
    let away = Hub { tries: 1, ..Hub::new(Some("http://127.0.0.1:1"), None) };
    let error = fetch(&away, &repo("acme/tiny"), cache.path(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, HubError::Connection { .. }), "{error}");
}

/// Would catch: a pickle that is fetched, weights in parts of which one is left out, a part that is written elsewhere.
#[test]
fn weights_are_safetensors_whole_or_in_parts() {
    let twin = Twin::start();
    let cache = tempfile::tempdir().unwrap();
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let parts: [(&str, &[u8]); 5] = [
        ("config.json", b"{}"),
        ("vocab.txt", b"a"),
        (INDEX, index),
        ("model-1.safetensors", b"one"),
        ("model-2.safetensors", b"two"),
    ];
    twin.add("acme/parts", &parts);
    let fetched = get(&twin, "acme/parts", cache.path()).unwrap();
    assert_eq!(std::fs::read(fetched.folder.join("model-2.safetensors")).unwrap(), b"two");
    twin.add("acme/half", &parts[..4]);
    assert!(
        matches!(get(&twin, "acme/half", cache.path()).unwrap_err(), HubError::Incomplete { missing, .. } if missing == "model-2.safetensors")
    );
    for odd in ["../config.safetensors", "/etc/x.safetensors", "model.bin", ".x.safetensors"] {
        let index = format!("{{\"weight_map\": {{\"a\": \"{odd}\"}}}}");
        twin.add("acme/odd", &[("config.json", b"{}"), ("vocab.txt", b"a"), (INDEX, index.as_bytes()), ("model.bin", b"x")]);
        // The index is in the cache by then: another commit for each.
        let commit = sha(odd.as_bytes())[..40].to_owned();
        let error = get(&twin, &format!("acme/odd@{commit}"), cache.path()).unwrap_err();
        assert!(matches!(&error, HubError::NotAHub { what, .. } if what.contains(odd)), "{odd}: {error}");
    }
    twin.add("acme/pickle", &[("config.json", b"{}"), ("vocab.txt", b"a"), ("pytorch_model.bin", b"x")]);
    let error = get(&twin, "acme/pickle", cache.path()).unwrap_err();
    assert!(matches!(&error, HubError::OnlyPickle { found, .. } if found == "pytorch_model.bin"), "{error}");
    assert!(
        error.to_string().contains("safe_serialization=True") && twin.asked("GET", "pytorch_model.bin").is_empty(),
        "{error}"
    );
    twin.add("acme/none", &[("config.json", b"{}"), ("vocab.txt", b"a")]);
    assert!(matches!(get(&twin, "acme/none", cache.path()).unwrap_err(), HubError::Incomplete { .. }));
    twin.add("acme/mute", &[("config.json", b"{}"), ("model.safetensors", b"a")]);
    assert!(get(&twin, "acme/mute", cache.path()).unwrap_err().to_string().contains("tokeniser"));
}
