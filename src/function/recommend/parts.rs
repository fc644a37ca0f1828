//! From what the fold tells to records: of the user, and of the item.

use super::{Part, status};
use crate::function::Prediction;
use crate::state::Features;
use crate::state::recommend::{FEATURES, Fallback};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

type Told = Map<String, Value>;

/// What a record may be called; fallbacks are those of the blend.
pub const LABELS: [&str; 6] =
    ["personal", "cold", Fallback::NewUser.as_str(), Fallback::NoNeighbours.as_str(), "item", "cold_item"];

/// Nothing of an item event, and of an event whose list nobody asked for when only lists are.
pub fn of_user(emit: &BTreeSet<Part>, features: &Features, told: &Told) -> Option<Prediction> {
    let user = told.get("user")?.as_str()?;
    let list = told.get("recommend").filter(|_| emit.contains(&Part::Recommend)).and_then(Value::as_object);
    let signals = emit.contains(&Part::Signals);
    let interest = told.get("interest").filter(|_| emit.contains(&Part::Interest));
    if list.is_none() && !signals && interest.is_none() {
        return None;
    }
    let mut fields = about(features, told);
    fields.insert("user".into(), user.into());
    fields.insert("support".into(), (number(features, "user_events").unwrap_or(0.0) as u64).into());
    for (name, value) in list.into_iter().flatten().filter(|(name, _)| *name != "support") {
        fields.insert(name.clone(), value.clone());
    }
    for name in ["history", "session", "affinity", "similar"].into_iter().filter(|_| signals) {
        fields.extend(told.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    fields.extend(interest.map(|interest| ("interest".to_owned(), interest.clone())));
    let score = list.and_then(|_| number(features, "list_best_score"));
    Some(Prediction { key: Some(user.into()), fields, label: list.map(|list| label(list).into()), score, model: None })
}

/// Where items are asked for.
pub fn of_item(emit: &BTreeSet<Part>, features: &Features, told: &Told) -> Option<Prediction> {
    let signals = told.get("item").filter(|_| emit.contains(&Part::Items))?.as_object()?;
    let item = signals.get("item")?.as_str()?;
    let mut fields = about(features, told);
    fields.extend(signals.clone());
    fields.extend(told.get("similar").map(|similar| ("similar".to_owned(), similar.clone())));
    let label = if told.contains_key("similar") { "cold_item" } else { "item" };
    Some(Prediction {
        key: Some(item.into()),
        fields,
        label: Some(label.into()),
        score: number(features, "item_weight"),
        model: None,
    })
}

/// What every record tells.
fn about(features: &Features, told: &Told) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.extend(told.get("reference_time_ms").map(|time| ("reference_time_ms".to_owned(), time.clone())));
    fields.insert("status".into(), status(features, told).into());
    fields.insert("truncated".into(), features.truncated.into());
    fields
}

/// A number by its name, when it has a value.
fn number(features: &Features, name: &str) -> Option<f64> {
    let place = FEATURES.iter().position(|known| *known == name)?;
    features.numbers.get(place).copied().filter(|number| number.is_finite())
}

/// Whose list it is: a few words alone, fit for a metric.
fn label(list: &Map<String, Value>) -> &str {
    match (list.get("items").and_then(Value::as_array), list.get("fallback").and_then(Value::as_str)) {
        (Some(items), _) if items.is_empty() => "cold",
        (_, Some(fallback)) => fallback,
        _ => "personal",
    }
}
