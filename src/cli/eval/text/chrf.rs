//! chrF (Popović 2015), with the settings of sacreBLEU: runs of one to six characters without white space, recall twice as heavy as
//! precision, over the whole set.

use super::words::{common, grams};

const ORDERS: usize = 6;
const BETA: f64 = 2.0;

/// (runs that were said, that were wanted, common ones), by length.
pub type Counts = [(usize, usize, usize); ORDERS];

/// The counts of one answer: those of the reference that it is nearest to.
pub fn counts(said: &str, references: &[&str]) -> Counts {
    let characters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
    let said = characters(said);
    let of = |reference: &&str| -> Counts {
        let wanted = characters(reference);
        std::array::from_fn(|i| {
            let (a, b) = (grams(&said, i + 1), grams(&wanted, i + 1));
            // As sacreBLEU has it: what was said does not count at a length that the reference does not have.
            let said = if b.is_empty() { 0 } else { a.values().sum() };
            (said, b.values().sum(), common(&a, &b))
        })
    };
    let nearest = |a: Counts, b: Counts| if score(&b) > score(&a) { b } else { a };
    references.iter().map(of).reduce(nearest).unwrap_or_default()
}

/// Between 0 and 1: precision and recall are means over the lengths that both texts have.
pub fn score(counts: &Counts) -> f64 {
    let both: Vec<_> = counts.iter().filter(|(said, wanted, _)| *said > 0 && *wanted > 0).collect();
    let mean = |share: fn(&(usize, usize, usize)) -> f64| both.iter().map(|of| share(of)).sum::<f64>() / both.len().max(1) as f64;
    let precision = mean(|(said, _, common)| *common as f64 / *said as f64);
    let recall = mean(|(_, wanted, common)| *common as f64 / *wanted as f64);
    let weighed = BETA * BETA * precision + recall;
    if weighed > 0.0 { (1.0 + BETA * BETA) * precision * recall / weighed } else { 0.0 }
}
