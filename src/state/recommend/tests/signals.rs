//! Each signal by numbers that can be worked out by hand, or by counting over again.

use super::{ALL, HOUR, START, World};
use crate::state::recommend::id::Id;
use crate::state::recommend::ranking::{Memory, Ranking};
use crate::state::recommend::{Blend, State, View};
use serde_json::json;
use std::collections::BTreeMap;

/// Would catch a window that keeps what has left it, forgets what has not, or miscounts late events.
#[test]
fn a_window_counts_as_if_it_were_counted_over_again() {
    let (window_ms, mut ranking, mut all) = (10_000, Ranking::default(), Vec::new());
    let mut newest_ms = 0;
    for step in 0i64..600 {
        let (at_ms, item) = (step * 700 - (step * 7_919 % 5) * 1_500, Id::new(&(step * 31 % 7).to_string()));
        if at_ms < 0 {
            continue;
        }
        newest_ms = at_ms.max(newest_ms);
        ranking.take(&item, 1.0, at_ms, Memory::Window(window_ms), 1_000);
        all.push((at_ms, item));
        let later_ms = newest_ms + step % 3 * 4_000;
        let sight = ranking.sight(later_ms, Memory::Window(window_ms));
        let mut counted: BTreeMap<&Id, f64> = BTreeMap::new();
        for (at_ms, item) in all.iter().filter(|(at_ms, _)| *at_ms > later_ms - window_ms) {
            assert!(*at_ms <= later_ms);
            *counted.entry(item).or_default() += 1.0;
        }
        let mut expected: Vec<(&Id, f64)> = counted.into_iter().collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        expected.truncate(5);
        assert_eq!(sight.best(5, |_| true), expected, "step {step}");
    }
}

/// Would catch a half-life that is not one, and a ranking whose order is not that of its weights.
#[test]
fn popularity_fades_by_half_in_a_half_life() {
    let mut world = World::new("popularity = [{ name = 'p', half_life = '1h' }]\nblend = { weights = { p = 1.0 } }");
    for (hours, item) in [(0.0, "old"), (0.0, "old"), (0.0, "old"), (2.0, "new")] {
        world.take(hours, "u", item);
    }
    // Three that count a quarter each, against one.
    assert_eq!(world.list(2.0, "v"), ["new", "old"]);
    let answer = world.ask(2.0, "v");
    assert_eq!(answer["recommend"]["items"][1]["score"], json!(0.75));
    assert_eq!(answer["recommend"]["items"][1]["reason"], json!("p"));
}

/// Would catch a trend that follows what is merely popular.
#[test]
fn what_rises_goes_before_what_is_popular() {
    let mut world = World::new("trending = { short = '1h', long = '2d', prior = 0.5 }\nblend = { weights = { trending = 1.0 } }");
    for hour in 0..72 {
        world.take(f64::from(hour), &format!("u{hour}"), "steady");
    }
    (0..3).for_each(|user| drop(world.take(71.5, &format!("v{user}"), "rising")));
    assert_eq!(world.list(72.0, "w"), ["rising", "steady"]);
}

/// Would catch a rate without its prior, or one that counts takes as impressions.
#[test]
fn click_through_is_smoothed_towards_the_mean() {
    let mut world = World::new(ALL);
    for number in 0..40 {
        world
            .send(0.0, json!({ "kind": "impression", "user": format!("u{number}"), "item": if number < 20 { "a" } else { "b" } }))
            .unwrap();
    }
    (0..10).for_each(|number| drop(world.take(0.1, &format!("u{number}"), "a")));
    let features = world.send(0.2, json!({ "kind": "impression", "user": "x", "item": "b" })).unwrap();
    // Of all 41 impressions 10 were taken; b had 21 and none.
    let mean = 10.0 / 41.0;
    assert!((features.numbers[5] - mean * 10.0 / 31.0).abs() < 1e-12, "{:?}", features.numbers);
    assert_eq!(features.numbers[4], 21.0);
}

/// Would catch a history in order of arrival, an event that counts twice, and one that is folded though it is too old.
#[test]
fn the_history_follows_event_time_and_takes_an_event_once() {
    let mut world = World::new(&format!("history = {{ items = 8 }}\n{ALL}"));
    world.take(1.0, "u", "a");
    world.take(3.0, "u", "c");
    let late = world.take(2.0, "u", "b");
    assert!(late.late);
    let again = json!({ "kind": "view", "user": "u", "item": "d", "id": "same" });
    world.send(4.0, again.clone()).unwrap();
    let before = world.bytes();
    world.send(4.0, again).unwrap();
    let old = world.take(-24.0 * 7.0, "u", "e");
    assert!(old.late);
    let answer = world.ask(4.0, "u");
    let history: Vec<&str> = answer["history"].as_array().unwrap().iter().map(|past| past["item"].as_str().unwrap()).collect();
    assert_eq!(history, ["d", "c", "b", "a"]);
    let events = |world: &World| {
        world.bytes().into_iter().filter(|(key, _)| key != "item:e" && !key.contains("category")).collect::<Vec<_>>()
    };
    assert_eq!(events(&world), before);
}

