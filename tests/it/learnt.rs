//! From texts to a language model that answers, with the program itself.

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

/// The command, with blanks between its arguments.
fn millrace(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millrace")).args(arguments.split(' ')).current_dir(folder).output().unwrap()
}

fn done(folder: &Path, arguments: &str) -> String {
    let output = millrace(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code and the words of a refusal.
fn refused(folder: &Path, arguments: &str) -> (Option<i32>, String) {
    let output = millrace(folder, arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn perplexity(folder: &Path, model: &str, data: &str) -> f64 {
    let report = done(folder, &format!("eval generate --model {model} --data {data} --window 24 --json"));
    let report: Value = serde_json::from_str(&report).unwrap();
    let found = &report["models"][0];
    let number = |key: &str| found[key].as_f64().unwrap();
    assert!((number("loss").exp() - number("perplexity")).abs() < 1e-6 * number("perplexity"), "{found}");
    let bits = number("loss") * number("tokens") / number("characters") / std::f64::consts::LN_2;
    assert!((number("bits_per_character") - bits).abs() < 1e-6, "{found}");
    number("perplexity")
}

/// What the model goes on with, the likeliest token each time.
fn said(folder: &Path, model: &str, prompt: &str, tokens: usize) -> String {
    let options = json!({ "max_new_tokens": tokens, "temperature": 0 }).to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["call", "generate", "--model", model, "--options", &options, prompt])
        .current_dir(folder)
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    answer["generated_text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

const NEW: &str =
    "--tokenizer characters --layers 1 --hidden 32 --heads 2 --context 24 --batch 4 --lr 1e-2 --epochs 8 --drop-out 0";

/// Would catch: a network that is written otherwise than it learnt, tokens that the folder reads otherwise, a run without a card or curves,
/// adapters that are merged to the wrong side or that change what they should not.
#[test]
fn a_text_becomes_a_model_that_goes_on_with_it_and_adapters_teach_it_another() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write(folder, "cat.txt", &"the cat sat on the mat.\n".repeat(60));
    let told = done(folder, &format!("train generate --train cat.txt --out cat {NEW}"));
    assert!(told.contains("1296 tokens") && told.contains("best on dev: loss"), "{told}");
    // 12 characters, the end of a text and the unknown one.
    let learnt = perplexity(folder, "cat", "cat.txt");
    assert!(learnt < 1.5, "perplexity {learnt}; 14 is that of guessing blindly");
    assert!(said(folder, "cat", "the cat", 10).starts_with(" sat on th"), "{}", said(folder, "cat", "the cat", 10));
    let card = std::fs::read_to_string(folder.join("cat/README.md")).unwrap();
    assert!(card.contains("--tokenizer characters") && card.contains("bits a character") && !card.contains("/tmp"), "{card}");
    let curves = std::fs::read_to_string(folder.join("cat/runs/curves.csv")).unwrap();
    assert!(curves.contains("train/loss") && curves.contains("dev/loss"), "{curves}");

    write(folder, "mat.txt", &"the mat sat on the cat.\n".repeat(60));
    let before = perplexity(folder, "cat", "mat.txt");
    let lora = "--lora-rank 4 --lora-matrices q,v,o,gate,up,down --context 24 --batch 4 --lr 1e-2 --epochs 8";
    let told = done(folder, &format!("train generate --from cat --train mat.txt --out mat {lora}"));
    assert!(told.contains("parameters, of which"), "{told}");
    let after = perplexity(folder, "mat", "mat.txt");
    assert!(after < before * 0.75 && after < 1.5, "{before} to {after}");
    assert!(said(folder, "mat", "the mat", 10).starts_with(" sat on th"), "{}", said(folder, "mat", "the mat", 10));
    let tensors = |model: &str| std::fs::read(folder.join(model).join("model.safetensors")).unwrap();
    let (base, adapted) = (tensors("cat"), tensors("mat"));
    let (base, adapted) =
        (safetensors::SafeTensors::deserialize(&base).unwrap(), safetensors::SafeTensors::deserialize(&adapted).unwrap());
    for name in base.names() {
        let changed = base.tensor(name).unwrap().data() != adapted.tensor(name).unwrap().data();
        let wanted = name.contains("proj") && !name.contains("k_proj");
        assert_eq!(changed, wanted, "{name}");
    }
    let compared = done(folder, "eval generate --model mat --against cat --data mat.txt --window 24");
    assert!(compared.contains("fewer bits than the second"), "{compared}");
}

/// Would catch: a template that is lost on the way, and a loss over what the user says.
#[test]
fn conversations_teach_a_model_its_answers() {
    let place = tempfile::tempdir().unwrap();
    let (folder, file) = (place.path(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import/llama.gguf"));
    done(folder, &format!("models import {} base", file.display()));
    let chat = |question: &str| {
        let messages = json!([{ "role": "user", "content": question }, { "role": "assistant", "content": "yes" }]);
        json!({ "messages": messages }).to_string() + "\n"
    };
    write(folder, "chats.jsonl", &["is it so", "will it be", "was it", "are we"].map(chat).concat().repeat(5));
    let eval = "eval generate --data chats.jsonl --json --model";
    let loss = |model: &str| {
        let report: Value = serde_json::from_str(&done(folder, &format!("{eval} {model}"))).unwrap();
        report["models"][0]["loss"].as_f64().unwrap()
    };
    let before = loss("base");
    let lora = "--lora-rank 2 --lora-alpha 8 --lora-matrices q,v,up,down --context 64 --batch 4 --lr 3e-2 --epochs 12";
    let told = done(folder, &format!("train generate --from base --train chats.jsonl --dev chats.jsonl --out yes {lora}"));
    assert!(told.contains("20 texts"), "{told}");
    assert!(loss("yes") < before * 0.75, "{before} to {}", loss("yes"));
}

/// Would catch: a panic, a run that begins and fails in its middle, and words that do not say what to do.
#[test]
fn what_cannot_be_learnt_or_measured_is_refused_with_a_reason() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write(folder, "cat.txt", &"the cat sat on the mat.\n".repeat(20));
    write(folder, "few.txt", "the cat");
    write(folder, "empty.txt", "");
    write(folder, "mixed.jsonl", "{\"text\": \"a cat\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"a cat\"}]}\n");
    write(folder, "other.jsonl", "{\"text\": \"a cat\"}\n{\"words\": \"a cat\"}\n");
    let new = "--tokenizer characters --hidden 32 --layers 1 --context 24 --max-steps 1";
    for (arguments, code, words) in [
        ("--train cat.txt --out o", 2, "--tokenizer characters"),
        ("--train cat.txt --out o --tokenizer characters --lora-rank 4", 2, "--from"),
        ("--train cat.txt --out o --from cat --hidden 32", 2, "leave them out"),
        ("--train cat.txt --out o --from none", 1, "none/tokenizer.json"),
        ("--train cat.txt --out o --tokenizer none", 1, "none/tokenizer.json"),
        (&format!("--train none.txt --out o {new}"), 1, "none.txt"),
        (&format!("--train empty.txt --out o {new}"), 1, "empty.txt is empty"),
        (&format!("--train few.txt --out o {new}"), 1, "too few"),
        (&format!("--train mixed.jsonl --out o {new}"), 1, "make two files"),
        (&format!("--train other.jsonl --out o {new}"), 1, "other.jsonl line 2"),
        (&format!("--train cat.txt --out o {new} --heads 5"), 1, "5 heads"),
        (&format!("--train cat.txt --out o {new} --warm-up 2"), 2, "--warm-up"),
        (&format!("--train cat.txt --out o {new} --drop-out 1"), 2, "--drop-out"),
    ] {
        let (got, said) = refused(folder, &format!("train generate {arguments}"));
        assert!(got == Some(code) && said.contains(words), "{arguments}: {got:?}, {said}");
    }
    done(folder, &format!("train generate --train cat.txt --out cat {new}"));
    for (arguments, words) in [
        ("--model none --data cat.txt", "none"),
        ("--model cat --data cat.txt --window 25", "2 to 24"),
        ("--model cat --data cat.txt --window 12 --stride 13", "stride of 13"),
        ("--model cat --data mixed.jsonl", "make two files"),
    ] {
        let (got, said) = refused(folder, &format!("eval generate {arguments}"));
        assert!(got == Some(1) && said.contains(words), "{arguments}: {got:?}, {said}");
    }
}

/// Would catch: a run that begins anew in silence, goes on to other weights after the process was killed or told to end, or is lost.
#[test]
fn a_run_that_is_killed_or_told_to_end_goes_on_to_the_same_weights() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write(folder, "cat.txt", &"the cat sat on the mat.\n".repeat(60));
    let arguments = |out: &str, more: &str| {
        let new = "--tokenizer characters --layers 1 --hidden 32 --heads 2 --context 24 --batch 2 --lr 1e-2 --epochs 12";
        format!("train generate --train cat.txt --out {out} {new} --checks 1{more}")
    };
    done(folder, &arguments("whole", ""));
    assert!(!folder.join("whole/.training").exists());
    for signal in ["-KILL", "-INT"] {
        let (every, state) = (if signal == "-KILL" { 0 } else { 3600 }, folder.join("cut/.training/state.safetensors"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(arguments("cut", &format!(" --keep-seconds {every}")).split(' '))
            .current_dir(folder)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let begun = || if signal == "-KILL" { state.exists() } else { folder.join("cut/runs").exists() };
        while !begun() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before the signal");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let ended = child.wait_with_output().unwrap();
        assert!(!ended.status.success() && !folder.join("cut/model.safetensors").exists());
        assert!(signal == "-KILL" || String::from_utf8_lossy(&ended.stderr).contains("--resume"));
        for (more, words) in [("", "--resume"), (" --resume --weight-decay 0.2", "other options")] {
            let (_, said) = refused(folder, &arguments("cut", more));
            assert!(said.contains(words), "{said}");
        }
        let told = done(folder, &arguments("cut", " --resume"));
        assert!(told.contains("goes on behind step") && told.contains("perplexity"), "{told}");
        let weights = |model: &str| std::fs::read(folder.join(model).join("model.safetensors")).unwrap();
        assert!(weights("whole") == weights("cut"), "the weights differ");
        assert!(!folder.join("cut/.training").exists());
        std::fs::remove_dir_all(folder.join("cut")).unwrap();
    }
}
