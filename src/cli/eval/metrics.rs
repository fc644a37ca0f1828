//! What ranks are worth.

use serde::Serialize;

/// Sums over scored events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    scored: u64,
    hits_10: f64,
    gains_10: f64,
    hits_20: f64,
    reciprocal_20: f64,
}

/// Their means.
#[derive(Debug, Clone, Serialize)]
pub struct Means {
    /// Events that were scored.
    pub support: u64,
    #[serde(rename = "HR@10")]
    pub hr_10: f64,
    #[serde(rename = "NDCG@10")]
    pub ndcg_10: f64,
    #[serde(rename = "MRR@20")]
    pub mrr_20: f64,
    #[serde(rename = "HitRate@20")]
    pub hit_rate_20: f64,
}

impl Metrics {
    /// The rank of the one right item, from 1 on; `None`: it was not in the list.
    pub fn take(&mut self, rank: Option<usize>) {
        self.scored += 1;
        let Some(rank) = rank else { return };
        if rank <= 10 {
            self.hits_10 += 1.0;
            self.gains_10 += 1.0 / (rank as f64 + 1.0).log2();
        }
        if rank <= 20 {
            self.hits_20 += 1.0;
            self.reciprocal_20 += 1.0 / rank as f64;
        }
    }

    pub fn means(&self) -> Means {
        let mean = |sum: f64| if self.scored == 0 { 0.0 } else { sum / self.scored as f64 };
        Means {
            support: self.scored,
            hr_10: mean(self.hits_10),
            ndcg_10: mean(self.gains_10),
            mrr_20: mean(self.reciprocal_20),
            hit_rate_20: mean(self.hits_20),
        }
    }
}