/// Would catch sessions that never end, or end too soon.
#[test]
fn a_gap_ends_a_session() {
    let mut world = World::new(ALL);
    world.take(0.0, "u", "a");
    world.take(0.4, "u", "b");
    let same = world.take(0.8, "u", "c");
    assert_eq!(same.numbers[1..3], [3.0, 0.8 * 3_600.0]);
    let next = world.take(1.4, "u", "d");
    assert_eq!(next.numbers[1..3], [1.0, 0.0]);
}

/// Would catch pairs in the wrong direction, at the wrong distance, or of an item with itself.
#[test]
fn pairs_run_forward_and_weigh_by_distance() {
    let mut world =
        World::new("covisit = [{ name = 'n', window = 3, last = 1 }]\nblend = { weights = { n = 1.0 }, filter_seen = false }");
    for (hours, item) in [(0.0, "a"), (1.0, "b"), (2.0, "a"), (3.0, "c")] {
        world.take(hours, "u", item);
    }
    let rows: BTreeMap<&str, Vec<(String, f64)>> = world
        .states
        .all()
        .into_iter()
        .filter_map(|(key, state)| {
            let row = state.item()?.rows.first()?;
            let one = crate::state::recommend::forward::Forward::of(1.0);
            let mut pairs: Vec<(String, f64)> =
                row.pairs.iter().map(|(id, pair)| (id.as_str().to_owned(), pair.weight().at(one))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Some((key, pairs))
        })
        .collect();
    let pair = |item: &str, weight: f64| (item.to_owned(), weight);
    assert_eq!(rows["item:a"], [pair("b", 1.0), pair("c", 1.0)]);
    assert_eq!(rows["item:b"], [pair("a", 1.0), pair("c", 0.5)]);
    assert!(!rows.contains_key("item:c"));
}

/// Would catch vectors of two models in one sum.
#[test]
fn vectors_of_another_model_are_not_mixed_in() {
    let mut world = World::new(ALL);
    for (item, vector, model) in
        [("a", [1, 0, 0], "m@1"), ("b", [0, 1, 0], "m@2"), ("c", [0, 1, 0], "m@1"), ("d", [3, 1, 0], "m@1")]
    {
        world.send(0.0, json!({ "kind": "item", "item": item, "vector": vector, "model": model })).unwrap();
    }
    world.take(0.0, "u", "a");
    world.take(0.1, "u", "b");
    let answer = world.ask(0.2, "u");
    assert_eq!((&answer["interest"]["model"], &answer["interest"]["support"]), (&json!("m@1"), &json!(1)));
    assert_eq!(answer["interest"]["vector"], json!([1.0, 0.0, 0.0]));
    // A week later, the other way: the old taste counts half.
    world.take(24.0 * 7.0, "u", "c");
    let answer = world.ask(24.0 * 7.0, "u");
    let vector: Vec<f64> = answer["interest"]["vector"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert!((vector[0] / vector[1] - 0.5).abs() < 1e-6, "{vector:?}");
}

/// Would catch sessions that speak for items they do not hold, and a session that is its own neighbour.
#[test]
fn like_sessions_say_what_comes_next() {
    let settings = "session = { gap = '1h' }\nsession_neighbours = { length = 10, rarity = 0.0 }\n\
                    blend = { weights = { session_neighbours = 1.0 }, filter_seen = false }";
    let mut world = World::new(settings);
    for (user, items) in [("u", ["a", "b", "c"]), ("v", ["a", "b", "d"]), ("w", ["x", "b", "d"]), ("y", ["p", "q", "r"])] {
        items.iter().enumerate().for_each(|(step, item)| drop(world.take(step as f64 / 10.0, user, item)));
    }
    world.take(0.5, "z", "a");
    world.take(0.6, "z", "b");
    let event = world.event(0.7, json!({ "kind": "request", "user": "z" }));
    let seen = world.states.look(&event, &State::Empty).unwrap();
    let view = View::new(world.states.fold(), &seen.states, &seen.facts);
    let blend = Blend::new(&view);
    // Shared items count by their place in the session, a half and one: u 1.5, v 1.5, w 1.
    let scored: Vec<(&str, f64)> = blend.scored.iter().map(|scored| (scored.item.as_str(), scored.score * 3.0)).collect();
    assert_eq!(scored.iter().map(|(item, _)| *item).collect::<Vec<_>>(), ["a", "d", "c", "x"]);
    assert!((blend.of(&Id::new("d")) / blend.of(&Id::new("c")) - 2.5 / 1.5).abs() < 1e-12);
    assert!((blend.of(&Id::new("a")) / blend.of(&Id::new("d")) - 3.0 / 2.5).abs() < 1e-12);
    assert_eq!(blend.of(&Id::new("b")), 0.0);
    assert_eq!(event.event_time_ms, START + (0.7 * HOUR as f64) as i64);
}
