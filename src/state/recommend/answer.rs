//! What the fold says of one event: numbers with a fixed order, and the signals as a document.

use super::blend::Blend;
use super::facts::{Deed, Facts};
use super::forward::Forward;
use super::id::Id;
use super::item::Item;
use super::score;
use super::user::User;
use super::view::View;
use crate::config::recommend::Scope;
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
    let item = facts.item.as_ref().and_then(|id| view.item(id));
    let asks = !view.config().blend.on_request || facts.deed == Deed::Request;
    let listed = asks && facts.user.is_some();
    let blend = listed.then(|| Blend::new(view));
    let (new, cold) = (User::default(), Item::default());
    let (user, known) = (view.user.unwrap_or(&new), item.unwrap_or(&cold));
    let seconds = (user.visit.end_ms - user.visit.start_ms) as f64 / 1e3;
    let weight = facts.item.as_ref().and_then(|id| Some(view.ranking(0)?.of(id).0));
    let of_user = |number: f64| if facts.user.is_some() { number } else { f64::NAN };
    let numbers = [
        of_user(user.events as f64),
        of_user(f64::from(user.visit.events)),
        of_user(seconds),
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
        document: Some(document(view, facts, blend.as_ref())),
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

fn document(view: &View<'_>, facts: &Facts, blend: Option<&Blend<'_>>) -> Value {
    let mut said = Map::new();
    said.insert("reference_time_ms".into(), json!(view.time_ms));
    if facts.linked.passed_over {
        said.insert("folded".into(), json!(false));
    }
    if let Some(id) = &facts.user {
        said.insert("user".into(), json!(id.as_str()));
        let new = User::default();
        of_user(view, view.user.unwrap_or(&new), blend, &mut said);
    }
    if let Some(id) = &facts.item {
        of_item(view, id, &mut said);
    }
    Value::Object(said)
}

fn of_user(view: &View<'_>, user: &User, blend: Option<&Blend<'_>>, said: &mut Map<String, Value>) {
    let config = view.config();
    let mut say = |name: &str, value: Value| said.insert(name.to_owned(), value);
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
    if let Some(session) = &config.session {
        let visit = &user.visit;
        let times = json!({
            "number": visit.number,
            "start_ms": visit.start_ms,
            "end_ms": visit.end_ms,
            "expires_ms": visit.end_ms + session.gap.ms(),
            "events": visit.events,
        });
        say("session", times);
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
        // Seven decimals: all that the vectors of items hold.
        let vector: Vec<f64> = taste.sum.iter().map(|x| (x / length * 1e7).round() / 1e7).collect();
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
}

fn of_item(view: &View<'_>, id: &Id, said: &mut Map<String, Value>) {
    let cold = Item::default();
    let (config, known) = (view.config(), view.item(id).unwrap_or(&cold));
    let signals = config.popularity.iter().filter(|signal| signal.scope == Scope::Global).enumerate();
    let popularity: Map<String, Value> = signals
        .filter_map(|(number, signal)| {
            let weight = view.ranking(number)?.of(id).0;
            let told = match (signal.half_life, signal.window) {
                (Some(half_life), _) => json!({ "weight": weight, "half_life_ms": half_life.ms() }),
                (_, Some(window)) => json!({ "weight": weight, "window_ms": window.ms() }),
                _ => json!({ "weight": weight }),
            };
            Some((signal.name.clone(), told))
        })
        .collect();
    let mut item = json!({ "item": id.as_str(), "support": known.events, "popularity": popularity });
    if let Some(settings) = &config.ctr {
        item["ctr"] = json!({
            "rate": ctr(view, known),
            "impressions": known.impression_events,
            "prior": settings.prior,
            "half_life_ms": settings.half_life.map(|half_life| half_life.ms()),
        });
    }
    said.insert("item".into(), item);
    let shown = |id: &Id| view.global.is_none_or(|shelf| shelf.shows(id, view.time_ms));
    let mut similar: Vec<(&Id, f64)> = score::nearest(view, id).into_iter().filter(|(id, _)| shown(id)).collect();
    similar.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    similar.truncate(SIMILAR);
    if !similar.is_empty() {
        let similar = similar.iter().map(|(id, score)| json!({ "item": id.as_str(), "score": score }));
        let similar = json!({ "item": id.as_str(), "reason": "cold_item", "items": similar.collect::<Vec<_>>() });
        said.insert("similar".into(), similar);
    }
}
