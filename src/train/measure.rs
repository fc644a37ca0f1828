//! How good a network under training is, from its logits.

use super::batches::{Batch, Example, Target, batches};
use super::metrics::Confusion;
use super::network::{Network, Pass};
use super::numbers;
use super::task::Task;
use crate::inference::{joins, piece_label};
use anyhow::Result;
use candle_core::Tensor;

/// The logits of each example, without those of padding.
pub fn logits(network: &Network, examples: &[Example]) -> Result<Vec<Vec<f32>>> {
    each(examples, |batch| rows(network.task, network.outputs, &network.logits(batch, &Pass::measuring())?, batch))
}

/// What of a batch's logits belongs to each text, without those of padding.
pub(super) fn rows(task: Task, outputs: usize, logits: &Tensor, batch: &Batch) -> Result<Vec<Vec<f32>>> {
    let logits = logits.flatten_all()?.to_vec1::<f32>()?;
    let width = logits.len() / batch.texts;
    let own = |text: usize| if task.is_pooled() { width } else { batch.own(text) * outputs };
    Ok(logits.chunks_exact(width).enumerate().map(|(text, row)| row[..own(text)].to_vec()).collect())
}

/// Whether all logits are numbers.
pub fn finite(logits: &[Vec<f32>]) -> bool {
    logits.iter().flatten().all(|x| x.is_finite())
}

/// How good logits are for examples of labels, of texts or of words: what [`names`] names first.
pub fn score(task: Task, logits: &[Vec<f32>], examples: &[Example], labels: &[String]) -> f64 {
    match task {
        Task::Labels => threshold(logits, examples).1,
        Task::Tag => entity_f1(logits, examples, labels),
        Task::Answer => answered(logits, examples),
        Task::Label => right(logits, examples),
        Task::Score => numbers::figures(logits, examples).first().copied().unwrap_or(f64::NAN),
    }
}

/// What is measured of a task on these examples; the first counts.
pub fn names(task: Task, examples: &[Example]) -> &'static [&'static str] {
    if task == Task::Score { numbers::names(examples) } else { task.figures() }
}

/// All that [`names`] names, in its order; no numbers where a logit is none.
pub fn figures(task: Task, logits: &[Vec<f32>], examples: &[Example], labels: &[String]) -> Vec<f64> {
    if !finite(logits) {
        return vec![f64::NAN; names(task, examples).len()];
    }
    let first = || score(task, logits, examples, labels);
    match task {
        Task::Label => vec![first(), macro_f1(logits, examples, logits.first().map_or(0, Vec::len))],
        Task::Score => numbers::figures(logits, examples),
        Task::Labels | Task::Tag | Task::Answer => vec![first()],
    }
}

/// The figures for people, such as `accuracy 91.20, macro-F1 90.00`.
pub fn said(names: &[&str], figures: &[f64]) -> String {
    let one = |(name, of): (&&str, &f64)| format!("{name} {:.2}", 100.0 * of);
    names.iter().zip(figures).map(one).collect::<Vec<_>>().join(", ")
}

/// The embedding of each example, as [`Network::embeddings`] has it.
pub fn embeddings(network: &Network, examples: &[Example]) -> Result<Vec<Vec<f32>>> {
    each(examples, |batch| Ok(network.embeddings(batch, &Pass::measuring())?.to_vec2::<f32>()?))
}

/// What `one` makes of each example of a batch, in the order of the examples; both cores work.
pub(super) fn each(examples: &[Example], one: impl Fn(&Batch) -> Result<Vec<Vec<f32>>> + Sync) -> Result<Vec<Vec<f32>>> {
    let lengths: Vec<usize> = examples.iter().map(|example| example.ids.len()).collect();
    let work = batches(&lengths, 32, 0);
    let of = |part: &[Vec<usize>]| -> Result<Vec<(usize, Vec<f32>)>> {
        let mut found = Vec::new();
        for numbers in part {
            let batch = Batch::of(&numbers.iter().map(|&number| &examples[number]).collect::<Vec<_>>());
            found.extend(numbers.iter().copied().zip(one(&batch)?));
        }
        Ok(found)
    };
    let (first, second) = work.split_at(work.len() / 2);
    let found = std::thread::scope(|scope| -> Result<Vec<(usize, Vec<f32>)>> {
        let other = scope.spawn(|| of(second));
        let mut found = of(first)?;
        found.extend(other.join().map_err(|_| anyhow::anyhow!("a scoring thread panicked"))??);
        Ok(found)
    })?;
    let mut all = vec![Vec::new(); examples.len()];
    found.into_iter().for_each(|(number, row)| all[number] = row);
    Ok(all)
}

/// The place of the greatest; of equals the first. Where one of them is no number, a place that none of them has: it is wrong.
fn best(values: impl Iterator<Item = f32>) -> usize {
    let pick = |best: (usize, f32), (place, value): (usize, f32)| match value {
        _ if !value.is_finite() => (usize::MAX, f32::INFINITY),
        _ if value > best.1 => (place, value),
        _ => best,
    };
    values.enumerate().fold((0, f32::NEG_INFINITY), pick).0
}

