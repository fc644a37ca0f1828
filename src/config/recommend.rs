//! `[recommend]`: which signals are kept of users and items, and how they are blended into lists.

mod check;
mod signals;
mod topology;

pub use super::Span;
pub use check::findings_of;
pub use signals::{
    Affinity, Blend, Covisit, Ctr, Direction, History, Interest, Popularity, Scope, Session, SessionNeighbours, Trending,
};
pub use topology::warning_of;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[recommend]`. A signal that is not declared is not kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Recommend {
    /// Dotted path of the object that holds `kind`, `user`, `item` and what else is read: `event`, where an earlier pipeline passes
    /// the event on. Default: the event itself.
    pub at: Option<String>,
    /// Entries of one kind that a key keeps at most; the weakest or oldest go, and the answer says `truncated`. Default 10,000.
    pub entries: usize,
    /// An event that is older than its user's newest by more than this is answered and not folded. Default 7d.
    pub max_late: Span,
    /// What a kind of event weighs; a kind that is not here is rejected. Empty (the default): every kind weighs 1.
    pub kinds: BTreeMap<String, f64>,
    /// Kinds that hide the item from the user's lists, and count for nothing else. Default: `hide`.
    pub dislikes: Vec<String>,
    /// What a user did last.
    pub history: History,
    /// A visit, which ends with a gap.
    pub session: Option<Session>,
    /// What many take.
    pub popularity: Vec<Popularity>,
    /// What rises.
    pub trending: Option<Trending>,
    /// Takes over impressions.
    pub ctr: Option<Ctr>,
    /// Which categories a user likes.
    pub affinity: Option<Affinity>,
    /// What comes after, or goes with, an item.
    pub covisit: Vec<Covisit>,
    /// What the sessions that are most like this one went on with.
    pub session_neighbours: Option<SessionNeighbours>,
    /// Items that are like a user's, by their vectors.
    pub interest: Option<Interest>,
    /// One list a user.
    pub blend: Blend,
}

impl Default for Recommend {
    fn default() -> Self {
        Self {
            at: None,
            entries: 10_000,
            max_late: Span::days(7),
            kinds: BTreeMap::new(),
            dislikes: vec!["hide".into()],
            history: History::default(),
            session: None,
            popularity: Vec::new(),
            trending: None,
            ctr: None,
            affinity: None,
            covisit: Vec::new(),
            session_neighbours: None,
            interest: None,
            blend: Blend::default(),
        }
    }
}

impl Recommend {
    /// The names under which signals can be blended, in the order of their declaration.
    pub fn signals(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.popularity.iter().map(|signal| signal.name.as_str()).collect();
        names.extend(self.trending.is_some().then_some("trending"));
        names.extend(self.covisit.iter().map(|signal| signal.name.as_str()));
        names.extend(self.session_neighbours.is_some().then_some("session_neighbours"));
        names.extend(self.interest.is_some().then_some("interest"));
        names
    }

    /// Everything that is wrong, as sentences.
    pub fn findings(&self) -> Vec<String> {
        check::findings(self)
    }
}

#[cfg(test)]
mod tests;
