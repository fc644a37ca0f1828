//! A BERT encoder over packed texts: every linear layer sees `[total_tokens, hidden]`, attention runs text by text, so nothing is
//! padded and nothing masked. Query, key and value are one product; the attention scale is folded into the query.

use super::InferenceError;
use super::ops::{Linear, add, add_layer_norm, attention, gelu, relu};
use super::weights::Tensors;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What `config.json` says; keys that we do not need are ignored.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub model_type: String,
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    #[serde(default = "gelu_name")]
    pub hidden_act: String,
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f32,
    #[serde(default)]
    pub position_embedding_type: Option<String>,
    #[serde(default)]
    pub problem_type: Option<String>,
    #[serde(default)]
    pub id2label: BTreeMap<String, String>,
}

fn gelu_name() -> String {
    "gelu".to_owned()
}

fn default_epsilon() -> f32 {
    1e-12
}

impl Config {
    /// Reads `folder/config.json` and refuses what the encoder would compute wrongly.
    pub fn open(folder: &Path) -> Result<Self, InferenceError> {
        let path = folder.join("config.json");
        let bytes = std::fs::read(&path).map_err(|e| InferenceError::Read { path: path.clone(), cause: e.to_string() })?;
        let config: Self =
            serde_json::from_slice(&bytes).map_err(|e| InferenceError::Malformed { path: path.clone(), cause: e.to_string() })?;
        match config.objection() {
            Some(cause) => Err(InferenceError::Unsupported { path, cause }),
            None => Ok(config),
        }
    }

    fn objection(&self) -> Option<String> {
        let positions = self.position_embedding_type.as_deref().unwrap_or("absolute");
        let problem = self.problem_type.as_deref().unwrap_or("single_label_classification");
        if self.model_type != "bert" {
            Some(format!("model_type is `{}`; this encoder runs `bert`", self.model_type))
        } else if !["gelu", "relu"].contains(&self.hidden_act.as_str()) {
            Some(format!("hidden_act is `{}`; this encoder runs `gelu` and `relu`", self.hidden_act))
        } else if positions != "absolute" {
            Some(format!("position_embedding_type is `{positions}`; this encoder runs `absolute`"))
        } else if problem != "single_label_classification" {
            Some(format!("problem_type is `{problem}`; this head answers `single_label_classification`"))
        } else if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            Some(format!("{} attention heads do not divide hidden_size {}", self.num_attention_heads, self.hidden_size))
        } else if self.hidden_size == 0 || self.vocab_size == 0 || self.max_position_embeddings < 2 {
            Some("hidden_size, vocab_size or max_position_embeddings is too small".to_owned())
        } else {
            None
        }
    }

    /// The names of `count` labels, in the order of the classifier's rows.
    fn labels(&self, count: usize) -> Option<Vec<String>> {
        if self.id2label.is_empty() {
            return Some((0..count).map(|i| format!("LABEL_{i}")).collect());
        }
        if self.id2label.len() != count {
            return None;
        }
        (0..count).map(|i| self.id2label.get(&i.to_string()).cloned()).collect()
    }
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct Layer {
    query_key_value: Linear,
    attended: Linear,
    attended_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

/// Pooler and classifier of a sequence-classification checkpoint.
pub struct Classifier {
    pooler: Linear,
    classifier: Linear,
    labels: Vec<String>,
}

impl Classifier {
    pub fn labels(&self) -> &[String] {
        &self.labels
    }
}

/// How token vectors become one text vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Mean,
    FirstToken,
}

/// The weights of one encoder, read only, shared by all model threads.
pub struct Bert {
    /// `[vocabulary, hidden]`
    words: Vec<f32>,
    /// `[positions, hidden]`; the first token type's vector is added in.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    classifier: Option<Classifier>,
    pooling: Pooling,
    hidden: usize,
    heads: usize,
    epsilon: f32,
    activation: fn(&mut [f32]),
}

/// Buffers of one model thread, reused from batch to batch.
#[derive(Default)]
pub struct Scratch {
    x: Vec<f32>,
    y: Vec<f32>,
    wide: Vec<f32>,
    scores: Vec<f32>,
}

