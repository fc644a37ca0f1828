//! The way through the network, for training and for measuring.

use super::Network;
use crate::train::batches::Batch;
use crate::train::masked::{dropout, masked_softmax};
use crate::train::ops::{gelu, layer_norm, linear, softmax};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use std::cell::Cell;

/// One way through a network.
#[derive(Debug)]
pub struct Pass {
    gradient: bool,
    /// The next draw of a dropout.
    draw: Cell<u64>,
}

impl Pass {
    /// With a gradient, and dropout by `draw`.
    pub fn training(draw: u64) -> Self {
        Self { gradient: true, draw: Cell::new(draw) }
    }

    /// Without a gradient or dropout.
    pub fn measuring() -> Self {
        Self { gradient: false, draw: Cell::new(0) }
    }

    /// A parameter as this pass sees it.
    pub fn of(&self, var: &Var) -> Tensor {
        if self.gradient { var.as_tensor().clone() } else { var.as_detached_tensor() }
    }
}

impl Network {
    fn p(&self, name: &str, pass: &Pass) -> Result<Tensor> {
        match self.parameters.get(name) {
            Some(var) => Ok(pass.of(var)),
            None => self.frozen.get(name).cloned().with_context(|| format!("no parameter {name}")),
        }
    }

    fn dense(&self, x: &Tensor, name: &str, pass: &Pass) -> Result<Tensor> {
        Ok(linear(x, &self.p(&format!("{name}.weight"), pass)?, &self.p(&format!("{name}.bias"), pass)?)?)
    }

    fn norm(&self, x: &Tensor, name: &str, pass: &Pass) -> Result<Tensor> {
        let (weight, bias) = (self.p(&format!("{name}.weight"), pass)?, self.p(&format!("{name}.bias"), pass)?);
        Ok(layer_norm(x, &weight, &bias, self.shape.layer_norm_eps)?)
    }

    /// `x` with a share of its values left out, where the network drops any and the pass is of training.
    pub fn dropped(&self, x: Tensor, pass: &Pass) -> Result<Tensor> {
        if self.dropout == 0.0 || !pass.gradient {
            return Ok(x);
        }
        // Far from the neighbours' draws, which count on from theirs.
        pass.draw.set(pass.draw.get().wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(0x2545_F491_4F6C_DD1D));
        Ok(dropout(&x, self.dropout, pass.draw.get())?)
    }

    /// The mean of each text's own vectors, of length 1: `[texts, hidden]`. Of a network whose head does not read the first token alone.
    pub fn embeddings(&self, batch: &Batch, pass: &Pass) -> Result<Tensor> {
        ensure!(!self.task.is_pooled(), "of the last layer this network has the first token alone");
        let (h, texts, length) = (self.shape.hidden_size, batch.texts, batch.length);
        let x = self.encoded(batch, pass)?.reshape((texts, length, h))?;
        let shares = (0..texts).flat_map(|text| {
            let own = batch.own(text);
            (0..length).map(move |token| if token < own { 1.0 / own as f32 } else { 0.0 })
        });
        let shares = Tensor::from_vec(shares.collect(), (texts, 1, length), &Device::Cpu)?;
        let mean = shares.matmul(&x)?.reshape((texts, h))?;
        let norm = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(mean.broadcast_div(&norm)?)
    }

    /// Logits `[texts, outputs]` of a head that reads the first token, else `[texts * length, outputs]`.
    pub fn logits(&self, batch: &Batch, pass: &Pass) -> Result<Tensor> {
        let mut x = self.encoded(batch, pass)?;
        if self.task.is_pooled() {
            x = self.dense(&x, "bert.pooler.dense", pass)?.tanh()?;
        }
        let x = self.dropped(x, pass)?;
        self.dense(&x, self.task.out(), pass)
    }

