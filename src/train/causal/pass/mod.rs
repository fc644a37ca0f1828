//! A batch on its way through the network and back, a few texts at a time: their rows stay near the processor, and buffers are used
//! again.

mod back;
mod held;
mod product;

use super::adapter::Part;
use super::attention::{Attention, Heads, Scratch};
use super::kernels;
use super::network::{Batch, DropOut, IGNORED, Network};
use crate::inference::ops::{View, multiply, row_major};
use anyhow::Result;
use held::{Gradients, Held};
use product::Narrow;
use std::collections::BTreeMap;
use std::ops::Range;

/// Rows that go through the network together, unless one text has more.
const ROWS: usize = 256;

/// What a layer leaves for the way back, each `[rows, ..]`.
#[derive(Default)]
struct Layer {
    /// After the norm before attention.
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    /// With attention added.
    middle: Vec<f32>,
    /// After the norm before the feed-forward part.
    renormed: Vec<f32>,
    gate_up: Vec<f32>,
    wide: Vec<f32>,
}

/// Buffers of one thread.
#[derive(Default)]
pub struct Workspace {
    /// What goes into each layer, and what comes out of the last.
    between: Vec<Vec<f32>>,
    layers: Vec<Layer>,
    hidden: Vec<f32>,
    /// Rows of `hidden` after which something is guessed.
    picked: Vec<f32>,
    logits: Vec<f32>,
    /// What is dropped out of, before it is added.
    fresh: Vec<f32>,
    attention: Scratch,
    narrow: Narrow,
    back: back::Buffers,
}

/// A buffer of `len` numbers, whatever they are.
fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    buffer.resize(len, 0.0);
    buffer
}

/// Texts that go through together.
struct Few<'a> {
    /// Which ones these are, counted in a batch.
    number: u64,
    ids: &'a [u32],
    lengths: &'a [usize],
    targets: &'a [u32],
}

/// A network that stands still.
struct Pass<'a> {
    network: &'a Network,
    held: Held<'a>,
    heads: Heads,
    drop: Option<DropOut>,
}

impl<'a> Pass<'a> {
    fn new(network: &'a Network, drop: Option<DropOut>) -> Self {
        let spec = &network.spec;
        let heads = Heads { heads: spec.heads, kv_heads: spec.kv_heads, size: spec.head_size, scale: spec.scale };
        Self { network, held: Held::of(network), heads, drop }
    }

    /// What is left out at a place of the network: `(seed, share)`.
    fn dropped(&self, few: &Few<'_>, place: usize) -> Option<(u32, f32)> {
        let places = 2 * self.network.spec.layers.len() as u64 + 1;
        self.drop.map(|DropOut { share, seed }| (mixed(seed, few.number * places + place as u64 + 1), share))
    }

    fn attention<'b>(&'b self, few: &'b Few<'_>) -> Attention<'b> {
        Attention { heads: self.heads, angles: &self.network.angles, lengths: few.lengths }
    }

    /// Hidden states after the final norm, and all that the way back needs.
    fn forward(&self, few: &Few<'_>, space: &mut Workspace) -> Result<()> {
        let (spec, rows) = (&self.network.spec, few.ids.len());
        let (layers, columns) = (spec.layers.len(), rows * spec.hidden);
        let Workspace { between, layers: kept, hidden, fresh, attention, narrow, .. } = space;
        between.resize_with(layers + 1, Vec::new);
        kept.resize_with(layers, Layer::default);
        let table = self.held.get("embed.weight")?;
        let x = sized(&mut between[0], columns);
        for (row, id) in x.chunks_exact_mut(spec.hidden).zip(few.ids) {
            row.copy_from_slice(&table[*id as usize * spec.hidden..][..spec.hidden]);
        }
        if let Some((seed, share)) = self.dropped(few, 0) {
            kernels::drop_out(x, seed, share);
        }
        for (layer, kept) in kept.iter_mut().enumerate() {
            let (before, after) = between.split_at_mut(layer + 1);
            let (x, next) = (&before[layer][..], &mut after[0]);
            let mut add = |part: Part, place: usize, from: &[f32], to: &mut [f32]| match self.dropped(few, place) {
                None => self.product((layer, part), from, to, true, narrow),
                Some((seed, share)) => {
                    self.product((layer, part), from, sized(fresh, columns), false, narrow)?;
                    kernels::drop_out(fresh, seed, share);
                    kernels::add(to, fresh);
                    Ok(())
                }
            };
            let normed = sized(&mut kept.normed, columns);
            kernels::rms_norm(x, self.held.get(&gain("attention", layer))?, spec.epsilon, normed);
            let qkv = sized(&mut kept.qkv, rows * spec.qkv_width());
            self.product((layer, Part::Qkv), normed, qkv, false, &mut Narrow::default())?;
            let mixed = sized(&mut kept.mixed, rows * spec.heads * spec.head_size);
            self.attention(few).forward(qkv, mixed, attention);
            let middle = sized(&mut kept.middle, columns);
            middle.copy_from_slice(x);
            add(Part::Out, 2 * layer + 1, mixed, middle)?;
            let renormed = sized(&mut kept.renormed, columns);
            kernels::rms_norm(middle, self.held.get(&gain("feed", layer))?, spec.epsilon, renormed);
            let gate_up = sized(&mut kept.gate_up, rows * 2 * spec.wide);
            self.product((layer, Part::GateUp), renormed, gate_up, false, &mut Narrow::default())?;
            let wide = sized(&mut kept.wide, rows * spec.wide);
            kernels::gated(gate_up, spec.wide, wide);
            let next = sized(next, columns);
            next.copy_from_slice(middle);
            add(Part::Down, 2 * layer + 2, wide, next)?;
        }
        kernels::rms_norm(&between[layers], self.held.get("norm.gain")?, spec.epsilon, sized(hidden, columns));
        Ok(())
    }

    fn head(&self) -> &'static str {
        if self.network.spec.tied { "embed.weight" } else { "head.weight" }
    }

    /// Logits of rows of hidden states.
    fn logits(&self, hidden: &[f32], logits: &mut Vec<f32>) -> Result<()> {
        let (width, vocabulary) = (self.network.spec.hidden, self.network.spec.vocabulary);
        let (rows, table) = (hidden.len() / width, self.held.get(self.head())?);
        let (out, columns) = (sized(logits, rows * vocabulary), View { offset: 0, row: 1, col: width });
        multiply(
            (rows, vocabulary, width),
            out,
            row_major(0, vocabulary),
            false,
            hidden,
            row_major(0, width),
            table,
            columns,
            1.0,
        );
        Ok(())
    }

    /// The sum of losses over the targets; `logits` become the softmax of themselves.
    fn losses(&self, few: &Few<'_>, space: &mut Workspace) -> Result<f64> {
        let (width, vocabulary) = (self.network.spec.hidden, self.network.spec.vocabulary);
        let Workspace { hidden, picked, logits, .. } = space;
        picked.clear();
        for (row, _) in hidden.chunks_exact(width).zip(few.targets).filter(|(_, target)| **target != IGNORED) {
            picked.extend_from_slice(row);
        }
        self.logits(picked, logits)?;
        let (mut total, mut nats) = (0.0, 0.0f64);
        for (row, target) in logits.chunks_exact_mut(vocabulary).zip(few.guessed()) {
            let logit = row[target as usize];
            kernels::softmax(row, &mut total);
            nats += f64::from(total - logit);
        }
        Ok(nats)
    }
}

