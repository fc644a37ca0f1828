//! What `[risk]` may not say, with what to do about it.

use super::{Aggregate, Calendar, Feature, Risk};
use crate::config::nearest;
use std::collections::BTreeSet;

/// Filters that an entry can tell apart.
const FILTERS: usize = 64;

pub fn findings(config: &Risk) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |text: String| found.push(format!("[risk] {text}"));
    if !(1..=1_000_000).contains(&config.entries) {
        say(format!("entries = {}: write 1 to 1,000,000", config.entries));
    }
    if !(-14 * 60..=14 * 60).contains(&config.utc_offset_minutes) {
        say(format!("utc_offset_minutes = {}: write -840 to 840", config.utc_offset_minutes));
    }
    if config.feature.is_empty() {
        say("has no feature; declare at least one under [[risk.feature]]".into());
    }
    let numbers: BTreeSet<&str> = config.feature.iter().filter(|feature| is_number(feature)).filter_map(field).collect();
    for name in &config.non_negative {
        if !numbers.contains(name.as_str()) {
            let near = near(name, numbers.iter().copied());
            say(format!("non_negative: no feature reads a number from {name:?}{near}"));
        }
    }
    if config.feature.iter().filter(|feature| feature.filter.is_some()).count() > FILTERS {
        say(format!("more than {FILTERS} features have a filter; leave some out"));
    }
    let mut names = BTreeSet::new();
    let needs = |feature: &Feature| match feature.aggregate {
        Some(Aggregate::Share) => false,
        Some(_) => feature.filter.is_none(),
        None => feature.empty.is_none(),
    };
    for feature in &config.feature {
        let name = &feature.name;
        let as_it_is = feature.aggregate.is_none() && feature.field.is_some() && feature.empty.is_some();
        if let Some(other) = config.feature.iter().find(|other| as_it_is && other.field == feature.field && needs(other)) {
            let other = &other.name;
            say(format!(
                "feature {name:?} may be empty, and feature {other:?} needs its field of every event; give that one a filter or empty"
            ));
        }
        if name.trim().is_empty() {
            say("a feature has no name; give it one".into());
        }
        if !names.insert(name) {
            say(format!("two features are called {name:?}; rename one"));
        }
        for what in of_feature(config, feature) {
            say(format!("feature {name:?}: {what}"));
        }
    }
    let shares = || config.feature.iter().filter(|feature| feature.aggregate == Some(Aggregate::Share)).filter_map(field);
    if let Some(labels) = &config.labels
        && shares().next().is_some()
        && !shares().any(|field| field == labels.value)
    {
        let near = near(&labels.value, shares());
        say(format!("labels.value = {:?} is the field of no feature with aggregate = \"share\"{near}", labels.value));
    }
    found
}

fn of_feature(config: &Risk, feature: &Feature) -> Vec<String> {
    let mut found = Vec::new();
    let windowed = feature.entity.is_some() || feature.aggregate.is_some() || feature.window.is_some();
    match (feature.calendar, windowed, &feature.field) {
        (None, false, None) => {
            found.push("says nothing; write field, calendar, or entity with aggregate and window".into());
        }
        (Some(_), true, _) | (Some(_), _, Some(_)) => {
            found.push("is a calendar value and something else; keep one of calendar, field and aggregate".into());
        }
        (_, true, _) => found.extend(of_window(config, feature)),
        _ => {}
    }
    if !windowed {
        let alone = feature.delay.is_some() || feature.filter.is_some() || feature.include_current.is_some();
        if alone {
            found.push("delay, filter and include_current belong to an aggregate; remove them".into());
        }
        if feature.empty.is_some() && feature.calendar.is_some() {
            found.push("a calendar value is never empty; remove empty".into());
        }
    }
    if feature.empty.is_some_and(f64::is_infinite) {
        found.push("empty is a number or nan".into());
    }
    match feature.hours {
        Some(_) if feature.calendar != Some(Calendar::IsNight) => {
            found.push("hours belongs to calendar = \"is_night\"; remove it".into());
        }
        Some(hours) if hours.iter().any(|hour| *hour > 23) => found.push("hours are 0 to 23".into()),
        _ => {}
    }
    found
}

fn of_window(config: &Risk, feature: &Feature) -> Vec<String> {
    let mut found = Vec::new();
    let (Some(entity), Some(aggregate), Some(_)) = (&feature.entity, feature.aggregate, feature.window) else {
        found.push("an aggregate needs all of entity, aggregate and window".into());
        return found;
    };
    if entity.is_empty() || entity.contains(':') {
        found.push(format!("entity = {entity:?}: write a field path without a colon"));
    }
    match (aggregate.needs_field(), &feature.field) {
        (true, None) => found.push("this aggregate is one of a field; name it with field".into()),
        (false, Some(_)) => found.push("this aggregate counts events and has no field; remove field".into()),
        _ => {}
    }
    let own_label = aggregate == Aggregate::Share && feature.delay.is_none() && feature.include_current != Some(false);
    if own_label && config.labels.is_none() {
        found.push(
            "a share without a delay would see the label of the event that it scores; add delay, or include_current = false"
                .into(),
        );
    }
    found
}

/// Whether the feature reads its field as a number.
fn is_number(feature: &Feature) -> bool {
    !matches!(feature.aggregate, Some(Aggregate::Distinct | Aggregate::Share))
}

fn field(feature: &Feature) -> Option<&str> {
    feature.field.as_deref()
}

fn near<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => format!("; there are: {}", known.collect::<Vec<_>>().join(", ")),
    }
}
