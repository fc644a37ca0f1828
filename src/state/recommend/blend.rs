//! One list from many signals: each signal's scores are divided by its best one, weighed and summed.

use super::id::Id;
use super::ranking::Sight;
use super::score::{self, Scores};
use super::view::View;
use crate::config::recommend::{Popularity, Recommend, Scope};

/// Candidates that a ranking over all items brings in. Below them nothing can be among the best so many of a list.
const CANDIDATES: usize = 200;

/// A candidate of the list.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    pub item: &'a Id,
    pub score: f64,
    /// The signal that said most for it.
    pub reason: &'a str,
}

/// Why the list is not made of the user's own signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The user has no past.
    NewUser,
    /// The past has no neighbours yet.
    NoNeighbours,
}

impl Fallback {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewUser => "new_user",
            Self::NoNeighbours => "no_neighbours",
        }
    }
}

/// What one signal says.
enum Source<'a> {
    /// A ranking over all items, looked up for any of them.
    Ranking(Sight<'a>),
    Scores(Scores<'a>),
}

struct Part<'a> {
    name: &'a str,
    weight: f64,
    best: f64,
    source: Source<'a>,
}

impl Part<'_> {
    fn of(&self, item: &Id) -> f64 {
        let score = match &self.source {
            Source::Ranking(ranking) => ranking.of(item).0,
            Source::Scores(scores) => scores.get(item).copied().unwrap_or(0.0),
        };
        if self.best > 0.0 { self.weight * score / self.best } else { 0.0 }
    }
}

/// The blended scores for one user.
pub struct Blend<'a> {
    parts: Vec<Part<'a>>,
    /// All candidates that are allowed, the best first; equal ones by name.
    pub scored: Vec<Scored<'a>>,
    pub fallback: Option<Fallback>,
}

impl<'a> Blend<'a> {
    pub fn new(view: &View<'a>) -> Self {
        let config = view.config();
        let weigh = |name: &&str| config.blend.weights.get(*name).copied().filter(|weight| *weight > 0.0);
        let mut parts: Vec<Part<'a>> = config.signals().iter().filter_map(|name| part(view, name, weigh(name)?)).collect();
        for part in parts.iter_mut().filter(|_| config.blend.earned) {
            if let Source::Ranking(ranking) = &part.source {
                part.weight *= ranking.foresight();
            }
        }
        let personal = parts.iter().any(|part| !of_all_items(config, part.name) && part.best > 0.0);
        if personal || !needs_past(config) {
            let scored = rank(view, &parts);
            return Self { parts, scored, fallback: None };
        }
        let fallback = if view.user.is_some_and(|user| user.events > 0) { Fallback::NoNeighbours } else { Fallback::NewUser };
        let declared = config.popularity.iter().filter(|signal| signal.scope == Scope::Global).map(|signal| signal.name.as_str());
        let names: Vec<&str> = match config.blend.fallback.is_empty() {
            true => declared.collect(),
            false => config.blend.fallback.iter().map(String::as_str).collect(),
        };
        let parts: Vec<Part<'a>> =
            names.iter().filter_map(|name| part(view, name, 1.0)).filter(|part| part.best > 0.0).take(1).collect();
        let scored = rank(view, &parts);
        Self { parts, scored, fallback: Some(fallback) }
    }

    /// The score of an item that is allowed; of another what all agree on at most.
    pub fn of(&self, item: &Id) -> f64 {
        self.parts.iter().map(|part| part.of(item)).sum()
    }
}

/// Whether the weights name a signal of the user's own.
fn needs_past(config: &Recommend) -> bool {
    config.blend.weights.iter().any(|(name, weight)| *weight > 0.0 && !of_all_items(config, name))
}

/// Whether a signal says the same to everybody.
fn of_all_items(config: &Recommend, name: &str) -> bool {
    let global = |signal: &Popularity| signal.name == name && signal.scope == Scope::Global;
    name == "trending" || config.popularity.iter().any(global)
}

/// What the signal of that name says; places count within its kind, as declared.
fn part<'a>(view: &View<'a>, name: &str, weight: f64) -> Option<Part<'a>> {
    let config = view.config();
    if let Some(place) = config.popularity.iter().position(|signal| signal.name == name) {
        let signal = &config.popularity[place];
        let number = config.popularity[..place].iter().filter(|other| other.scope == signal.scope).count();
        if signal.scope == Scope::Global {
            let ranking = view.ranking(number)?;
            let best = ranking.best(1, |item| view.allows(item)).first().map_or(0.0, |(_, best)| *best);
            return Some(Part { name: &signal.name, weight, best, source: Source::Ranking(ranking) });
        }
        return Some(scores(view, &signal.name, weight, score::in_categories(view, number)));
    }
    if let Some(number) = config.covisit.iter().position(|signal| signal.name == name) {
        return Some(scores(view, &config.covisit[number].name, weight, score::covisit(view, number)));
    }
    match name {
        "trending" => Some(scores(view, "trending", weight, score::trending(view))),
        "session_neighbours" => Some(scores(view, "session_neighbours", weight, score::sessions(view))),
        "interest" => Some(scores(view, "interest", weight, score::interest(view))),
        _ => None,
    }
}

fn scores<'a>(view: &View<'a>, name: &'a str, weight: f64, mut scores: Scores<'a>) -> Part<'a> {
    scores.retain(|item, _| view.allows(item));
    let best = scores.values().copied().fold(0.0, f64::max);
    Part { name, weight, best, source: Source::Scores(scores) }
}

fn rank<'a>(view: &View<'a>, parts: &[Part<'a>]) -> Vec<Scored<'a>> {
    let mut candidates = Scores::default();
    for part in parts {
        match &part.source {
            Source::Scores(scores) => candidates.extend(scores.keys().map(|item| (*item, 0.0))),
            Source::Ranking(ranking) => {
                let most = CANDIDATES.max(view.config().blend.items);
                candidates.extend(ranking.best(most, |item| view.allows(item)).into_iter().map(|(item, _)| (item, 0.0)));
            }
        }
    }
    let mut scored: Vec<Scored<'a>> = Vec::with_capacity(candidates.len());
    for item in candidates.into_keys() {
        let (mut score, mut most, mut reason) = (0.0, 0.0, "");
        for part in parts {
            let said = part.of(item);
            score += said;
            if said > most {
                (most, reason) = (said, part.name);
            }
        }
        scored.push(Scored { item, score, reason });
    }
    scored.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.item.cmp(b.item)));
    scored
}
