//! The head of `XLNetForQuestionAnswering`: the likeliest first tokens of an answer, for each of them the likeliest last ones, and
//! whether there is no answer at all. The formulas are those of transformers, which calls probabilities `log_probs` here.

use super::kit::Kit;
use crate::inference::InferenceError;
use crate::inference::network::Sequence;
use crate::inference::ops::{Activation, Linear, Norm, add, softmax};

/// The head's layers.
pub struct Beams {
    start: Linear,
    /// From a token that may be the last, and from the first: one product over both, taken apart.
    last: Linear,
    first: Linear,
    end_norm: Norm,
    epsilon: f32,
    end: Linear,
    /// The product over the mean first token and the text's own, taken apart.
    mean: Linear,
    whole: Linear,
    class: Linear,
    starts: usize,
    ends: usize,
}

/// What the head says of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Beam {
    /// The logit of "there is no answer".
    pub none: f32,
    /// First tokens and their probabilities, the likeliest first.
    pub starts: Vec<Start>,
}

/// A token that an answer may begin with.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    pub token: usize,
    pub probability: f32,
    /// Last tokens and their probabilities behind this first one, the likeliest first.
    pub ends: Vec<(usize, f32)>,
}

impl Beam {
    /// As numbers: the logit; how many ends each start has; then each start with its ends, tokens before probabilities.
    fn numbers(&self) -> Vec<f32> {
        let mut all = vec![self.none, self.starts.first().map_or(0, |start| start.ends.len()) as f32];
        for start in &self.starts {
            let pairs = std::iter::once((start.token, start.probability)).chain(start.ends.iter().copied());
            all.extend(pairs.flat_map(|(token, probability)| [token as f32, probability]));
        }
        all
    }

    /// The other way; `None` for numbers of another head.
    pub fn of(numbers: &[f32]) -> Option<Self> {
        let (&[none, ends], rest) = numbers.split_first_chunk::<2>()?;
        let pairs = rest.chunks_exact(2).map(|pair| (pair[0] as usize, pair[1])).collect::<Vec<_>>();
        let of_start = |pairs: &[(usize, f32)]| {
            let ((token, probability), ends) = pairs.split_first()?;
            Some(Start { token: *token, probability: *probability, ends: ends.to_vec() })
        };
        let starts: Option<Vec<Start>> = pairs.chunks(ends as usize + 1).map(of_start).collect();
        Some(Self { none, starts: starts? })
    }
}

impl Beams {
    pub fn load(kit: &Kit<'_>) -> Result<Self, InferenceError> {
        let (top, hidden) = (kit.top(), kit.network.hidden());
        // The class has 5 for both in every version.
        let (starts, ends) = (kit.config.count_or("start_n_top", 5)?, kit.config.count_or("end_n_top", 5)?);
        let epsilon = kit.config.number_or("layer_norm_eps", 1e-12)? as f32;
        let halves = |name: &str| {
            let weight = top.f32(&format!("{name}.weight"), &[hidden, 2 * hidden])?;
            let bias = top.f32(&format!("{name}.bias"), &[hidden])?;
            let half =
                |at: usize| weight.chunks_exact(2 * hidden).flat_map(|row| &row[at..at + hidden]).copied().collect::<Vec<f32>>();
            let one = Linear::join(&[(half(0), bias)], hidden);
            Ok::<_, InferenceError>((one, Linear::join(&[(half(hidden), vec![0.0; hidden])], hidden)))
        };
        let (last, first) = halves("end_logits.dense_0")?;
        let (mean, whole) = halves("answer_class.dense_0")?;
        Ok(Self {
            start: top.linear("start_logits.dense", hidden, 1)?,
            last,
            first,
            end_norm: top.norm("end_logits.LayerNorm", hidden)?,
            epsilon,
            end: top.linear("end_logits.dense_1", hidden, 1)?,
            mean,
            whole,
            class: Linear::join(&[top.part_without_bias("answer_class.dense_1", hidden, 1)?], hidden),
            starts,
            ends,
        })
    }