fn share(right: usize, of: usize) -> f64 {
    right as f64 / of.max(1) as f64
}

/// Share of examples whose highest logit is their label.
pub fn right(logits: &[Vec<f32>], examples: &[Example]) -> f64 {
    let is_right = |(row, example): &(&Vec<f32>, &Example)| matches!(example.target, Target::Label(label) if best(row.iter().copied()) == label as usize);
    share(logits.iter().zip(examples).filter(is_right).count(), examples.len())
}

/// The mean F1 of the labels, as [`Confusion::macro_f1`] has it.
pub fn macro_f1(logits: &[Vec<f32>], examples: &[Example], labels: usize) -> f64 {
    let pair = |(row, example): (&Vec<f32>, &Example)| match (&example.target, best(row.iter().copied())) {
        (Target::Label(label), said) if said < labels => Some((*label as usize, said)),
        // What is no number is another label.
        (Target::Label(label), _) => Some((*label as usize, (*label as usize + 1) % labels.max(1))),
        _ => None,
    };
    Confusion::of(labels, logits.iter().zip(examples).filter_map(pair)).macro_f1()
}

/// Share of examples whose highest start and highest end are the answer's.
pub fn answered(logits: &[Vec<f32>], examples: &[Example]) -> f64 {
    let of = |row: &[f32], which: usize| best(row.chunks_exact(2).map(|pair| pair[which])) as u32;
    let is_right = |(row, example): &(&Vec<f32>, &Example)| example.target == Target::Span(of(row, 0), of(row, 1));
    share(logits.iter().zip(examples).filter(is_right).count(), examples.len())
}

/// Harmonic mean of precision and recall; 0 where nothing is right.
pub fn f1(right: usize, answered: usize, wanted: usize) -> f64 {
    2.0 * right as f64 / (answered + wanted).max(1) as f64
}

/// The probability, in steps of a hundredth, from which labels best count as said, and the micro-F1 that it gives. Of equals the one in
/// the middle: what lies between two rows says nothing of where to cut.
pub fn threshold(logits: &[Vec<f32>], examples: &[Example]) -> (f64, f64) {
    let mut pairs: Vec<(f64, bool)> = Vec::new();
    for (row, example) in logits.iter().zip(examples) {
        let Target::Labels(labels) = &example.target else { continue };
        let one = |(label, x): (usize, &f32)| match labels.contains(&(label as u32)) {
            // What is no number is wrong, whatever the threshold.
            holds if !x.is_finite() => (f64::from(u8::from(!holds)), holds),
            holds => (1.0 / (1.0 + f64::from(-x).exp()), holds),
        };
        pairs.extend(row.iter().enumerate().map(one));
    }
    let wanted = pairs.iter().filter(|(_, holds)| *holds).count();
    let at = |step: usize| {
        let said = pairs.iter().filter(|(p, _)| *p >= step as f64 / 100.0);
        let (right, said) = said.fold((0, 0), |(right, said), (_, holds)| (right + usize::from(*holds), said + 1));
        f1(right, said, wanted)
    };
    let all: Vec<f64> = (1..100).map(at).collect();
    let most = all.iter().copied().fold(0.0, f64::max);
    let first = all.iter().position(|of| *of == most).unwrap_or(49);
    let alike = all[first..].iter().take_while(|of| **of == most).count();
    ((first + 1 + (alike - 1) / 2) as f64 / 100.0, most)
}

/// F1 over pieces with the right label, beginning and end, as the shared task of CoNLL counts; in labels without `B-` or `I-`
/// neighbours of one label are a piece.
pub fn entity_f1(logits: &[Vec<f32>], examples: &[Example], labels: &[String]) -> f64 {
    let (mut right, mut answered, mut wanted) = (0, 0, 0);
    for (row, example) in logits.iter().zip(examples) {
        let Target::Tags(tags) = &example.target else { continue };
        let words = tags.iter().zip(row.chunks_exact(labels.len().max(1))).filter_map(|(tag, row)| Some(((*tag)?, row)));
        // A label that no text has, for logits that are no numbers.
        let name = |label: usize| labels.get(label).map_or("", String::as_str);
        let (truth, said): (Vec<&str>, Vec<&str>) =
            words.map(|(tag, row)| (name(tag as usize), name(best(row.iter().copied())))).unzip();
        let (truth, said) = (pieces(&truth), pieces(&said));
        right += said.iter().filter(|piece| truth.contains(piece)).count();
        answered += said.len();
        wanted += truth.len();
    }
    f1(right, answered, wanted)
}