impl Bert {
    pub fn load(config: &Config, tensors: &Tensors<'_>, pooling: Pooling) -> Result<Self, InferenceError> {
        let named = if tensors.has("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        let reader = Reader { tensors, prefix: named };
        let hidden = config.hidden_size;
        let words = reader.f32("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?;
        let mut positions = reader.f32("embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden])?;
        let types = reader.rows("embeddings.token_type_embeddings.weight", hidden)?;
        for row in positions.chunks_exact_mut(hidden) {
            add(row, &types[..hidden]);
        }
        let layers = (0..config.num_hidden_layers).map(|i| reader.layer(i, config)).collect::<Result<_, _>>()?;
        Ok(Self {
            words,
            positions,
            norm: reader.norm("embeddings.LayerNorm", hidden)?,
            layers,
            classifier: if tensors.has("classifier.weight") { Some(reader.classifier(config)?) } else { None },
            pooling,
            hidden,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps,
            activation: if config.hidden_act == "relu" { relu } else { gelu },
        })
    }

    pub fn hidden(&self) -> usize {
        self.hidden
    }

    pub fn classifier(&self) -> Option<&Classifier> {
        self.classifier.as_ref()
    }

    /// One vector a text, pooled and of length 1: `[texts][hidden]`.
    pub fn embed(&self, texts: &[&[u32]], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, InferenceError> {
        self.encode(texts, scratch)?;
        let mut rest = scratch.x.as_slice();
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            let (rows, after) = rest.split_at(text.len() * self.hidden);
            rest = after;
            let mut vector = rows[..self.hidden].to_vec();
            if self.pooling == Pooling::Mean {
                rows[self.hidden..].chunks_exact(self.hidden).for_each(|row| add(&mut vector, row));
            }
            // The mean's divisor falls out of the normalisation.
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|v| *v /= norm);
            vectors.push(vector);
        }
        Ok(vectors)
    }

    /// The probability of each label, `[texts][labels]`. With a single label it is its sigmoid.
    pub fn classify(&self, texts: &[&[u32]], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, InferenceError> {
        let Some(head) = &self.classifier else {
            return Err(InferenceError::Poison("the model has no classifier".to_owned()));
        };
        self.encode(texts, scratch)?;
        let Scratch { x, y, wide, .. } = scratch;
        y.clear();
        let mut row = 0;
        for text in texts {
            y.extend_from_slice(&x[row * self.hidden..][..self.hidden]);
            row += text.len();
        }
        head.pooler.forward(y, wide);
        wide.iter_mut().for_each(|v| *v = v.tanh());
        head.classifier.forward(wide, y);
        Ok(y.chunks_exact(head.labels.len()).map(probabilities).collect())
    }

    /// Leaves the last layer's output `[total_tokens, hidden]` in `scratch.x`, text after text.
    fn encode(&self, texts: &[&[u32]], scratch: &mut Scratch) -> Result<(), InferenceError> {
        self.look_up(texts, scratch)?;
        let Scratch { x, y, wide, scores } = scratch;
        let normalise = |x: &mut [f32], old: &[f32], n: &Norm| add_layer_norm(x, old, &n.weight, &n.bias, self.epsilon);
        normalise(x, y, &self.norm);
        for layer in &self.layers {
            layer.query_key_value.forward(x, wide);
            y.resize(x.len(), 0.0);
            let mut start = 0;
            for text in texts {
                attention(wide, y, (start, text.len()), self.hidden, self.heads, scores);
                start += text.len();
            }
            layer.attended.forward(y, wide);
            normalise(wide, x, &layer.attended_norm);
            std::mem::swap(x, wide);
            layer.up.forward(x, wide);
            (self.activation)(wide);
            layer.down.forward(wide, y);
            normalise(y, x, &layer.down_norm);
            std::mem::swap(x, y);
        }
        Ok(())
    }

    /// Word vectors into `scratch.x`, position vectors into `scratch.y`.
    fn look_up(&self, texts: &[&[u32]], scratch: &mut Scratch) -> Result<(), InferenceError> {
        scratch.x.clear();
        scratch.y.clear();
        for text in texts {
            if text.is_empty() || text.len() * self.hidden > self.positions.len() {
                let most = self.positions.len() / self.hidden;
                return Err(InferenceError::Poison(format!(
                    "a text of {} tokens; between 1 and {most} are possible",
                    text.len()
                )));
            }
            for &id in *text {
                let at = id as usize * self.hidden;
                let Some(row) = self.words.get(at..at + self.hidden) else {
                    return Err(InferenceError::Poison(format!("token id {id} is outside the model's vocabulary")));
                };
                scratch.x.extend_from_slice(row);
            }
            scratch.y.extend_from_slice(&self.positions[..text.len() * self.hidden]);
        }
        Ok(())
    }
}

fn probabilities(logits: &[f32]) -> Vec<f32> {
    if let [logit] = logits {
        return vec![1.0 / (1.0 + (-logit).exp())];
    }
    let mut row = logits.to_vec();
    super::ops::softmax(&mut row);
    row
}

/// Reads the parts of the network by their checkpoint names.
struct Reader<'a> {
    tensors: &'a Tensors<'a>,
    prefix: &'static str,
}

impl Reader<'_> {
    fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferenceError> {
        self.tensors.f32(&format!("{}{name}", self.prefix), shape)
    }

    /// A matrix of any number of rows, at least one.
    fn rows(&self, name: &str, cols: usize) -> Result<Vec<f32>, InferenceError> {
        let rows = self.tensors.shape(&format!("{}{name}", self.prefix))?.first().copied().unwrap_or(0).max(1);
        self.f32(name, &[rows, cols])
    }

    /// `weight` and `bias`, by the names `gamma` and `beta` in old files.
    fn norm(&self, name: &str, width: usize) -> Result<Norm, InferenceError> {
        let old = self.tensors.has(&format!("{}{name}.gamma", self.prefix));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Norm {
            weight: self.f32(&format!("{name}.{weight}"), &[width])?,
            bias: self.f32(&format!("{name}.{bias}"), &[width])?,
        })
    }

