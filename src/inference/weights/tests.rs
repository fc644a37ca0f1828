use super::{Digest, Tensors, Weights};
use crate::inference::InferenceError;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

/// A file with this header and so many bytes behind it.
fn file(header: &str, bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    file
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| std::fs::write(folder.path().join(name), bytes).unwrap());
    folder
}

fn tensor(name: &str, from: usize, to: usize) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":[{}],"data_offsets":[{from},{to}]}}"#, (to - from) / 4)
}

fn said(folder: &Path) -> String {
    let tried = Weights::open(folder, None).and_then(|weights| weights.tensors().map(drop));
    tried.unwrap_err().to_string()
}

/// Would catch: a panic, an allocation of what a header claims, or an error that does not say what is wrong.
#[test]
fn a_hostile_file_is_refused_and_the_reason_said() {
    let whole = file(&format!("{{{}}}", tensor("a", 0, 8)), 8);
    let mut lying = whole.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut long = whole.clone();
    long[..8].copy_from_slice(&90_000_000u64.to_le_bytes());
    let huge = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,8]}}"#;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "shorter than the length of its header"),
        (whole[..7].to_vec(), "shorter than the length of its header"),
        (whole[..20].to_vec(), "header is longer than the file"),
        (whole[..whole.len() - 3].to_vec(), "not as long as the file"),
        ([whole.clone(), vec![0; 4]].concat(), "not as long as the file"),
        (lying, "more than 100 MB"),
        (long, "header is longer than the file"),
        (file(&format!("{{{},{}}}", tensor("a", 0, 8), tensor("b", 4, 12)), 12), "`b` overlaps"),
        (file(&format!("{{{},{}}}", tensor("a", 0, 8), tensor("b", 12, 16)), 16), "`b` overlaps another one, or leaves a gap"),
        (file(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8), "shape does not fit"),
        (file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8), "damaged"),
        (file(huge, 8), "damaged"),
        (file(r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#, 8), "damaged"),
        (file("{", 0), "damaged"),
        (file("[1, 2]", 0), "damaged"),
        (b"\x80\x04\x95 a pickle under another name".to_vec(), "damaged"),
    ];
    for (bytes, reason) in cases {
        let folder = folder(&[("model.safetensors", bytes)]);
        let said = said(folder.path());
        assert!(said.contains(reason) && said.contains("model.safetensors"), "{reason}: {said}");
    }
}

fn parts() -> (Vec<u8>, Vec<u8>) {
    (file(&format!("{{{}}}", tensor("a", 0, 8)), 8), file(&format!("{{{}}}", tensor("b", 0, 4)), 4))
}

fn index(map: serde_json::Value) -> Vec<u8> {
    json!({"metadata": {"total_size": 12}, "weight_map": map}).to_string().into_bytes()
}

#[test]
fn a_checkpoint_in_parts_is_one() {
    let (a, b) = parts();
    let mut list = String::new();
    for (name, bytes) in [("one.safetensors", &a), ("two.safetensors", &b)] {
        writeln!(list, "{name} {}", Digest::of(bytes).as_str()).unwrap();
    }
    let map = index(json!({"a": "one.safetensors", "b": "two.safetensors"}));
    let folder = folder(&[("one.safetensors", a), ("two.safetensors", b), ("model.safetensors.index.json", map)]);
    let weights = Weights::open(folder.path(), None).unwrap();
    assert_eq!(weights.digest(), &Digest::of(list.as_bytes()));
    let tensors = weights.tensors().unwrap();
    assert_eq!((tensors.shape("a").unwrap(), tensors.shape("b").unwrap()), (vec![2], vec![1]));
    assert_eq!(tensors.unread(), ["a", "b"]);
    assert_eq!(tensors.f32("b", &[1]).unwrap(), [0.0]);
    assert_eq!(tensors.unread(), ["a"]);
    assert!(matches!(tensors.f32("c", &[1]), Err(InferenceError::MissingTensor { name, .. }) if name == "c"));
    assert!(Weights::open(folder.path(), Some(weights.digest().short())).is_ok());
    assert!(matches!(Weights::open(folder.path(), Some("0123456789ab")), Err(InferenceError::WrongDigest { .. })));
}