    /// What the last layer gives: `[texts * length, hidden]`, for a head that reads the first token `[texts, hidden]`.
    pub fn encoded(&self, batch: &Batch, pass: &Pass) -> Result<Tensor> {
        let (h, texts, length) = (self.shape.hidden_size, batch.texts, batch.length);
        ensure!(texts > 0 && length > 0 && batch.ids.len() == texts * length, "a batch needs texts of one length");
        let most = self.shape.max_position_embeddings;
        ensure!(length <= most, "a text has {length} tokens; the network has {most} positions");
        let mut x = self.dropped(self.embedded(batch, pass)?, pass)?;
        let mut kept = length;
        for n in 0..self.shape.num_hidden_layers {
            // Of the last layer such a head reads the first token alone.
            kept = if self.task.is_pooled() && n + 1 == self.shape.num_hidden_layers { 1 } else { length };
            x = self.layer(&x, n, batch, kept, pass)?;
        }
        if self.task.is_pooled() {
            x = x.reshape((texts, kept, h))?.narrow(1, 0, 1)?.contiguous()?.reshape((texts, h))?;
        }
        Ok(x)
    }

    /// `[texts * length, hidden]`
    fn embedded(&self, batch: &Batch, pass: &Pass) -> Result<Tensor> {
        let (h, texts, length) = (self.shape.hidden_size, batch.texts, batch.length);
        let table = |name: &str| self.p(&format!("bert.embeddings.{name}_embeddings.weight"), pass);
        let rows =
            |table: Tensor, of: &[u32]| table.index_select(&Tensor::new(of, &Device::Cpu)?, 0)?.reshape((texts, length, h));
        let words = rows(table("word")?, &batch.ids)?;
        let positions = table("position")?.narrow(0, 0, length)?;
        let x = match &batch.types {
            None => words.broadcast_add(&positions.broadcast_add(&table("token_type")?.narrow(0, 0, 1)?)?)?,
            Some(types) => words.broadcast_add(&positions)?.add(&rows(table("token_type")?, types)?)?,
        };
        self.norm(&x.reshape((texts * length, h))?, "bert.embeddings.LayerNorm", pass)
    }

    fn layer(&self, x: &Tensor, n: usize, batch: &Batch, kept: usize, pass: &Pass) -> Result<Tensor> {
        let (h, heads, texts, length) = (self.shape.hidden_size, self.shape.num_attention_heads, batch.texts, batch.length);
        let layer = format!("bert.encoder.layer.{n}");
        let own = match kept == length {
            true => x.clone(),
            false => x.reshape((texts, length, h))?.narrow(1, 0, kept)?.contiguous()?.reshape((texts * kept, h))?,
        };
        let split = |x: Tensor, rows: usize| -> Result<Tensor> {
            Ok(x.reshape((texts, rows, heads, h / heads))?.transpose(1, 2)?.contiguous()?)
        };
        let query = split(self.dense(&own, &format!("{layer}.attention.self.query"), pass)?, kept)?;
        let key = split(self.dense(x, &format!("{layer}.attention.self.key"), pass)?, length)?;
        let value = split(self.dense(x, &format!("{layer}.attention.self.value"), pass)?, length)?;
        let scale = 1.0 / ((h / heads) as f64).sqrt();
        let scores = query.matmul(&key.t()?)?;
        let weights = match &batch.lengths {
            None => softmax(&scores, scale)?,
            Some(lengths) => masked_softmax(&scores, scale, lengths)?,
        };
        let weights = self.dropped(weights, pass)?;
        let mixed = weights.matmul(&value)?.transpose(1, 2)?.contiguous()?.reshape((texts * kept, h))?;
        let attended = self.dropped(self.dense(&mixed, &format!("{layer}.attention.output.dense"), pass)?, pass)?;
        let attended = self.norm(&(attended + own)?, &format!("{layer}.attention.output.LayerNorm"), pass)?;
        let wide = gelu(&self.dense(&attended, &format!("{layer}.intermediate.dense"), pass)?)?;
        let out = self.dropped(self.dense(&wide, &format!("{layer}.output.dense"), pass)?, pass)?;
        self.norm(&(out + attended)?, &format!("{layer}.output.LayerNorm"), pass)
    }
}
