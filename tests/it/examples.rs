//! The examples, as they are run in the repository's folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Cargo builds it for a whole `cargo test`.
fn program() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_millrace")).with_file_name("examples").join("functions");
    assert!(
        path.exists(),
        "{} is not built; a whole `cargo test` builds it, or `cargo build --example functions`",
        path.display()
    );
    path
}

fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

/// Would catch: an example that does not run, or says something else than its function does.
#[test]
fn each_example_says_what_it_should() {
    for (name, first) in [
        ("sentiment", "positive"),
        ("classify", "I want my money back: refund"),
        ("embed", "3 vectors of 384 numbers"),
        ("similar", "My card is missing. 0."),
        ("rerank", "Refunds are paid in five days. 0."),
        ("summarize", "2 sentences, "),
        ("reply", "parcel: Hello Ann, you can follow your parcel on the page My orders. (0."),
        ("answer", "five days 0."),
        ("tag", "tag needs a folder of"),
        ("fill", "fill needs a folder of"),
        ("generate", "generate needs a folder of"),
        ("translate", "translate needs a folder of"),
    ] {
        let output = run(&[name]);
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && said.lines().next().is_some_and(|line| line.starts_with(first)),
            "{name}: {said}{wrong}"
        );
    }
}

/// Would catch: an example that does not fit its kind of model.
#[test]
fn examples_run_on_a_folder_that_is_given() {
    for (name, folder) in [
        ("answer", "functions/answer"),
        ("tag", "functions/tag"),
        ("fill", "functions/fill"),
        ("translate", "translate/marian"),
        ("generate", "writer/llama"),
    ] {
        let output = run(&[name, &format!("tests/fixtures/{folder}")]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Would catch: a function without an example.
#[test]
fn each_function_has_an_example() {
    let output = run(&[]);
    let known = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    for name in millrace::function::TEXT_FUNCTIONS.into_iter().chain(["embed", "generate", "sentiment"]) {
        assert!(known.contains(name), "{name}: {known}");
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/functions/{name}.rs"))).unwrap();
        let main = text.lines().skip_while(|line| !line.contains("fn main()")).take_while(|line| *line != "}").count();
        assert!((1..=25).contains(&main), "{name}: {main} lines");
    }
}
