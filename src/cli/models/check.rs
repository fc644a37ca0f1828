//! `millrace models check`: what a model is; of a scoring model also whether it fits the features that are declared.

use super::{folder, show};
use crate::cli::common::{self, Usage};
use crate::lifecycle::Exit;
use crate::scoring::{Body, Model};
use serde_json::json;
use std::path::PathBuf;

/// Reads the folder of a language model, or the file of a scoring model: XGBoost JSON, LightGBM text, a logistic regression (JSON or
/// safetensors) or a small net (safetensors).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace models check models/sentiment-en\n  millrace models check model.json --features amount,hour,count_1d\n\nExit codes: 0 the model can be used, 1 it cannot, \
                  2 wrong usage."
)]
pub struct Check {
    /// The model's file or folder, or a name in one of the places for models, such as org/name@revision.
    file: PathBuf,
    /// A model of a hub that is not in its cache may be fetched.
    #[arg(long)]
    allow_download: bool,
    /// The declared features in their order; the model's must be the same.
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// The row to score, numbers in the order of the features; `nan` is "no value". Default: all 0.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    row: Vec<f64>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

pub fn run(mut args: Check) -> anyhow::Result<Exit> {
    if !args.file.exists() {
        args.file = common::model(&args.file, args.allow_download)?.folder;
    }
    if args.file.is_dir() {
        if !args.features.is_empty() || !args.row.is_empty() {
            return Err(Usage("--features and --row are for the file of a scoring model".into()).into());
        }
        return folder::run(&args.file, args.json);
    }
    if args.file.extension().is_some_and(|end| end == "gguf") {
        let file = args.file.display();
        anyhow::bail!("{file} is a file of llama.cpp; make a model folder of it first: millrace models import {file} DIR");
    }
    let mut model = Model::load(&args.file)?;
    if !args.features.is_empty() {
        let declared: Vec<&str> = args.features.iter().map(String::as_str).collect();
        if !model.is_named() {
            model.declare(&declared)?;
        }
        model.check_features(&declared)?;
    }
    let row = if args.row.is_empty() { vec![0.0; model.names().len()] } else { args.row };
    if row.len() != model.names().len() {
        return Err(Usage(format!("--row has {} numbers, the model has {} features", row.len(), model.names().len())).into());
    }
    let scored = model.score(&row)?;
    let trees = match model.body() {
        Body::Trees { forest, .. } => Some(forest.trees()),
        Body::Linear(_) | Body::Net(_) => None,
    };
    if args.json {
        let document = json!({
            "file": args.file, "format": model.format(), "objective": model.objective(), "features": model.names(),
            "named": model.is_named(), "trees": trees, "bytes": model.bytes(), "digest": model.digest(), "notes": model.notes(),
            "unexplained": model.unexplained(), "row": row, "margin": scored.margin, "probability": scored.probability,
        });
        show(&format!("{document:#}\n"))?;
        return Ok(Exit::Done);
    }
    let mut told = String::new();
    told += &format!("{}: {}, {}\n", args.file.display(), model.format(), model.objective());
    told += &format!("  sha256 {}, {} bytes\n", model.digest(), model.bytes());
    if let Some(trees) = trees {
        told += &format!("  {trees} trees\n");
    }
    let unnamed = if model.is_named() { "" } else { ", which the file does not name" };
    told += &format!("  {} features{unnamed}: {}\n", model.names().len(), model.names().join(", "));
    told += &format!("  reasons: {}\n", model.unexplained().unwrap_or("exact contributions to the margin"));
    for note in model.notes() {
        told += &format!("  note: {note}\n");
    }
    told += &format!("  a row of {row:?}: margin {}, probability {}\n", scored.margin, scored.probability);
    show(&told)?;
    Ok(Exit::Done)
}
