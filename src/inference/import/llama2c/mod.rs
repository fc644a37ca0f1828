//! The first `.bin` layout of llama2.c: seven 32-bit sizes, then all weights as 32-bit floats in a fixed order.

mod tokens;

use super::rows::unpermuted;
use super::{Fault, ImportError, Model, Planned, Request, Written, damaged, unsupported, write};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

const HEADER_BYTES: u64 = 28;
/// What run.c takes; the file holds it only as a table of angles, which is held against it.
const ROPE_THETA: f64 = 10_000.0;

struct Sizes {
    hidden: usize,
    inner: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
    context: usize,
    tied: bool,
}

/// A tensor to be written: its first value among the floats of the file, and the heads whose rows stand in pairs.
struct Placed {
    planned: Planned,
    at: u64,
    heads: Option<usize>,
}

pub(super) fn import(request: &Request) -> Result<Written, ImportError> {
    let path = &request.file;
    let read = |error: std::io::Error| ImportError::Read { path: path.clone(), cause: error.to_string() };
    let file = File::open(path).map_err(read)?;
    let bytes = file.metadata().map_err(read)?.len();
    let mut file = BufReader::new(file);
    let sizes = Sizes::read(&mut file, bytes).map_err(|fault| fault.at(path))?;
    let (placed, angles, floats) = sizes.layout().map_err(|fault| fault.at(path))?;
    if floats.checked_mul(4).and_then(|n| n.checked_add(HEADER_BYTES)) != Some(bytes) {
        let cause =
            format!("its sizes need {floats} floats after the header, and it has {} bytes", bytes.saturating_sub(HEADER_BYTES));
        return Err(damaged(cause).at(path));
    }
    let theta = request.rope_theta.unwrap_or(ROPE_THETA);
    sizes.check_angles(&mut file, angles, theta).map_err(|fault| fault.at(path))?;
    let Some(tokenizer) = &request.tokenizer else {
        let cause = "it has no vocabulary; name its tok*.bin or its SentencePiece *.model with --tokenizer";
        return Err(unsupported(cause).at(path));
    };
    let vocabulary = tokens::build(tokenizer, sizes.vocabulary, sizes.context)?;
    let model = Model {
        config: sizes.config(theta),
        tokenizer: vocabulary.tokenizer,
        tokenizer_config: vocabulary.config,
        tensors: placed.iter().map(|p| Planned { name: p.planned.name.clone(), shape: p.planned.shape.clone() }).collect(),
        licence: None,
        origin: "the .bin of llama2.c (version 0, 32-bit floats)".into(),
        notes: vocabulary.notes,
    };
    write::write(request, &model, &mut |index| {
        let Placed { planned, at, heads } = &placed[index];
        let values = floats_at(&mut file, *at, planned.shape.iter().product())?;
        Ok(match heads {
            Some(heads) => unpermuted(&values, planned.shape[0], *heads),
            None => values,
        })
    })
}

