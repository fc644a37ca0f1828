//! What `[recommend]` may not say, with what to do about it.

use super::{Recommend, Scope, Span};
use crate::config::{Config, EventKind, Pipeline, nearest};
use std::collections::BTreeSet;

pub fn findings(config: &Recommend) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |text: String| found.push(format!("[recommend] {text}"));
    let interest = config.interest.as_ref();
    let paths = [
        ("at", config.at.as_ref()),
        ("interest.vector", interest.and_then(|interest| interest.vector.as_ref())),
        ("interest.vector_model", interest.and_then(|interest| interest.vector_model.as_ref())),
    ];
    for (place, path) in paths {
        if path.is_some_and(|path| path.split('.').any(str::is_empty)) {
            say(format!("{place} is no path; write names with dots between, for example \"event\", or leave it out"));
        }
    }
    if !(1..=1_000_000).contains(&config.entries) {
        say(format!("entries = {}: write 1 to 1,000,000", config.entries));
    }
    if config.history.items == 0 || config.history.items > 1_000 {
        say(format!("history.items = {}: write 1 to 1,000", config.history.items));
    }
    for (kind, weight) in &config.kinds {
        if !(weight.is_finite() && *weight > 0.0) {
            say(format!("kinds.{kind} = {weight}: write a number above 0; what counts for nothing belongs into `dislikes`"));
        }
        if config.dislikes.contains(kind) || ["impression", "item", "request"].contains(&kind.as_str()) {
            say(format!("kinds.{kind}: this kind has its own meaning and no weight; remove it"));
        }
    }
    for (place, half_life) in half_lives(config) {
        if half_life.ms() < 60_000 {
            say(format!("{place} = {half_life}: a half-life is at least a minute"));
        }
    }
    let names = config.signals();
    let mut seen = BTreeSet::new();
    for name in &names {
        if !seen.insert(name) {
            say(format!("two signals are called {name:?}; rename one"));
        }
    }
    for signal in &config.popularity {
        if signal.half_life.is_some() && signal.window.is_some() {
            say(format!("popularity {:?} has both a half_life and a window; keep one", signal.name));
        }
        if signal.scope == Scope::Category && config.affinity.is_none() {
            say(format!("popularity {:?} by category needs [recommend.affinity]; declare it", signal.name));
        }
    }
    if let Some(trending) = &config.trending {
        if trending.short >= trending.long {
            say("trending.short is not shorter than trending.long; swap them".into());
        }
        if !(trending.prior.is_finite() && trending.prior > 0.0) {
            say(format!("trending.prior = {}: write a number above 0", trending.prior));
        }
    }
    if let Some(ctr) = &config.ctr
        && !(ctr.prior.is_finite() && ctr.prior > 0.0)
    {
        say(format!("ctr.prior = {}: write a number above 0", ctr.prior));
    }
    for signal in &config.covisit {
        let name = &signal.name;
        let needed = signal.window.max(signal.last);
        if signal.window == 0 || signal.last == 0 {
            say(format!("covisit {name:?}: window and last are at least 1"));
        }
        if needed > config.history.items {
            say(format!("covisit {name:?} looks back {needed} events, history.items keeps {}; raise it", config.history.items));
        }
        let powers = [signal.distance_power, signal.row_power, signal.popularity_power, signal.shrink];
        if powers.iter().any(|power| !(power.is_finite() && *power >= 0.0)) {
            say(format!("covisit {name:?}: powers and shrink are numbers from 0 on"));
        }
        if !(signal.power.is_finite() && signal.power > 0.0 && signal.recency_events.is_finite() && signal.recency_events > 0.0) {
            say(format!("covisit {name:?}: power and recency_events are numbers above 0"));
        }
        if signal.within_session && config.session.is_none() {
            say(format!("covisit {name:?} within sessions needs [recommend.session]; declare it"));
        }
    }
    if let Some(signal) = &config.session_neighbours {
        if config.session.is_none() {
            say("session_neighbours needs [recommend.session]; declare it".into());
        }
        if signal.length > config.history.items || signal.last > config.history.items {
            say(format!("session_neighbours.length and .last are at most history.items = {}; raise that", config.history.items));
        }
        if signal.sessions == 0 || signal.neighbours == 0 || signal.last == 0 || signal.length == 0 {
            say("session_neighbours: sessions, neighbours, last and length are at least 1".into());
        }
        if !(signal.rarity.is_finite() && signal.rarity >= 0.0) {
            say(format!("session_neighbours.rarity = {}: write a number from 0 on", signal.rarity));
        }
    }
    if let Some(interest) = &config.interest
        && !(1..=4096).contains(&interest.dimensions)
    {
        say(format!("interest.dimensions = {}: write 1 to 4,096", interest.dimensions));
    }
    for (place, name) in (config.blend.weights.keys().map(|name| ("weights", name)))
        .chain(config.blend.fallback.iter().map(|name| ("fallback", name)))
    {
        if !names.contains(&name.as_str()) {
            let near = nearest(name, names.iter().copied()).map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            say(format!("blend.{place}: no signal is called {name:?}, there are: {}{near}", names.join(", ")));
        }
    }
    for (name, weight) in &config.blend.weights {
        if !(weight.is_finite() && *weight >= 0.0) {
            say(format!("blend.weights.{name} = {weight}: write a number from 0 on"));
        }
    }
    if !(1..=1_000).contains(&config.blend.items) {
        say(format!("blend.items = {}: write 1 to 1,000", config.blend.items));
    }
    found
}

/// What is wrong with a pipeline of the function `recommend`, and with signals of its own.
pub fn findings_of(config: &Config, pipeline: &Pipeline) -> Vec<String> {
    if pipeline.function != "recommend" {
        let alone = "declares recommend, and its function is another; remove the section, or write function = \"recommend\"";
        return pipeline.recommend.iter().map(|_| alone.to_owned()).collect();
    }
    let mut found = pipeline.recommend.as_ref().map(findings).unwrap_or_default();
    let Some(signals) = config.recommend_of(pipeline) else {
        found.push("function \"recommend\" needs signals; declare [recommend], or [pipeline.recommend]".into());
        return found;
    };
    if pipeline.topic.len() > 1 {
        let merged = "merge the topics into one first, with a pipeline of the function \"copy\" (pass_event, output_key)";
        found.push(format!("function \"recommend\" reads one topic, since the order of its events counts; {merged}"));
    }
    if signals.at.is_some() && pipeline.event != EventKind::Json {
        found.push("[recommend] at is for event = \"json\" only; remove it or change the event".into());
    }
    found
}

/// Every half-life, with its place.
fn half_lives(config: &Recommend) -> Vec<(String, Span)> {
    let popularity = config.popularity.iter().map(|signal| (format!("popularity {:?} half_life", signal.name), signal.half_life));
    let covisit = config.covisit.iter().map(|signal| (format!("covisit {:?} half_life", signal.name), signal.half_life));
    let trending = config.trending.iter().map(|signal| ("trending.short".to_owned(), Some(signal.short)));
    let ctr = config.ctr.iter().map(|signal| ("ctr.half_life".to_owned(), signal.half_life));
    let affinity = config.affinity.iter().map(|signal| ("affinity.half_life".to_owned(), Some(signal.half_life)));
    let interest = config.interest.iter().map(|signal| ("interest.half_life".to_owned(), Some(signal.half_life)));
    let all = popularity.chain(covisit).chain(trending).chain(ctr).chain(affinity).chain(interest);
    all.filter_map(|(place, half_life)| Some((place, half_life?))).collect()
}
