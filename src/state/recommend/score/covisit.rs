//! What came after, or went with, the items that the user took last.

use super::Scores;
use crate::config::recommend::Direction;
use crate::state::recommend::forward::{Forward, exp2, pow};
use crate::state::recommend::view::View;

/// See [`Covisit`](crate::config::recommend::Covisit) for the formula.
pub fn covisit<'a>(view: &View<'a>, number: usize) -> Scores<'a> {
    let mut scores = Scores::default();
    let Some(signal) = view.config().covisit.get(number) else { return scores };
    let growth = Forward::growth(view.time_ms, signal.half_life.map(|half_life| half_life.ms()));
    for (steps, id) in view.last_items(signal.last).into_iter().enumerate() {
        let Some((item, row)) = view.item(id).and_then(|item| Some((item, item.rows.get(number)?))) else { continue };
        let size = match signal.direction {
            Direction::Forward => row.sum.at(growth),
            Direction::Both => item.events as f64,
        };
        let recency = exp2(-(steps as f64) / signal.recency_events);
        let factor = recency / pow((size + signal.shrink).max(f64::MIN_POSITIVE), signal.row_power * signal.power);
        for (other, pair) in &row.pairs {
            let weight = pair.weight().at(growth);
            if weight > 0.0 {
                *scores.entry(other).or_default() += factor * pow(weight, signal.power);
            }
        }
    }
    let power = signal.popularity_power * signal.power;
    if power > 0.0 {
        for (item, score) in &mut scores {
            *score /= pow(view.count(item) + signal.shrink.max(1.0), power);
        }
    }
    scores
}
