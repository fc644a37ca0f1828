//! Queries, keys and values of a layer: one product, with the attention scale in the query's weights. To measure what either brings,
//! a network can be had without.

use crate::inference::ops::Linear;

/// What a network works out when it is loaded, so that it need not when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The attention scale is part of the query's weights; else queries are multiplied with it each time.
    pub folded: bool,
    /// Query, key and value are one product; else three.
    pub joined: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { folded: true, joined: true }
    }
}

/// From `[tokens, hidden]` to `[tokens, 3 * hidden]`: query, key, value.
pub struct Projection {
    /// One for all, or one each.
    parts: Vec<Linear>,
    /// What queries are multiplied with when the network runs.
    scale: Option<f32>,
}

impl Projection {
    /// Of a layer that has everything in it.
    pub fn new(joined: Linear) -> Self {
        Self { parts: vec![joined], scale: None }
    }

    /// The same by a plan; `scale` is in the query's weights.
    pub fn planned(self, plan: Plan, scale: f32) -> Self {
        let Self { mut parts, scale: mut later } = self;
        if let (false, Some(joined)) = (plan.folded, parts.first_mut()) {
            joined.multiply_outputs(0..joined.outputs() / 3, 1.0 / scale);
            later = Some(scale);
        }
        if let (false, [joined]) = (plan.joined, &parts[..]) {
            let hidden = joined.outputs() / 3;
            parts = (0..3).map(|n| joined.some_outputs(n * hidden..(n + 1) * hidden)).collect();
        }
        Self { parts, scale: later }
    }

    /// `out` is resized.
    pub fn forward(&self, x: &[f32], out: &mut Vec<f32>) {
        let width: usize = self.parts.iter().map(Linear::outputs).sum();
        match &self.parts[..] {
            [joined] => joined.forward(x, out),
            parts => {
                let mut first = 0;
                out.clear();
                out.resize(x.len() / (width / 3) * width, 0.0);
                for part in parts {
                    part.forward_beside(x, out, (first, width));
                    first += part.outputs();
                }
            }
        }
        if let Some(scale) = self.scale {
            out.chunks_exact_mut(width).for_each(|row| row[..width / 3].iter_mut().for_each(|v| *v *= scale));
        }
    }
}