fn floats_at(file: &mut (impl Read + Seek), at: u64, count: usize) -> Result<Vec<f32>, Fault> {
    let mut bytes = vec![0; count * 4];
    file.seek(SeekFrom::Start(HEADER_BYTES + at * 4))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

impl Sizes {
    fn read(file: &mut impl Read, bytes: u64) -> Result<Self, Fault> {
        let mut header = [0; HEADER_BYTES as usize];
        if bytes < HEADER_BYTES {
            return Err(damaged("it is shorter than the header of a llama2.c file, and does not begin with GGUF"));
        }
        file.read_exact(&mut header)?;
        let numbers: Vec<i32> = header.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
        if header[..4] == *b"24ka" {
            return Err(unsupported("it is a llama2.c file of version 1 or 2; version 0 alone is read"));
        }
        let size = |index: usize, of: &str| match usize::try_from(numbers[index]) {
            // The vocabulary is negative where the classifier has weights of its own.
            Ok(size) if size > 0 && size <= 1 << 24 => Ok(size),
            _ => Err(damaged(format!("{} {of} are no size of a model; it is neither GGUF nor llama2.c", numbers[index]))),
        };
        let vocabulary = usize::try_from(numbers[5].unsigned_abs()).unwrap_or(0);
        if vocabulary == 0 || vocabulary > 1 << 24 {
            return Err(damaged(format!("{} tokens are no size of a vocabulary; it is neither GGUF nor llama2.c", numbers[5])));
        }
        let sizes = Self {
            hidden: size(0, "numbers a token")?,
            inner: size(1, "numbers in a feed-forward layer")?,
            layers: size(2, "layers")?,
            heads: size(3, "heads")?,
            kv_heads: size(4, "heads of keys")?,
            vocabulary,
            context: size(6, "positions")?,
            tied: numbers[5] > 0,
        };
        let Self { hidden, heads, kv_heads, .. } = sizes;
        if !hidden.is_multiple_of(heads) || !(hidden / heads).is_multiple_of(2) || !heads.is_multiple_of(kv_heads) {
            return Err(damaged(format!("{hidden} numbers a token, {heads} heads and {kv_heads} of keys do not fit together")));
        }
        if sizes.layers as u64 > bytes {
            return Err(damaged(format!("it claims {} layers in {bytes} bytes", sizes.layers)));
        }
        // The products of all layers but those of keys and values, before anything is built for each of them.
        let (wide, inner) = (hidden as u128, sizes.inner as u128);
        let floor = sizes.layers as u128 * (2 * wide + 2 * wide * wide + 3 * wide * inner);
        if floor > u128::from(bytes / 4) {
            return Err(damaged(format!("its {} layers need at least {floor} floats, and it has {bytes} bytes", sizes.layers)));
        }
        Ok(sizes)
    }

    fn head(&self) -> usize {
        self.hidden / self.heads
    }

    /// The tensors in the order in which the file has them, where the table of angles begins, and how many floats there are.
    fn layout(&self) -> Result<(Vec<Placed>, u64, u64), Fault> {
        let Self { hidden, inner, layers, heads, kv_heads, vocabulary, .. } = *self;
        let keys = kv_heads * self.head();
        let too_large = || damaged("its sizes multiply to more than can be counted");
        let (mut placed, mut at) = (Vec::new(), 0u64);
        let mut put = |name: String, shape: Vec<usize>, heads: Option<usize>| {
            let values = shape.iter().try_fold(1u64, |n, size| n.checked_mul(*size as u64)).ok_or_else(too_large)?;
            placed.push(Placed { planned: Planned { name, shape }, at, heads });
            at = at.checked_add(values).ok_or_else(too_large)?;
            Ok::<_, Fault>(())
        };
        put("model.embed_tokens.weight".into(), vec![vocabulary, hidden], None)?;
        let all: [(&str, Vec<usize>, Option<usize>); 9] = [
            ("input_layernorm", vec![hidden], None),
            ("self_attn.q_proj", vec![hidden, hidden], Some(heads)),
            ("self_attn.k_proj", vec![keys, hidden], Some(kv_heads)),
            ("self_attn.v_proj", vec![keys, hidden], None),
            ("self_attn.o_proj", vec![hidden, hidden], None),
            ("post_attention_layernorm", vec![hidden], None),
            ("mlp.gate_proj", vec![inner, hidden], None),
            ("mlp.down_proj", vec![hidden, inner], None),
            ("mlp.up_proj", vec![inner, hidden], None),
        ];
        for (name, shape, heads) in &all {
            for layer in 0..layers {
                put(format!("model.layers.{layer}.{name}.weight"), shape.clone(), *heads)?;
            }
        }
        put("model.norm.weight".into(), vec![hidden], None)?;
        let angles = placed.last().map_or(0, |last| last.at) + hidden as u64;
        // cos and sin of every position; used for nothing but a check.
        let end =
            (self.context as u64).checked_mul(self.head() as u64).and_then(|n| n.checked_add(angles)).ok_or_else(too_large)?;
        if self.tied {
            return Ok((placed, angles, end));
        }
        let floats = (vocabulary as u64).checked_mul(hidden as u64).and_then(|n| n.checked_add(end)).ok_or_else(too_large)?;
        placed.push(Placed {
            planned: Planned { name: "lm_head.weight".into(), shape: vec![vocabulary, hidden] },
            at: end,
            heads: None,
        });
        Ok((placed, angles, floats))
    }

    /// The cosines of position 1 must be those of this base; files whose table is empty leave it to the reader.
    fn check_angles(&self, file: &mut (impl Read + Seek), at: u64, theta: f64) -> Result<(), Fault> {
        let half = self.head() / 2;
        if self.context < 2 {
            return Ok(());
        }
        let cosines = floats_at(file, at + half as u64, half)?;
        let expected = |i: usize| theta.powf(-(2.0 * i as f64) / self.head() as f64).cos();
        let wrong = cosines.iter().enumerate().any(|(i, cos)| (f64::from(*cos) - expected(i)).abs() > 1e-4);
        match wrong && cosines.iter().any(|cos| *cos != 0.0) {
            true => Err(unsupported(format!("its table of angles is not that of base {theta}; name the base with --rope-theta"))),
            false => Ok(()),
        }
    }

    fn config(&self, theta: f64) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "head_dim": self.head(),
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.inner,
            "max_position_embeddings": self.context,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "pretraining_tp": 1,
            // The constant of run.c and of the training script.
            "rms_norm_eps": 1e-5,
            "rope_scaling": null,
            "rope_theta": theta,
            "tie_word_embeddings": self.tied,
            "use_cache": true,
            "vocab_size": self.vocabulary,
        })
    }
}
