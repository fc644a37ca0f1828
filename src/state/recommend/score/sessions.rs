//! Session neighbours (VMIS-kNN): among the newest sessions that share items with this one, the nearest say what comes next.

use super::Scores;
use crate::state::recommend::forward::{ln, pow};
use crate::state::recommend::id::Id;
use crate::state::recommend::item::Sitting;
use crate::state::recommend::user::User;
use crate::state::recommend::view::View;
use std::cmp::Reverse;
use std::collections::HashMap;

/// A session that shares items with this one.
struct Near<'a> {
    sitting: &'a Sitting,
    similarity: f64,
    /// Steps back to the newest item that is shared.
    steps: usize,
}

pub fn sessions<'a>(view: &View<'a>) -> Scores<'a> {
    let mut scores = Scores::default();
    let (Some(signal), Some(user)) = (&view.config().session_neighbours, view.user) else { return scores };
    let oldest_ms = signal.expiry.map_or(i64::MIN, |expiry| view.time_ms - expiry.ms());
    let gap_ms = view.config().session.as_ref().map(|session| session.gap.ms());
    let session = user.session_at(view.time_ms, gap_ms);
    let last = items_of(user, session, signal.last);
    let mut near: HashMap<(&Id, u32), Near<'a>> = HashMap::new();
    for (steps, id) in last.iter().enumerate() {
        let closeness = (last.len() - steps) as f64 / last.len() as f64;
        for sitting in view.item(id).into_iter().flat_map(|item| item.sittings.iter().rev()) {
            // The user's own running session says nothing new.
            let own = sitting.number == session && Some(&sitting.user) == view.user_id;
            if sitting.newest_ms < oldest_ms || own {
                continue;
            }
            near.entry((&sitting.user, sitting.number)).and_modify(|near| near.similarity += closeness).or_insert(Near {
                sitting,
                similarity: closeness,
                steps,
            });
        }
    }
    let mut near: Vec<Near<'a>> = near.into_values().collect();
    near.sort_unstable_by_key(|near| Reverse((near.sitting.newest_ms, &near.sitting.user, near.sitting.number)));
    near.truncate(signal.sessions);
    near.sort_by(|a, b| b.similarity.total_cmp(&a.similarity));
    near.truncate(signal.neighbours);
    for near in &near {
        let weight = near.similarity * (1.0 - 0.1 * near.steps as f64).max(0.0);
        for item in &near.sitting.items {
            if Some(&item) != last.first() {
                *scores.entry(item).or_default() += weight;
            }
        }
    }
    let sessions = view.global.map_or(1, |shelf| shelf.sessions) as f64;
    if signal.rarity > 0.0 {
        for (item, score) in &mut scores {
            let rarity = ln((sessions / view.count(item).max(1.0)).max(1.0)).max(1e-3);
            *score *= pow(rarity, signal.rarity);
        }
    }
    scores
}

/// The distinct items of a session, newest first.
fn items_of(user: &User, session: u32, most: usize) -> Vec<&Id> {
    let mut items: Vec<&Id> = Vec::with_capacity(most);
    for past in user.past.iter().rev().filter(|past| past.session == session) {
        if items.len() < most && !items.contains(&&past.item) {
            items.push(&past.item);
        }
    }
    items
}
