//! From a probability to a score of 0..=1000 and a decision, by a versioned file of the user's.
//!
//! ```toml
//! version = "2026-03"
//! fallback = "review"            # when there is no score; default "review"
//! # scale = [[0.0, 0.0], [0.01, 600.0], [0.2, 900.0], [1.0, 1000.0]]
//! [thresholds]                   # least scores; what is left out never comes from a score
//! review = 600
//! block_and_review = 900
//! decline = 970
//! ```
//!
//! The score is `1000 * probability`, rounded half up; with `scale` it is read off the straight lines between its points
//! (probability, score), which a user takes from the false positive rates that each score should stand for. Thresholds are
//! compared with the rounded score, so that a decision can be checked from its record.

use super::error::{Fault, LoadError};
use super::{digest, settings};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is done with an event, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approve,
    Review,
    BlockAndReview,
    Decline,
}

impl Decision {
    /// The mildest first.
    pub const ALL: [Self; 4] = [Self::Approve, Self::Review, Self::BlockAndReview, Self::Decline];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Review => "review",
            Self::BlockAndReview => "block_and_review",
            Self::Decline => "decline",
        }
    }
}

/// Who made the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionSource {
    /// The score against the thresholds.
    Model,
    /// A rule that said more than the score.
    Rule,
    /// A deny or allow list.
    List,
    /// There was no score.
    Fallback,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    #[serde(default = "review")]
    fallback: Decision,
    scale: Option<Vec<[f64; 2]>>,
    #[serde(default)]
    thresholds: Thresholds,
}

fn review() -> Decision {
    Decision::Review
}

/// Least scores of the decisions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_and_review: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decline: Option<u16>,
}

#[derive(Debug, Clone)]
pub struct Policy {
    file: File,
    digest: String,
}

impl Policy {
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        settings::load(path, Self::parse)
    }

    pub fn parse(text: &str) -> Result<Self, Fault> {
        let file: File = settings::parse(text)?;
        settings::version(&file.version)?;
        let Thresholds { review, block_and_review, decline } = file.thresholds;
        let set: Vec<u16> = [review, block_and_review, decline].into_iter().flatten().collect();
        let rising = set.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || set.iter().any(|threshold| !(1..=1000).contains(threshold)) {
            let remedy = "set review < block_and_review < decline, each 1 to 1000";
            return Err(Fault::unsupported("thresholds", format!("{set:?} are not rising scores"), remedy));
        }
        if let Some(points) = &file.scale {
            check(points)?;
        }
        Ok(Self { file, digest: digest::sha256(text.as_bytes()) })
    }

    pub fn version(&self) -> &str {
        &self.file.version
    }

    pub fn digest(&self) -> &str {
        &self.digest
    }

    pub fn thresholds(&self) -> Thresholds {
        self.file.thresholds
    }

    /// The decision when there is no score.
    pub fn fallback(&self) -> Decision {
        self.file.fallback
    }

    /// 0 ..= 1000; `probability` is 0 ..= 1.
    pub fn score(&self, probability: f64) -> u16 {
        let score = match &self.file.scale {
            None => 1000.0 * probability,
            Some(points) => between(points, probability),
        };
        (score + 0.5).floor().clamp(0.0, 1000.0) as u16
    }

    pub fn decide(&self, score: u16) -> Decision {
        let Thresholds { review, block_and_review, decline } = self.file.thresholds;
        let from = [(decline, Decision::Decline), (block_and_review, Decision::BlockAndReview), (review, Decision::Review)];
        let reached = from.into_iter().find(|(least, _)| least.is_some_and(|least| score >= least));
        reached.map_or(Decision::Approve, |(_, decision)| decision)
    }
}

