use super::*;

fn bench(folder: &Path) -> Result<String> {
    report(&Model { folder: folder.to_owned(), texts: None, rounds: 2, new_tokens: 4 })
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Would catch: a row that is lost or says nothing, candle's network left out where it can run.
#[test]
fn each_row_of_an_encoder_is_told() {
    let told = bench(&fixture("functions/one")).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("bert, 64 texts") && lines.len() == 9, "{told}");
    let rows = [
        "all on",
        "equal texts",
        "as they come",
        "one text a pass",
        "cache of answers",
        "labels  ",
        "labels, last layer for all",
        "candle, sorted",
    ];
    for (line, row) in lines[1..].iter().zip(rows) {
        assert!(line.contains(row) && line.contains(" ms ") && line.contains(" x ("), "{line}");
    }
    assert!(lines[1].contains("1.00 x (1.00 to 1.00)  weights 0.") && lines[8].contains("weights"), "{told}");
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
    assert!(lines[0].contains("8 prompts") && lines[0].contains("4 new ones each") && lines.len() == 5, "{told}");
    for (line, row) in lines[1..].iter().zip(["all on", "one text after another", "not remembered", "candle, one"]) {
        assert!(line.contains(row) && line.contains(" x ("), "{line}");
    }
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
    let none = Model { folder: fixture("functions/one"), texts: None, rounds: 0, new_tokens: 1 };
    assert!(report(&none).unwrap_err().is::<common::Usage>());
}