#[test]
fn an_index_that_lies_is_refused() {
    let (a, b) = parts();
    let with = |map: Vec<u8>| {
        let files = [("one.safetensors", a.clone()), ("two.safetensors", b.clone()), ("model.safetensors.index.json", map)];
        let folder = folder(&files);
        said(folder.path())
    };
    assert!(with(index(json!({"a": "../one.safetensors"}))).contains("does not lie in the folder"));
    assert!(with(index(json!({"a": "/etc/passwd"}))).contains("does not lie in the folder"));
    assert!(with(index(json!({"a": ".."}))).contains("does not lie in the folder"));
    assert!(with(index(json!({"a": "three.safetensors"}))).contains("three.safetensors"));
    assert!(with(index(json!({"a": "two.safetensors"}))).contains("has no tensor `a`"));
    assert!(with(index(json!({}))).contains("names no file"));
    assert!(with(b"{}".to_vec()).contains("weight_map"));
    assert!(with(b"not JSON".to_vec()).contains("index.json"));
    let twice = folder(&[
        ("one.safetensors", a.clone()),
        ("two.safetensors", a.clone()),
        ("model.safetensors.index.json", index(json!({"a": "one.safetensors", "b": "two.safetensors"}))),
    ]);
    assert!(said(twice.path()).contains("another file of the model has too"));
}

/// Two models with a tensor in common, which lies in the folder of one of them.
#[test]
fn a_tensor_may_lie_in_the_folder_of_another_model() {
    let (a, b) = parts();
    let both = file(&format!("{{{},{}}}", tensor("a", 0, 8), tensor("b", 8, 12)), 12);
    let root = tempfile::tempdir().unwrap();
    let (base, own) = (root.path().join("base"), root.path().join("own"));
    std::fs::create_dir_all(&base).unwrap();
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(base.join("model.safetensors"), &both).unwrap();
    std::fs::write(own.join("own.safetensors"), &b).unwrap();
    let there = "../base/model.safetensors";
    let with = |metadata: serde_json::Value| {
        let index = json!({"metadata": metadata, "weight_map": {"a": there, "b": "own.safetensors"}});
        std::fs::write(own.join("model.safetensors.index.json"), index.to_string()).unwrap();
    };
    with(json!({"sha256": {there: Digest::of(&both).as_str()}}));
    let weights = Weights::open(&own, None).unwrap();
    assert_eq!(weights.bytes(), b.len());
    let tensors = weights.tensors().unwrap();
    assert_eq!((tensors.f32("a", &[2]).unwrap().len(), tensors.f32("b", &[1]).unwrap().len()), (2, 1));
    assert_eq!(tensors.unread(), [""; 0], "the base's own `b` is none of this model's");
    // Would catch: another base in its place, which fits in shape and gives other answers.
    with(json!({}));
    assert!(said(&own).contains("without its sha256 under metadata.sha256"));
    with(json!({"sha256": {there: Digest::of(&a).as_str()}}));
    assert!(
        matches!(Weights::open(&own, None), Err(InferenceError::WrongDigest { path, .. }) if path.ends_with("base/model.safetensors"))
    );
    std::fs::remove_file(base.join("model.safetensors")).unwrap();
    assert!(said(&own).contains("base/model.safetensors"));
}

/// Would catch: a scale that has a scale of its own, and so on for every name of the file.
#[test]
fn a_scale_of_another_kind_is_refused() {
    let header =
        r#"{"a":{"dtype":"I8","shape":[1,4],"data_offsets":[0,4]},"a.scale":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}}"#;
    let folder = folder(&[("model.safetensors", file(header, 6))]);
    let weights = Weights::open(folder.path(), None).unwrap();
    let refused = weights.tensors().unwrap().f32("a", &[1, 4]);
    assert!(matches!(&refused, Err(InferenceError::Unsupported { cause, .. }) if cause.contains("a.scale")), "{refused:?}");
}

/// The buffers of old versions are no tensors that somebody forgot.
#[test]
fn buffers_are_not_missed() {
    let names =
        ["bert.embeddings.position_ids", "position_ids", "h.0.attn.bias", "h.0.attn.c_attn.bias", "layers.0.attn.Wqkv.bias"];
    let entries: Vec<String> = names.iter().enumerate().map(|(i, name)| tensor(name, 4 * i, 4 * i + 4)).collect();
    let folder = folder(&[("model.safetensors", file(&format!("{{{}}}", entries.join(",")), 4 * names.len()))]);
    let weights = Weights::open(folder.path(), None).unwrap();
    let tensors: Tensors<'_> = weights.tensors().unwrap();
    assert_eq!(tensors.unread(), ["h.0.attn.c_attn.bias", "layers.0.attn.Wqkv.bias"]);
}