/// From (0, _) to (1, _), probabilities rising, scores never falling.
fn check(points: &[[f64; 2]]) -> Result<(), Fault> {
    let ends = points.first().map(|point| point[0]) == Some(0.0) && points.last().map(|point| point[0]) == Some(1.0);
    let rising = points.windows(2).all(|pair| pair[0][0] < pair[1][0] && pair[0][1] <= pair[1][1]);
    if ends && rising && points.iter().all(|point| (0.0..=1000.0).contains(&point[1])) {
        return Ok(());
    }
    let remedy = "give points [probability, score] from probability 0 to 1, both rising, scores 0 to 1000";
    Err(Fault::unsupported("scale", "its points are no rising line", remedy))
}

fn between(points: &[[f64; 2]], x: f64) -> f64 {
    let at = points.partition_point(|point| point[0] <= x).clamp(1, points.len() - 1);
    let ([x0, y0], [x1, y1]) = (points[at - 1], points[at]);
    y0 + (y1 - y0) * (x - x0) / (x1 - x0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version = \"7\"\n[thresholds]\nreview = 600\nblock_and_review = 900\ndecline = 970\n";

    /// Would catch: a threshold that is exclusive, a decision that is skipped, a score that is cut instead of rounded.
    #[test]
    fn scores_meet_thresholds() {
        let policy = Policy::parse(TEXT).unwrap();
        let said = |probability| {
            let score = policy.score(probability);
            (score, policy.decide(score))
        };
        assert_eq!(said(0.0), (0, Decision::Approve));
        assert_eq!(said(0.59949), (599, Decision::Approve));
        assert_eq!(said(0.5995), (600, Decision::Review));
        assert_eq!(said(0.9), (900, Decision::BlockAndReview));
        assert_eq!(said(0.97), (970, Decision::Decline));
        assert_eq!(said(1.0), (1000, Decision::Decline));
        assert!(Decision::Approve < Decision::Review && Decision::BlockAndReview < Decision::Decline);
        let only = Policy::parse("version = \"1\"\nfallback = \"decline\"\n[thresholds]\ndecline = 500\n").unwrap();
        assert_eq!(
            [only.decide(499), only.decide(500), only.fallback()],
            [Decision::Approve, Decision::Decline, Decision::Decline]
        );
        assert_eq!(policy.fallback(), Decision::Review);
    }

    /// Would catch: a line read off the wrong pair of points, ends that leave 0..=1000.
    #[test]
    fn a_scale_is_read_off_its_lines() {
        let scale = "version = \"1\"\nscale = [[0.0, 0.0], [0.01, 600.0], [0.2, 900.0], [1.0, 1000.0]]\n";
        let policy = Policy::parse(scale).unwrap();
        let scores = [0.0, 0.005, 0.01, 0.105, 0.2, 0.6, 1.0].map(|probability| policy.score(probability));
        assert_eq!(scores, [0, 300, 600, 750, 900, 950, 1000]);
    }

    /// Would catch: thresholds that fall, a misspelled key, a scale with a hole.
    #[test]
    fn policies_that_contradict_themselves_are_refused() {
        for (text, said) in [
            (TEXT.replace("900", "980"), "are not rising"),
            (TEXT.replace("970", "1001"), "are not rising"),
            (TEXT.replace("600", "0"), "are not rising"),
            (TEXT.replace("decline", "declin"), "did you mean `decline`"),
            (TEXT.replace("\"7\"", "\" \""), "the version is empty"),
            ("fallback = \"review\"".into(), "version"),
            ("version = \"1\"\nfallback = \"maybe\"".into(), "unknown variant"),
            ("version = \"1\"\nscale = []".into(), "no rising line"),
            ("version = \"1\"\nscale = [[0.0, 0.0], [0.9, 1000.0]]".into(), "no rising line"),
            ("version = \"1\"\nscale = [[0.0, 0.0], [0.5, 700.0], [1.0, 600.0]]".into(), "no rising line"),
            ("version = \"1\"\nscale = [[0.0, 0.0], [nan, 700.0], [1.0, 800.0]]".into(), "no rising line"),
            ("version = \"1\"\nscale = [[0.0, 0.0], [1.0, 1001.0]]".into(), "no rising line"),
        ] {
            let found = Policy::parse(&text).unwrap_err().to_string();
            assert!(found.contains(said), "{found} instead of {said}");
        }
    }
}
