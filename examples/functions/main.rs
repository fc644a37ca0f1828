//! One short program for each function of the library: `cargo run --release --example functions -- sentiment`.
//!
//! Each file beside this one stands alone: its `main` could be that of a program of yours. They are linked into one binary because a
//! link of this crate takes longer than all of them run. Run them in the repository's folder, where the models are.

mod answer;
mod classify;
mod embed;
mod fill;
mod generate;
mod reply;
mod rerank;
mod sentiment;
mod similar;
mod summarize;
mod tag;
mod translate;

use std::error::Error;

type Main = fn() -> Result<(), Box<dyn Error>>;

const ALL: [(&str, Main); 12] = [
    ("answer", answer::main),
    ("classify", classify::main),
    ("embed", embed::main),
    ("fill", fill::main),
    ("generate", generate::main),
    ("reply", reply::main),
    ("rerank", rerank::main),
    ("sentiment", sentiment::main),
    ("similar", similar::main),
    ("summarize", summarize::main),
    ("tag", tag::main),
    ("translate", translate::main),
];

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.ok_or_else(|| format!("which function? one of {}", names.join(", ")))?.1()
}

/// The model folder that was given behind the function's name; else says how to get one.
fn given(function: &str, kind: &str) -> Option<String> {
    let folder = std::env::args().nth(2);
    if folder.is_none() {
        println!("{function} needs a folder of {kind}: config.json, model.safetensors, tokenizer.json");
        println!(
            "save one with transformers (save_pretrained), or for `generate` with `millrace models import` from a GGUF, and run"
        );
        println!("  cargo run --release --example functions -- {function} FOLDER");
    }
    folder
}
