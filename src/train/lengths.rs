//! How long the texts of a run are, and what its limit takes of them.

/// Tokens of each text, special ones included, before any is cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lengths(Vec<usize>);

impl Lengths {
    pub fn new(mut all: Vec<usize>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The length that a share of the texts do not exceed (nearest rank); 0 without texts.
    pub fn quantile(&self, share: f64) -> usize {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied().unwrap_or(0)
    }

    /// Texts that are longer than `most`, and the tokens that they have beyond it.
    pub fn beyond(&self, most: usize) -> (usize, usize) {
        let long = &self.0[self.0.partition_point(|length| *length <= most)..];
        (long.len(), long.iter().map(|length| length - most).sum())
    }

    /// A line about `what`, such as `text`: the quantiles.
    pub fn said(&self, what: &str) -> String {
        let [half, most, nearly, longest] = [0.5, 0.9, 0.99, 1.0].map(|share| self.quantile(share));
        format!("tokens of a {what}: p50 {half}, p90 {most}, p99 {nearly}, longest {longest}")
    }

    /// The same, and how many are cut at `most`.
    pub fn cut(&self, what: &str, most: usize) -> String {
        let ((rows, lost), all) = (self.beyond(most), self.0.iter().sum::<usize>());
        let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        format!(
            "{}; {rows} of {} ({:.1} %) are cut at {most} (--max-tokens), {lost} tokens ({:.1} %) are lost",
            self.said(what),
            self.0.len(),
            share(rows, self.0.len()),
            share(lost, all)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: quantiles beside the list, texts of just the limit that count as cut.
    #[test]
    fn quantiles_are_lengths_that_there_are() {
        let all = Lengths::new((1..=200).rev().collect());
        assert_eq!([0.5, 0.9, 0.99, 1.0, 0.0].map(|share| all.quantile(share)), [100, 180, 198, 200, 1]);
        assert_eq!((all.beyond(198), all.beyond(200), all.beyond(0).0), ((2, 3), (0, 0), 200));
        let said = all.cut("text", 190);
        assert!(said.starts_with("tokens of a text: p50 100, p90 180, p99 198, longest 200; 10 of 200 (5.0 %) are cut at 190"));
        assert!(said.ends_with("55 tokens (0.3 %) are lost"), "{said}");
        assert!(Lengths::default().cut("text", 9).contains("longest 0; 0 of 0 (0.0 %)"));
    }
}
