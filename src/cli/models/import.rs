//! `millrace models import`: a model folder out of one file of llama.cpp or llama2.c.

use super::show;
use crate::inference::import::{Dtype, Request, import};
use crate::lifecycle::Exit;
use std::path::PathBuf;

/// Writes model.safetensors, config.json, tokenizer.json, tokenizer_config.json, generation_config.json and a card.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  millrace models import SmolLM2-135M-Instruct.Q4_1.gguf models/smollm2\n  \
                  millrace models import stories260K.bin models/stories --tokenizer tok512.bin")]
pub struct Import {
    /// A GGUF file (llama, qwen2, qwen3, gemma3), or a .bin of llama2.c.
    file: PathBuf,
    /// The folder to write; it must not exist, or be empty.
    folder: PathBuf,
    /// How weights are stored: f32, f16 or bf16.
    #[arg(long, default_value = "bf16", value_parser = Dtype::parse)]
    dtype: Dtype,
    /// The vocabulary of a llama2.c file: its tok*.bin, or its SentencePiece *.model.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// The base of the rotary positions, where the file does not tell it.
    #[arg(long)]
    rope_theta: Option<f64>,
}

pub fn run(args: Import) -> anyhow::Result<Exit> {
    let Import { file, folder, dtype, tokenizer, rope_theta } = args;
    let written = import(&Request { file, folder, dtype, tokenizer, rope_theta })?;
    let mut told = String::new();
    told += &format!("{}: {} tensors, {} parameters\n", written.folder.display(), written.tensors, written.parameters);
    told += &format!("  sha256 of the file {}\n", written.source);
    told += &format!("  sha256 of the weights {}\n", written.weights);
    for note in written.notes {
        told += &format!("  note: {note}\n");
    }
    show(&told)?;
    Ok(Exit::Done)
}
