//! The order of `rerank`, by a cross-encoder whose logits are far from 0.

use super::{bare, fixture, function};
use serde_json::{Value, json};
use std::path::Path;

/// A copy of a fixture of one label whose logits are all so much greater.
fn raised(name: &str, by: f32, to: &Path) {
    for file in std::fs::read_dir(fixture(name)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let path = to.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let bias = &header["classifier.bias"];
    assert_eq!((&bias["dtype"], &bias["shape"]), (&json!("F32"), &json!([1])));
    let at = 8 + length + bias["data_offsets"][0].as_u64().unwrap() as usize;
    let own = f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    bytes[at..at + 4].copy_from_slice(&(own + by).to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
}

fn order(ranks: &Value) -> Vec<u64> {
    ranks.as_array().unwrap().iter().map(|rank| rank["index"].as_u64().unwrap()).collect()
}

/// Would catch: texts whose sigmoids are all 1 and that stand as they were asked, a cut that takes the first of them, numbers of a scale of
/// their own between 0 and 1.
#[tokio::test]
async fn great_logits_keep_their_order() {
    let asked = json!({
        "query": "good film",
        "texts": ["a bad film", "Anna lives in Paris", "the film was very good", "so a river", "good good bad", "London"]
    });
    for name in ["rank", "regression"] {
        let plain = function("rerank", &fixture(name), json!({}));
        let wanted = order(&bare(&*plain, &asked, json!({ "raw_scores": true })).await);
        assert_ne!(wanted, [0, 1, 2, 3, 4, 5], "{name}: the fixture tells nothing");
        let folder = tempfile::tempdir().unwrap();
        raised(name, 40.0, folder.path());
        let great = function("rerank", folder.path(), json!({}));
        let ranks = bare(&*great, &asked, json!({})).await;
        assert_eq!(order(&ranks), wanted, "{name}: {ranks}");
        assert_eq!(order(&bare(&*great, &asked, json!({ "top_k": 2 })).await), wanted[..2], "{name}");
        let score = ranks[0]["score"].as_f64().unwrap();
        match name {
            "rank" => assert!((score - 1.0).abs() < 1e-9, "{ranks}"),
            _ => assert_eq!(ranks, bare(&*great, &asked, json!({ "raw_scores": true })).await),
        }
    }
}
