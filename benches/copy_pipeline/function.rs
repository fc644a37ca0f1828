//! What the pipeline runs: `copy`, or `risk` with 12 features of an account's history and a forest of 100 trees.

use crate::{Anyhow, forest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scoring {
    Copy,
    /// The state of 50,000 accounts, 12 features, 100 trees of depth 6; about one event in 25 is explained at a review score of 800.
    Risk,
}

/// Names, how each is declared, and the largest value that a split may have.
const FEATURES: &[(&str, &str, f64)] = &[
    ("amount", "field = \"amount\"", 997.0),
    ("hour", "calendar = \"hour\"", 24.0),
    ("count_1h", "aggregate = \"count\", window = \"1h\"", 30.0),
    ("sum_1h", "aggregate = \"sum\", field = \"amount\", window = \"1h\"", 20_000.0),
    ("count_1d", "aggregate = \"count\", window = \"1d\"", 30.0),
    ("mean_1d", "aggregate = \"mean\", field = \"amount\", window = \"1d\"", 997.0),
    ("max_1d", "aggregate = \"max\", field = \"amount\", window = \"1d\"", 997.0),
    ("stddev_7d", "aggregate = \"stddev\", field = \"amount\", window = \"7d\"", 500.0),
    ("mean_7d", "aggregate = \"mean\", field = \"amount\", window = \"7d\"", 997.0),
    ("merchants_7d", "aggregate = \"distinct\", field = \"merchant\", window = \"7d\"", 30.0),
    ("mean_30d", "aggregate = \"mean\", field = \"amount\", window = \"30d\"", 997.0),
    ("since_last_s", "aggregate = \"time_since\", window = \"30d\"", 1_000.0),
];

impl Scoring {
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Risk => "risk",
        }
    }

    /// The rest of the pipeline's section; writes the files that it names into the folder.
    pub fn config(self, folder: &Path, review: u32) -> Anyhow<String> {
        if self == Self::Copy {
            return Ok(
                "function = \"copy\"\noptions = { fields = [\"amount\", \"currency\"], score = \"amount / 100\" }\n".into()
            );
        }
        let names: Vec<&str> = FEATURES.iter().map(|(name, ..)| *name).collect();
        let mut random = StdRng::seed_from_u64(7);
        let row = |_| FEATURES.iter().map(|(.., most)| random.random_range(0.0..*most)).collect();
        let rows: Vec<Box<[f64]>> = (0..2_000).map(row).collect();
        std::fs::write(folder.join("forest.json"), forest::file(&names, &rows).to_string())?;
        let policy = format!("version = \"1\"\n[thresholds]\nreview = {review}\ndecline = {}\n", (review + 1).max(950));
        std::fs::write(folder.join("policy.toml"), policy)?;
        let feature = |(name, how, _): &(&str, &str, f64)| match how.starts_with("aggregate") {
            true => format!("{{ name = \"{name}\", entity = \"account\", {how} }}"),
            false => format!("{{ name = \"{name}\", {how} }}"),
        };
        let features: Vec<String> = FEATURES.iter().map(feature).collect();
        Ok(format!(
            "function = \"risk\"\nmodel = \"forest\"\noptions = {{ policy = \"policy.toml\" }}\n[pipeline.risk]\nfeature = [{}]\n\
             [models.forest]\npath = \"forest.json\"\n",
            features.join(", ")
        ))
    }
}