impl Few<'_> {
    fn guessed(&self) -> impl Iterator<Item = u32> {
        self.targets.iter().copied().filter(|target| *target != IGNORED)
    }
}

fn gain(which: &str, layer: usize) -> String {
    format!("layers.{layer}.{which}.gain")
}

/// A seed for the `count`th place of a network.
fn mixed(seed: u64, count: u64) -> u32 {
    let turned = (seed ^ count.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (turned >> 32) as u32
}

/// Texts of a batch that go through together: ranges of them, and of their rows.
fn cut(lengths: &[usize]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut all: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let mut row = 0;
    for (text, len) in lengths.iter().enumerate() {
        match all.last_mut() {
            Some((texts, rows)) if rows.len() + len <= ROWS => {
                texts.end = text + 1;
                rows.end = row + len;
            }
            _ => all.push((text..text + 1, row..row + len)),
        }
        row += len;
    }
    all
}

/// A batch through a network, a few texts at a time.
fn each(batch: &Batch, mut call: impl FnMut(Few<'_>) -> Result<()>) -> Result<()> {
    for (number, (texts, rows)) in (0..).zip(cut(&batch.lengths)) {
        call(Few { number, ids: &batch.ids[rows.clone()], lengths: &batch.lengths[texts], targets: &batch.targets[rows] })?;
    }
    Ok(())
}

/// Logits `[tokens, vocabulary]`.
pub fn logits(network: &Network, batch: &Batch, space: &mut Workspace) -> Result<Vec<f32>> {
    let (pass, mut all) = (Pass::new(network, None), Vec::new());
    each(batch, |few| {
        pass.forward(&few, space)?;
        let Workspace { hidden, logits, .. } = space;
        pass.logits(hidden, logits)?;
        all.extend_from_slice(logits);
        Ok(())
    })?;
    Ok(all)
}

/// The mean loss over the targets, in nats.
pub fn loss(network: &Network, batch: &Batch, space: &mut Workspace) -> Result<f64> {
    let (pass, mut nats) = (Pass::new(network, None), 0.0);
    each(batch, |few| {
        pass.forward(&few, space)?;
        nats += pass.losses(&few, space)?;
        Ok(())
    })?;
    Ok(nats / batch.guessed()? as f64)
}

/// The mean loss, and its gradients by what is trained.
pub fn gradients(
    network: &Network,
    batch: &Batch,
    drop: Option<DropOut>,
    space: &mut Workspace,
) -> Result<(f64, BTreeMap<String, Vec<f32>>)> {
    let (pass, mut gradients, mut nats) = (Pass::new(network, drop), Gradients::new(network), 0.0);
    let count = batch.guessed()?;
    each(batch, |few| {
        pass.forward(&few, space)?;
        nats += pass.losses(&few, space)?;
        pass.backward(&few, 1.0 / count as f32, space, &mut gradients)
    })?;
    Ok((nats / count as f64, gradients.taken()))
}
