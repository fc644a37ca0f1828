//! Which version of a pipeline scores which event: what is wished, and what each partition has taken over from which offset on.

use super::spread::{BASIS, spread};
use std::sync::Arc;

/// A share of the keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    pub version: Arc<str>,
    /// 0 to 1, both excluded.
    pub share: f64,
}

/// What an operator wants of a pipeline; each wish has a number of its own, and the highest counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Swap {
    pub number: i64,
    pub version: Arc<str>,
    pub canary: Option<Canary>,
    pub reason: String,
    pub by: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// A wish that a partition has taken over: from this offset on it says who scores. Written once, under the claim, before anything from
/// that offset on is put to work; never changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Of the wish.
    pub number: i64,
    pub from_offset: i64,
    pub version: Arc<str>,
    pub canary: Option<Canary>,
}

impl Swap {
    /// The wish as a partition takes it over.
    pub fn taken_from(&self, from_offset: i64) -> Taken {
        Taken { number: self.number, from_offset, version: self.version.clone(), canary: self.canary.clone() }
    }

    /// The versions that it names.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.version).chain(self.canary.iter().map(|canary| &canary.version))
    }

    /// In words: `v2`, or `base, v2 for 0.05 of the keys`.
    pub fn what(&self) -> String {
        what(&self.version, self.canary.as_ref())
    }
}

impl Taken {
    /// The version that scores an event of this key.
    pub fn version_of(&self, pipeline: &str, key: &str) -> &Arc<str> {
        match &self.canary {
            Some(canary) if is_in(pipeline, canary, key) => &canary.version,
            _ => &self.version,
        }
    }

    /// The versions that it names.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.version).chain(self.canary.iter().map(|canary| &canary.version))
    }

    /// In words, as [`Swap::what`].
    pub fn what(&self) -> String {
        what(&self.version, self.canary.as_ref())
    }
}

fn what(version: &str, canary: Option<&Canary>) -> String {
    match canary {
        Some(canary) => format!("{version}, {} for {} of the keys", canary.version, canary.share),
        None => version.to_owned(),
    }
}

/// What is in force at an offset: of all that begin at it or before, the one with the highest number. A wish may begin below an earlier one,
/// where the owner of that died before it got there. `None`: the pipeline's own settings. `all` is in the order of the numbers.
pub fn taken_at(all: &[Taken], offset: i64) -> Option<&Taken> {
    all.iter().rev().find(|taken| taken.from_offset <= offset)
}

/// Whether a key belongs to a canary. The same on every worker and after every restart; a key that is in a share is in every larger one of the
/// same version.
pub fn is_in(pipeline: &str, canary: &Canary, key: &str) -> bool {
    let hash = [pipeline, &*canary.version, key].into_iter().fold(BASIS, spread);
    // The upper 53 bits, as a number in [0, 1).
    ((hash >> 11) as f64) / ((1u64 << 53) as f64) < canary.share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BASE;

    fn taken(number: i64, from_offset: i64, version: &str) -> Taken {
        Taken { number, from_offset, version: version.into(), canary: None }
    }

    /// Would catch: a wish that counts below its offset, a later one that does not count where it begins earlier.
    #[test]
    fn the_newest_wish_that_begins_at_an_offset_or_before_it_counts() {
        let all = [taken(1, 10, "a"), taken(2, 50, "b"), taken(3, 30, BASE)];
        let of = |offset| taken_at(&all, offset).map(|taken| &*taken.version);
        assert_eq!([of(9), of(10), of(29), of(30), of(50)], [None, Some("a"), Some("a"), Some(BASE), Some(BASE)]);
    }

    /// Would catch: a share that is not the share, keys that come and go when it grows, versions and pipelines that all try the same keys.
    #[test]
    fn a_share_of_the_keys_is_the_same_everywhere_and_only_grows() {
        let canary = |version: &str, share| Canary { version: version.into(), share };
        let of = |pipeline: &str, canary: &Canary| -> Vec<usize> {
            (0..20_000).filter(|n| is_in(pipeline, canary, &format!("customer-{n}"))).collect()
        };
        let (few, more) = (of("p", &canary("v2", 0.05)), of("p", &canary("v2", 0.3)));
        assert!((850..1_150).contains(&few.len()) && (5_700..6_300).contains(&more.len()), "{} {}", few.len(), more.len());
        assert!(few.iter().all(|n| more.contains(n)));
        let common = |other: &[usize]| few.iter().filter(|n| other.contains(n)).count();
        assert!(common(&of("p", &canary("v3", 0.05))) < 120 && common(&of("q", &canary("v2", 0.05))) < 120);
        // What workers of other builds must agree with.
        assert_eq!(few[..4], of("p", &canary("v2", 0.05))[..4]);
        assert!(of("p", &canary("v2", 0.0)).is_empty() && of("p", &canary("v2", 1.0)).len() == 20_000);
    }
}