    /// The numbers of a [`Beam`] for each text. `x` is what the network left, `[total_tokens, hidden]`.
    pub fn read(&self, x: &[f32], texts: &[Sequence<'_>]) -> Vec<Vec<f32>> {
        let hidden = self.last.outputs();
        let mut rest = x;
        let one = |text: &Sequence<'_>| {
            let (rows, after) = rest.split_at(text.ids.len() * hidden);
            rest = after;
            self.beam(rows, text.types).numbers()
        };
        texts.iter().map(one).collect()
    }

    fn beam(&self, rows: &[f32], types: &[u32]) -> Beam {
        let hidden = self.last.outputs();
        let open = open(rows.len() / hidden, types);
        let mut logits = Vec::new();
        self.start.forward_alike(rows, &mut logits);
        let starts = shares(&logits, &open);
        let (mut near, mut far, mut mixed) = (Vec::new(), Vec::new(), Vec::new());
        self.last.forward_alike(rows, &mut near);
        let row = |token: usize| &rows[token * hidden..(token + 1) * hidden];
        let mut start = |(token, probability): (usize, f32)| {
            self.first.forward_alike(row(token), &mut far);
            mixed.clear();
            mixed.extend_from_slice(&near);
            mixed.chunks_exact_mut(hidden).for_each(|row| add(row, &far));
            Activation::Tanh.apply(&mut mixed);
            self.end_norm.apply(&mut mixed, self.epsilon);
            self.end.forward_alike(&mixed, &mut logits);
            Start { token, probability, ends: greatest(&shares(&logits, &open), self.ends) }
        };
        let beams = greatest(&starts, self.starts).into_iter().map(&mut start).collect();
        // The mean of all tokens, weighted by their probabilities as first ones.
        let mut mean = vec![0.0; hidden];
        for (token, probability) in starts {
            mean.iter_mut().zip(row(token)).for_each(|(sum, v)| *sum += probability * v);
        }
        self.mean.forward_alike(&mean, &mut mixed);
        self.whole.forward_alike(&rows[rows.len() - hidden..], &mut far);
        add(&mut mixed, &far);
        Activation::Tanh.apply(&mut mixed);
        self.class.forward_alike(&mixed, &mut logits);
        Beam { none: logits[0], starts: beams }
    }
}

/// Tokens that an answer may begin and end with: those of the first text without its separator, and the last token, which stands for
/// the whole (`p_mask` of transformers' evaluation on SQuAD). All of them where no types are given.
fn open(count: usize, types: &[u32]) -> Vec<usize> {
    if types.is_empty() {
        return (0..count).collect();
    }
    let first = types.iter().take_while(|kind| **kind == 0).count();
    (0..first.saturating_sub(1)).chain([count - 1]).collect()
}

/// The probabilities of the open tokens; the others have none.
fn shares(logits: &[f32], open: &[usize]) -> Vec<(usize, f32)> {
    let mut shares: Vec<f32> = open.iter().map(|token| logits[*token]).collect();
    softmax(&mut shares);
    open.iter().copied().zip(shares).collect()
}

/// The `count` likeliest, the likeliest first; of two alike the earlier.
fn greatest(shares: &[(usize, f32)], count: usize) -> Vec<(usize, f32)> {
    let mut all = shares.to_vec();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(count);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beam_comes_back_from_its_numbers() {
        let start = |token, ends: &[(usize, f32)]| Start { token, probability: 0.25, ends: ends.to_vec() };
        let beam = Beam { none: -1.5, starts: vec![start(3, &[(4, 0.5), (3, 0.25)]), start(0, &[(7, 1.0), (9, 0.0)])] };
        assert_eq!(Beam::of(&beam.numbers()), Some(beam));
        assert_eq!(Beam::of(&[1.0]), None);
        assert_eq!(Beam::of(&[1.0, 2.0]), Some(Beam { none: 1.0, starts: Vec::new() }));
    }

    #[test]
    fn answers_stand_in_the_first_text_or_in_the_last_token() {
        assert_eq!(open(6, &[0, 0, 0, 1, 1, 2]), [0, 1, 5]);
        assert_eq!(open(2, &[]), [0, 1]);
        assert_eq!(open(1, &[2]), [0]);
    }
}
