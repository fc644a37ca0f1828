//! What rises among all items, and what is popular in the categories that the user likes.

use super::Scores;
use crate::state::recommend::forward::Forward;
use crate::state::recommend::id::Id;
use crate::state::recommend::step::LIKED;
use crate::state::recommend::view::View;

/// Candidates that are looked at, of each ranking.
const LOOKED_AT: usize = 200;

/// The short decayed count over what the long one promises: at a steady rate both agree.
pub fn trending<'a>(view: &View<'a>) -> Scores<'a> {
    let mut scores = Scores::default();
    let Some(signal) = &view.config().trending else { return scores };
    let first = view.fold.global.len() - 2;
    let (Some(short), Some(long)) = (view.ranking(first), view.ranking(first + 1)) else { return scores };
    let ratio = signal.short.ms() as f64 / signal.long.ms() as f64;
    for (item, weight) in short.best(LOOKED_AT, |item| view.allows(item)) {
        scores.insert(item, weight / (long.of(item).0 * ratio + signal.prior));
    }
    scores
}

/// The popularity `number` of those by category, each category weighed by how much the user likes it.
pub fn in_categories<'a>(view: &View<'a>, number: usize) -> Scores<'a> {
    let mut scores = Scores::default();
    let (Some(user), Some(affinity)) = (view.user, &view.config().affinity) else { return scores };
    let Some(memory) = view.fold.by_category.get(number) else { return scores };
    let growth = Forward::growth(view.time_ms, Some(affinity.half_life.ms()));
    let liked: Vec<(&Id, f64)> = user.liked(LIKED).into_iter().map(|(id, weight)| (id, weight.at(growth))).collect();
    let total: f64 = liked.iter().map(|(_, weight)| weight).sum();
    for (category, weight) in liked {
        let shelf = view.shelves.iter().find(|(id, _)| *id == category).map(|(_, shelf)| *shelf);
        let Some(ranking) = shelf.and_then(|shelf| shelf.rankings.get(number)) else { continue };
        for (item, count) in ranking.sight(view.time_ms, *memory).best(LOOKED_AT, |item| view.allows(item)) {
            *scores.entry(item).or_default() += weight / total * count;
        }
    }
    scores
}