/// (first word, last word, label), as [`joins`] has it.
pub fn pieces<'a>(tags: &[&'a str]) -> Vec<(usize, usize, &'a str)> {
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    for (word, tag) in tags.iter().enumerate() {
        match found.last_mut() {
            _ if *tag == "O" => {}
            Some((_, last, _)) if *last + 1 == word && joins(tags[*last], tag) => *last = word,
            _ => found.push((word, word, piece_label(tag))),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(target: Target) -> Example {
        Example { ids: vec![1; 3], types: vec![], target }
    }

    /// By hand, as conlleval and seqeval count.
    #[test]
    fn pieces_begin_and_go_on_as_their_tags_say() {
        let found = pieces(&["B-a", "I-a", "O", "I-a", "B-a", "I-b", "V", "V"]);
        assert_eq!(found, [(0, 1, "a"), (3, 3, "a"), (4, 4, "a"), (5, 5, "b"), (6, 7, "V")]);
        assert_eq!(pieces(&["NN", "NN", "O", "NN"]), [(0, 1, "NN"), (3, 3, "NN")]);
    }

    #[test]
    fn entities_count_where_all_of_them_is_right() {
        let labels = ["O".to_owned(), "B-a".to_owned(), "I-a".to_owned()];
        let tags = example(Target::Tags(vec![Some(1), Some(2), None, Some(1)]));
        let row = |tags: [usize; 4]| tags.iter().flat_map(|&tag| (0..3).map(move |i| f32::from(u8::from(i == tag)))).collect();
        let of = |said: [usize; 4]| entity_f1(&[row(said)], std::slice::from_ref(&tags), &labels);
        assert_eq!(of([1, 2, 0, 1]), 1.0);
        // One of two pieces is right, and the other is too short.
        assert_eq!(of([1, 0, 2, 1]), 0.5);
        assert_eq!(of([0, 0, 0, 0]), 0.0);
    }

    #[test]
    fn the_threshold_lies_between_what_holds_and_what_does_not() {
        let logit = |p: f32| (p / (1.0 - p)).ln();
        let rows = [vec![logit(0.305), logit(0.105)], vec![logit(0.405), logit(0.205)]];
        let examples = [example(Target::Labels(vec![0])), example(Target::Labels(vec![0]))];
        let (at, f1) = threshold(&rows, &examples);
        assert!((at - 0.25).abs() < 0.011 && f1 == 1.0, "{at} {f1}");
        // Nothing can be right: still a threshold.
        assert_eq!(threshold(&[], &[]), (0.5, 0.0));
    }

    /// Would catch: a network that is broken and counts as right wherever the first label is.
    #[test]
    fn what_is_no_number_is_wrong() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (label, span) = (example(Target::Label(0)), example(Target::Span(0, 0)));
            assert_eq!(right(&[vec![1.0, wrong]], std::slice::from_ref(&label)), 0.0);
            assert_eq!(macro_f1(&[vec![1.0, wrong]], &[label], 2), 0.0);
            assert_eq!(answered(&[vec![9.0, 9.0, wrong, 1.0]], &[span]), 0.0);
            let of = |row: [f32; 2], labels: Vec<u32>| threshold(&[row.to_vec()], &[example(Target::Labels(labels))]).1;
            assert_eq!((of([wrong, 9.0], vec![0, 1]), of([wrong, 9.0], vec![1])), (2.0 / 3.0, 2.0 / 3.0));
            let labels = ["O".to_owned(), "B-a".to_owned()];
            let tags = example(Target::Tags(vec![Some(1), Some(0)]));
            assert_eq!(entity_f1(&[vec![0.0, 1.0, wrong, 0.0]], &[tags], &labels), 2.0 / 3.0);
        }
    }

    /// Would catch: numbers that are none and that are measured all the same.
    #[test]
    fn what_is_measured_has_its_names() {
        for (wanted, count) in [([1.0, 2.0, 3.0], 2), ([1.0; 3], 1)] {
            let examples = wanted.map(|wanted| example(Target::Score(wanted)));
            let of = |given: f32| figures(Task::Score, &[vec![given], vec![1.0], vec![0.0]], &examples, &[]);
            assert!(of(f32::NAN).iter().all(|figure| figure.is_nan()) && of(2.0).iter().all(|figure| figure.is_finite()));
            assert_eq!((of(f32::NAN).len(), of(2.0).len(), names(Task::Score, &examples).len()), (count, count, count));
        }
        assert_eq!(said(Task::Score.figures(), &[0.8, 0.5]), "Pearson 80.00, Spearman 50.00");
        assert_eq!(names(Task::Label, &[]), Task::Label.figures());
    }

    #[test]
    fn labels_and_spans_are_right_or_not() {
        let labels = [example(Target::Label(1)), example(Target::Label(0))];
        assert_eq!(right(&[vec![0.0, 1.0], vec![0.0, 1.0]], &labels), 0.5);
        let spans = [example(Target::Span(1, 2)), example(Target::Span(0, 0))];
        let row = vec![0.0, 0.0, 5.0, 1.0, 1.0, 9.0];
        assert_eq!(answered(&[row.clone(), row], &spans), 0.5);
    }
}
