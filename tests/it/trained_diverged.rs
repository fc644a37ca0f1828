//! Runs whose learning rate is far too high.

use crate::trained_kit::{base, names, refused, said};
use std::fs;
use std::path::Path;

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
