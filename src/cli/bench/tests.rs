use super::*;
use crate::inference::{Encoder, Head, Options};
use crate::train::checkpoint::Folder;
use crate::train::shrink::{Form, shrink};

fn bench(folder: &Path) -> Result<String> {
    report(&Model { folder: folder.to_owned(), texts: None, rounds: 2, prompts: 16, new_tokens: 4 })
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Would catch: a row that is lost or says nothing, candle's network left out where it can run.
#[test]
fn each_row_of_an_encoder_is_told() {
    let told = bench(&fixture("functions/one")).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("bert, 64 texts") && lines.len() == 11, "{told}");
    let rows = [
        "all on",
        "equal texts",
        "as they come",
        "one text a pass",
        "cache of answers",
        "attention scale",
        "query, key, value apart",
        "labels  ",
        "labels, last layer for all",
        "candle, sorted",
    ];
    for (line, row) in lines[1..].iter().zip(rows) {
        assert!(line.contains(row) && line.contains(" ms ") && line.contains(" x ("), "{line}");
    }
    assert!(lines[1].contains("1.00 x (1.00 to 1.00)  weights 0."), "{told}");
    assert!([6, 7, 10].iter().all(|row| lines[*row].contains("weights 0.")), "{told}");
}

#[test]
fn each_row_of_a_causal_model_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let request = crate::inference::import::Request {
        file: fixture("import/llama.gguf"),
        folder: folder.path().join("m"),
        dtype: crate::inference::import::Dtype::F32,
        tokenizer: None,
        rope_theta: None,
    };
    crate::inference::import::import(&request).unwrap();
    let told = bench(&request.folder).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("16 prompts") && lines[0].contains("4 new ones each") && lines.len() == 5, "{told}");
    for (line, row) in lines[1..].iter().zip(["all on", "one text after another", "not remembered", "candle, one"]) {
        assert!(line.contains(row) && line.contains(" x ("), "{line}");
    }
}

/// Would catch: a model in int8 that candle's row is left out for, or that it runs with other weights.
#[test]
fn candle_runs_a_model_in_int8_with_its_weights_widened() {
    let (folder, small) = (fixture("functions/one"), tempfile::tempdir().unwrap());
    let (small, whole) = (small.path().join("m"), Folder::read(&folder).unwrap());
    shrink(&whole, &folder, &small, Form::Int8).unwrap();
    let told = bench(&small).unwrap();
    assert!(told.lines().last().unwrap().contains("candle, sorted"), "{told}");

    let (stock, encoder) =
        (Stock::open(&small).unwrap().unwrap(), Encoder::open("m", &small, None, &Options::default()).unwrap());
    let ids = encoder.tokenize("a good film").unwrap().ids;
    let vectors = stock.vectors(&[&ids]).unwrap();
    let hidden = encoder.dimensions();
    let mut mean: Vec<f32> =
        (0..hidden).map(|i| vectors.iter().skip(i).step_by(hidden).sum::<f32>() / ids.len() as f32).collect();
    let norm = mean.iter().map(|v| v * v).sum::<f32>().sqrt();
    mean.iter_mut().for_each(|v| *v /= norm);
    let ours = encoder.answer_blocking(Head::Embed, vec!["a good film".to_owned()]).unwrap().swap_remove(0).values;
    let worst = ours.iter().zip(&mean).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst}");
}

/// Would catch: another family's network taken for candle's, a wrong folder or number that is measured.
#[test]
fn what_candle_has_not_is_said_and_a_wrong_folder_is_refused() {
    let families = fixture("causal/gpt2");
    assert!(Stock::open(&families).unwrap().is_none());
    let empty = tempfile::tempdir().unwrap();
    let error = format!("{:#}", bench(empty.path()).unwrap_err());
    assert!(error.contains("config.json"), "{error}");
    assert!(bench(Path::new("no/such/model")).is_err());
    for (rounds, prompts) in [(0, 1), (1, 0)] {
        let none = Model { folder: fixture("functions/one"), texts: None, rounds, prompts, new_tokens: 1 };
        assert!(report(&none).unwrap_err().is::<common::Usage>());
    }
}
