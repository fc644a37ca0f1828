//! What the fold says of one event: numbers with a fixed order, and the signals as a document.

use super::blend::Blend;
use super::facts::{Deed, Facts};
use super::forward::Forward;
use super::id::Id;
use super::item::Item;
use super::score;
use super::user::User;
use super::view::View;
use crate::state::Features;
use serde_json::{Map, Value, json};

/// The numbers, in their order.
pub const FEATURES: [&str; 8] = [
    "user_events",
    "session_events",
    "session_seconds",
    "item_events",
    "item_impressions",
    "item_ctr",
    "item_weight",
    "list_best_score",
];
/// Neighbours of a cold item that are told.
const SIMILAR: usize = 10;

pub fn features(view: &View<'_>, facts: &Facts) -> Features {
    if facts.deed == Deed::Describe {
        let document = json!({ "item": facts.item.as_ref().map(Id::as_str), "reference_time_ms": facts.time_ms });
        return Features { document: Some(document), ..Features::default() };
    }
    let item = facts.item.as_ref().and_then(|id| view.item(id));
    let listed = !view.config().blend.on_request || facts.deed == Deed::Request;
    let blend = listed.then(|| Blend::new(view));
    let (new, cold) = (User::default(), Item::default());
    let (user, known) = (view.user.unwrap_or(&new), item.unwrap_or(&cold));
    let seconds = (user.visit.end_ms - user.visit.start_ms) as f64 / 1e3;
    let weight = facts.item.as_ref().and_then(|id| Some(view.ranking(0)?.of(id).0));
    let numbers = [
        user.events as f64,
        f64::from(user.visit.events),
        seconds,
        known.events as f64,
        known.impression_events as f64,
        ctr(view, known).unwrap_or(f64::NAN),
        weight.unwrap_or(f64::NAN),
        blend.as_ref().and_then(|blend| blend.scored.first()).map_or(f64::NAN, |best| best.score),
    ];
    let rows = view.items.iter().flat_map(|(_, item)| &item.rows).any(|row| row.truncated);
    let shelf = view.global.is_some_and(|shelf| shelf.truncated || shelf.rankings.iter().any(|ranking| ranking.truncated));
    Features {
        numbers: numbers.into(),
        document: Some(document(view, facts, user, blend.as_ref())),
        late: facts.linked.late,
        truncated: user.truncated || rows || shelf,
    }
}

/// Takes over impressions, smoothed towards the mean of all items.
fn ctr(view: &View<'_>, item: &Item) -> Option<f64> {
    let (ctr, shelf) = (view.config().ctr.as_ref()?, view.global?);
    let growth = Forward::growth(view.time_ms, ctr.half_life.map(|half_life| half_life.ms()));
    let impressions = shelf.impressions.at(growth);
    if impressions <= 0.0 {
        return None;
    }
    let mean = (shelf.taken.at(growth) / impressions).min(1.0);
    Some((item.taken.at(growth) + mean * ctr.prior) / (item.impressions.at(growth).max(item.taken.at(growth)) + ctr.prior))
}

fn document(view: &View<'_>, facts: &Facts, user: &User, blend: Option<&Blend<'_>>) -> Value {
    let config = view.config();
    let mut said = Map::new();
    let mut say = |name: &str, value: Value| said.insert(name.to_owned(), value);
    say("user", json!(facts.user.as_ref().map(Id::as_str)));
    say("reference_time_ms", json!(view.time_ms));
    if let Some(blend) = blend {
        let list = blend.scored.iter().take(config.blend.items);
        let list = list.map(|scored| json!({ "item": scored.item.as_str(), "score": scored.score, "reason": scored.reason }));
        say(
            "recommend",
            json!({
                "items": list.collect::<Vec<_>>(),
                "fallback": blend.fallback.map(|fallback| fallback.as_str()),
                "support": user.events,
                "seen_filtered": config.blend.filter_seen.then_some(user.seen.len()),
            }),
        );
    }
    let history = user.past.iter().rev().map(|past| json!({ "item": past.item.as_str(), "time_ms": past.time_ms }));
    say("history", json!(history.collect::<Vec<_>>()));
    if config.session.is_some() {
        let visit = &user.visit;
        say(
            "session",
            json!({ "number": visit.number, "start_ms": visit.start_ms, "end_ms": visit.end_ms, "events": visit.events }),
        );
    }
    if let Some(affinity) = &config.affinity {
        let growth = Forward::growth(view.time_ms, Some(affinity.half_life.ms()));
        let liked: Map<String, Value> = user
            .liked(affinity.categories)
            .into_iter()
            .map(|(id, weight)| (id.as_str().into(), json!(weight.at(growth))))
            .collect();
        say("affinity", json!({ "weights": liked, "support": user.events, "half_life_ms": affinity.half_life.ms() }));
    }
    if let (Some(interest), Some(taste)) = (&config.interest, &user.taste) {
        let length = taste.sum.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        let vector: Vec<f32> = taste.sum.iter().map(|x| (x / length) as f32).collect();
        say(
            "interest",
            json!({
                "model": interest.model,
                "vector": vector,
                "support": taste.events,
                "reference_time_ms": taste.newest_ms,
                "half_life_ms": interest.half_life.ms(),
            }),
        );
    }
    if let Some(item) = &facts.item {
        let mut similar: Vec<(&Id, f64)> = score::nearest(view, item).into_iter().collect();
        similar.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        similar.truncate(SIMILAR);
        if !similar.is_empty() {
            let similar = similar.iter().map(|(id, score)| json!({ "item": id.as_str(), "score": score }));
            say("similar", json!({ "item": item.as_str(), "reason": "cold_item", "items": similar.collect::<Vec<_>>() }));
        }
    }
    Value::Object(said)
}
