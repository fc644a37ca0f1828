//! What a network that gives numbers is measured by.

use super::batches::{Example, Target};
use super::metrics::{pearson, spearman};
use super::task::Task;

/// Rows of which a correlation says something, at least: of two it is 1 or -1.
const FEW: usize = 3;

/// Of numbers that do not differ. In units of the variance of the numbers to learn from.
const SQUARES: &str = "minus squared error";

/// Whether numbers are many enough, and differ, so that others can go along with them.
pub fn correlate(wanted: &[f64]) -> bool {
    wanted.len() >= FEW && wanted.iter().any(|value| Some(value) != wanted.first())
}

/// What is measured; the first counts: correlations, or the squared error where the wanted numbers have none.
pub fn names(examples: &[Example]) -> &'static [&'static str] {
    let wanted: Vec<f64> = examples.iter().filter_map(wanted).collect();
    if correlate(&wanted) { Task::Score.figures() } else { &[SQUARES] }
}

/// All that [`names`] names, in its order. A correlation is 0 where a network gives the same for all.
pub fn figures(logits: &[Vec<f32>], examples: &[Example]) -> Vec<f64> {
    let pair = |(row, example): (&Vec<f32>, &Example)| Some((f64::from(*row.first()?), wanted(example)?));
    let (given, wanted): (Vec<f64>, Vec<f64>) = logits.iter().zip(examples).filter_map(pair).unzip();
    if !correlate(&wanted) {
        let squares = given.iter().zip(&wanted).map(|(given, wanted)| (given - wanted).powi(2));
        return vec![-squares.sum::<f64>() / wanted.len().max(1) as f64];
    }
    let of = |of: fn(&[f64], &[f64]) -> f64| Some(of(&given, &wanted)).filter(|value| value.is_finite()).unwrap_or(0.0);
    vec![of(pearson), of(spearman)]
}

fn wanted(example: &Example) -> Option<f64> {
    match example.target {
        Target::Score(wanted) => Some(f64::from(wanted)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[f32], wanted: &[f32]) -> (&'static [&'static str], Vec<f64>) {
        let example = |wanted: &f32| Example { ids: vec![1; 3], types: vec![], target: Target::Score(*wanted) };
        let examples: Vec<Example> = wanted.iter().map(example).collect();
        let logits: Vec<Vec<f32>> = given.iter().map(|value| vec![*value]).collect();
        (names(&examples), figures(&logits, &examples))
    }

    /// Would catch: a network that says the same of all texts and is the best there is, or none.
    #[test]
    fn numbers_are_measured_by_how_they_go_along() {
        let wanted = [1.0, 2.0, 3.0, 4.0];
        let (names, found) = of(&[-9.0, 0.0, 1.0, 0.5], &wanted);
        let [line, ranks] = found[..] else { panic!("two figures") };
        assert_eq!(names, ["Pearson", "Spearman"]);
        assert!((ranks - 0.8).abs() < 1e-9 && line > 0.7 && line < 0.95, "{ranks} {line}");
        assert_eq!(of(&[2.0; 4], &wanted).1, [0.0, 0.0]);
    }

    /// Would catch: the first weights that are measured kept as the best, since none correlates with what does not differ.
    #[test]
    fn of_numbers_that_do_not_differ_the_nearest_are_best() {
        for wanted in [&[0.1; 7][..], &[1.0, 2.0], &[1.0]] {
            let (names, far) = of(&vec![9.0; wanted.len()], wanted);
            assert_eq!(names, ["minus squared error"]);
            assert!(of(wanted, wanted).1 == [0.0] && far[0] < -25.0, "{far:?}");
        }
        assert_eq!(of(&[3.0, 1.0, 2.0], &[1.0; 3]).1, [-5.0 / 3.0]);
    }
}
