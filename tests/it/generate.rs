//! `millrace models import` and `millrace call generate`, as they are called.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

fn millrace(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Would catch: a folder that is written and cannot be used, an exit code that hides a failure, a second import over a first one.
#[test]
fn a_file_becomes_a_folder_that_answers() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("tiny");
    let file = "tests/fixtures/import/llama.gguf";
    let imported = millrace(&["models", "import", file, text(&folder), "--dtype", "f16"]);
    let told = String::from_utf8_lossy(&imported.stdout);
    assert!(imported.status.success() && told.contains("20 tensors") && told.contains("sha256 of the file"), "{imported:?}");
    assert_eq!(millrace(&["models", "import", file, text(&folder)]).status.code(), Some(1));
    assert_eq!(millrace(&["models", "import", file, text(&folder), "--dtype", "int3"]).status.code(), Some(2));

    let options = json!({ "max_new_tokens": 5, "labels": ["refund", "praise"] }).to_string();
    let answered = millrace(&["call", "generate", "--model", text(&folder), "--options", &options, "Where is it?"]);
    let answer: Value = serde_json::from_slice(&answered.stdout).unwrap_or_else(|_| panic!("{answered:?}"));
    assert!(["refund", "praise"].contains(&answer["label"].as_str().unwrap()), "{answer}");
    let wrong = millrace(&["call", "generate", "--model", text(&folder), "--options", r#"{"top_p": 2}"#, "x"]);
    assert!(wrong.status.code() == Some(2) && String::from_utf8_lossy(&wrong.stderr).contains("`top_p`"), "{wrong:?}");
}
