//! Runs whose learning rate is far too high.

use crate::trained_kit::{base, names, refused, said};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn rows(folder: &Path) {
    let things = ["card", "parcel", "order", "phone", "shoes", "ticket", "book", "lamp", "coat", "chair"];
    let of = |thing: &&str| format!("where is my {thing},late\nI want my money back for the {thing},refund\n");
    fs::write(folder.join("rows.csv"), format!("text,label\n{}", things.iter().map(of).collect::<String>())).unwrap();
    let lines = |thing: &&str| format!("where is my {thing}? I want my money back for the {thing}.\n");
    fs::write(folder.join("text.txt"), things.iter().map(lines).collect::<String>().repeat(4)).unwrap();
}

/// Would catch: a network of which no number is left that is written, and then fails whoever opens it; a kept run that stands in the way of
/// the next; an error that does not say what to do.
#[test]
fn a_run_that_diverges_says_so_and_leaves_no_model() {
    let folder = tempfile::tempdir().unwrap();
    rows(folder.path());
    base(folder.path());
    let new = "train --new layers=1,hidden=16 --tokenizer bpe:100 --train rows.csv --checks 1";
    // A base with weights, for the recipe that needs one.
    said(folder.path(), "train --from base --train rows.csv --out whole --max-steps 1 --checks 1");
    let small = "--tokenizer characters --layers 1 --hidden 16 --heads 1 --context 16";
    let rate = "--lr 1e30 --keep-seconds 0";
    for command in [
        format!("{new} {rate} --epochs 4"),
        // Nothing comes behind the only step but the measurement.
        format!("{new} {rate} --max-steps 2 --batch 64"),
        format!("train --from base --teacher whole --train rows.csv --epochs 4 {rate}"),
        format!("train --recipe setfit --from whole --train rows.csv {rate}"),
        format!("train several --from base --task a=rows.csv --task b=rows.csv --epochs 4 {rate}"),
        format!("train generate --train text.txt {small} --epochs 4 {rate}"),
    ] {
        let out = folder.path().join("out");
        let told = refused(folder.path(), &format!("{command} --out out"));
        for part in ["no longer finite at step", "--lr was 1000000000000000000000000000000", "3.3e29", "1.0e29"] {
            assert!(told.contains(part), "{command}: {part}: {told}");
        }
        assert_eq!(names(&out), ["runs"], "{command}");
        assert!(fs::read_to_string(out.join("runs/curves.csv")).unwrap().contains("train/loss"), "{command}");
        fs::remove_dir_all(&out).unwrap();
    }
    // What was there before stays, and the next run needs no other folder.
    let before = fs::read(folder.path().join("whole/model.safetensors")).unwrap();
    refused(folder.path(), &format!("train --from base --train rows.csv --out whole --epochs 4 {rate}"));
    assert!(fs::read(folder.path().join("whole/model.safetensors")).unwrap() == before);
    said(folder.path(), "train --from base --train rows.csv --out whole --max-steps 1 --checks 1");
}

/// What lies in a folder, byte by byte.
fn held(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = names(folder).into_iter().filter(|name| folder.join(name).is_file());
    files.map(|name| (name.clone(), fs::read(folder.join(name)).unwrap())).collect()
}

/// Would catch: weights of one model beside the tokenizer of another; a template that stays behind of a model that is written over; a
/// tokenizer without weights, which is taken for a model that is damaged.
#[test]
fn a_language_model_that_diverges_leaves_the_folder_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    rows(folder.path());
    fs::write(folder.path().join("other.txt"), "0123456789 abc\n".repeat(90)).unwrap();
    let at = |name: &str| folder.path().join(name);
    let small = "--tokenizer characters --layers 1 --hidden 16 --heads 1 --context 16 --keep-seconds 0";
    said(folder.path(), &format!("train generate --train text.txt {small} --out existing --max-steps 1 --checks 1"));
    fs::write(at("existing/chat_template.jinja"), "{{ messages[0]['content'] }}").unwrap();
    let before = held(&at("existing"));
    assert!(before.iter().any(|(name, _)| name == "tokenizer.json"));
    refused(folder.path(), &format!("train generate --train other.txt {small} --out existing --lr 1e30"));
    let after = held(&at("existing"));
    let names_of = |all: &[(String, Vec<u8>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names_of(&after), names_of(&before));
    assert!(after == before, "a file is another one");
    // One that ends well takes the whole folder.
    said(folder.path(), &format!("train generate --train other.txt {small} --out existing --max-steps 1 --checks 1"));
    let after = held(&at("existing"));
    assert!(!names_of(&after).contains(&"chat_template.jinja".to_owned()));
    for name in ["tokenizer.json", "model.safetensors"] {
        let of = |all: &[(String, Vec<u8>)]| all.iter().find(|(of, _)| of == name).map(|(_, bytes)| bytes.clone());
        assert!(of(&after).is_some() && of(&after) != of(&before), "{name}");
    }

    // A run that was killed, and has no number left where it goes on.
    let long = format!("train generate --train text.txt {small} --out half --epochs 5000 --checks 1");
    let mut running = Command::new(env!("CARGO_BIN_EXE_millrace"));
    running.current_dir(folder.path()).args(long.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = running.spawn().unwrap();
    let (state, start) = (at("half/.training/state.safetensors"), Instant::now());
    while !state.exists() {
        assert!(running.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(120), "it kept nothing");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let mut kept = fs::read(&state).unwrap();
    let header = 8 + u64::from_le_bytes(kept[..8].try_into().unwrap()) as usize;
    kept[header..].fill(0xff);
    fs::write(&state, kept).unwrap();
    let told = refused(folder.path(), &format!("{long} --resume"));
    assert!(told.contains("no longer finite at step"), "{told}");
    assert_eq!(names(&at("half")), ["runs"]);
}
