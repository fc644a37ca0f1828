//! Which events a challenger answers: their ids decide, and the pipeline's name, so that every worker chooses the same at any time.

use crate::store::spread::{BASIS, spread};

/// Chooses a share of all ids. Who is chosen by a share is chosen by every greater one.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    seed: u64,
    /// Of 2^64; `None` chooses all.
    below: Option<u64>,
}

impl Sample {
    /// `share` is 0 to 1.
    pub fn new(pipeline: &str, share: f64) -> Self {
        // 2^64 is not a u64: it stands for all.
        let below = (share < 1.0).then_some((share.max(0.0) * 2f64.powi(64)) as u64);
        Self { seed: spread(BASIS ^ 0x6d69_6c6c_7261_6365, pipeline), below }
    }

    pub fn chooses(&self, id: &str) -> bool {
        self.below.is_none_or(|below| spread(BASIS ^ self.seed, id) < below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a share that is not met, another choice in the next version or for neighbours, a greater share that lets somebody go.
    #[test]
    fn a_share_of_ids_is_chosen_and_always_the_same() {
        let ids: Vec<String> = (0..20_000).map(|n| format!("t-{n}")).collect();
        let chosen = |share| {
            let sample = Sample::new("fraud", share);
            ids.iter().filter(|id| sample.chooses(id)).collect::<Vec<_>>()
        };
        assert_eq!((chosen(0.0).len(), chosen(1.0).len()), (0, ids.len()));
        let (tenth, third) = (chosen(0.1), chosen(0.3));
        assert!((1_850..2_150).contains(&tenth.len()) && (5_800..6_200).contains(&third.len()), "{}", tenth.len());
        assert!(tenth.iter().all(|id| third.contains(id)));
        let other = Sample::new("other", 0.1);
        let both = tenth.iter().filter(|id| other.chooses(id)).count();
        assert!(both < 300, "pipelines choose by themselves, {both}");
    }
}