    /// Weight `[outputs, inputs]` and bias `[outputs]`.
    fn part(&self, name: &str, inputs: usize, outputs: usize) -> Result<(Vec<f32>, Vec<f32>), InferenceError> {
        Ok((self.f32(&format!("{name}.weight"), &[outputs, inputs])?, self.f32(&format!("{name}.bias"), &[outputs])?))
    }

    fn linear(&self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, InferenceError> {
        Ok(Linear::join(&[self.part(name, inputs, outputs)?], inputs))
    }

    fn layer(&self, index: usize, config: &Config) -> Result<Layer, InferenceError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let at = |name: &str| format!("encoder.layer.{index}.{name}");
        let mut query = self.part(&at("attention.self.query"), hidden, hidden)?;
        let scale = 1.0 / ((hidden / config.num_attention_heads) as f32).sqrt();
        query.0.iter_mut().chain(&mut query.1).for_each(|v| *v *= scale);
        let key = self.part(&at("attention.self.key"), hidden, hidden)?;
        let value = self.part(&at("attention.self.value"), hidden, hidden)?;
        Ok(Layer {
            query_key_value: Linear::join(&[query, key, value], hidden),
            attended: self.linear(&at("attention.output.dense"), hidden, hidden)?,
            attended_norm: self.norm(&at("attention.output.LayerNorm"), hidden)?,
            up: self.linear(&at("intermediate.dense"), hidden, wide)?,
            down: self.linear(&at("output.dense"), wide, hidden)?,
            down_norm: self.norm(&at("output.LayerNorm"), hidden)?,
        })
    }

    fn classifier(&self, config: &Config) -> Result<Classifier, InferenceError> {
        let hidden = config.hidden_size;
        let count = self.tensors.shape("classifier.weight")?.first().copied().unwrap_or(0);
        let Some(labels) = config.labels(count).filter(|l| !l.is_empty()) else {
            let cause = format!("the classifier has {count} rows, but id2label in config.json does not name 0 to {count} - 1");
            return Err(InferenceError::Unsupported { path: self.tensors.path().to_owned(), cause });
        };
        let whole = Reader { tensors: self.tensors, prefix: "" };
        Ok(Classifier {
            pooler: self.linear("pooler.dense", hidden, hidden)?,
            classifier: whole.linear("classifier", hidden, count)?,
            labels,
        })
    }
}
