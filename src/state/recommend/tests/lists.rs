//! The list of a user: filters, fallbacks, cold items.

use super::{ALL, World};
use serde_json::json;

/// What the answer says of its fallback.
fn fallback(world: &mut World, user: &str) -> serde_json::Value {
    world.ask(1.0, user)["recommend"]["fallback"].clone()
}

/// Would catch a list for new users that is empty, or does not say that it is not theirs.
#[test]
fn a_new_user_gets_what_is_popular_and_the_reason() {
    let mut world = World::new(ALL);
    ["a", "b", "a"].iter().enumerate().for_each(|(number, item)| drop(world.take(0.1, &format!("u{number}"), item)));
    assert_eq!(world.list(1.0, "new"), ["a", "b"]);
    assert_eq!(fallback(&mut world, "new"), json!("new_user"));
    assert_eq!(fallback(&mut world, "u1"), json!("no_neighbours"));
    world.take(0.5, "u0", "b");
    world.take(0.6, "u2", "c");
    assert_eq!(world.ask(1.0, "u1")["recommend"]["support"], json!(1));
    // a leads to b and c now; c is the rarer one.
    world.take(0.7, "u3", "a");
    assert_eq!(fallback(&mut world, "u3"), json!(null));
    assert_eq!(world.list(1.0, "u3"), ["c", "b"]);
}

/// Would catch a filter that one of the lists goes around: the user's own, or the fallback.
#[test]
fn seen_hidden_excluded_and_expired_items_are_in_no_list() {
    let config = ALL.replace("blend = {", "blend = { exclude = [\"no\"],");
    let mut world = World::new(&config);
    for item in ["seen", "hidden", "gone", "no", "disliked", "yes"] {
        for user in ["p", "q"] {
            world.take(0.0, user, "root");
            world.take(0.1, user, item);
        }
    }
    world.send(0.2, json!({ "kind": "item", "item": "hidden", "hidden": true })).unwrap();
    world.send(0.2, json!({ "kind": "item", "item": "gone", "ttl_s": 60 })).unwrap();
    for (user, first) in [("u", "root"), ("v", "unknown")] {
        world.take(0.3, user, first);
        world.take(0.3, user, "seen");
        world.send(0.4, json!({ "kind": "hide", "user": user, "item": "disliked" })).unwrap();
    }
    assert_eq!(world.list(1.0, "u").iter().filter(|item| *item != "unknown").collect::<Vec<_>>(), ["yes"]);
    assert!(!world.list(1.0, "v").iter().any(|item| ["seen", "hidden", "gone", "no", "disliked"].contains(&&**item)));
    let new = world.list(1.0, "new");
    assert!(
        new.contains(&"seen".to_owned()) && !new.contains(&"hidden".to_owned()) && !new.contains(&"gone".to_owned()),
        "{new:?}"
    );
    // Shown again, and before its end.
    world.send(1.0, json!({ "kind": "item", "item": "hidden" })).unwrap();
    world.send(1.0, json!({ "kind": "item", "item": "gone", "ttl_s": 3600 })).unwrap();
    let shown = world.list(1.5, "u");
    assert!(shown.contains(&"hidden".to_owned()) && shown.contains(&"gone".to_owned()), "{shown:?}");
    assert!(!world.list(2.5, "u").contains(&"gone".to_owned()));
}

/// Would catch an older item event that shows again what a newer one has hidden, when they come in the wrong order.
#[test]
fn an_item_event_that_comes_late_changes_nothing() {
    let mut world = World::new(ALL);
    world.take(0.0, "u", "a");
    let item = |hidden: bool| json!({ "kind": "item", "item": "a", "hidden": hidden, "vector": [1, 0, 0], "model": "m@1" });
    world.send(0.2, item(true)).unwrap();
    let before = world.bytes();
    let late = world.send(0.1, item(false)).unwrap();
    assert!(late.late && late.document.unwrap()["folded"] == json!(false));
    assert_eq!((world.bytes(), world.list(0.3, "v")), (before, vec![]));
}

/// Would catch a new item that nobody is shown before somebody takes it, and one without neighbours.
#[test]
fn a_cold_item_is_found_by_its_vector() {
    let mut world = World::new(ALL);
    for (item, vector) in [("a", [1, 0, 0]), ("near", [9, 1, 0]), ("far", [0, 0, 1]), ("cold", [8, 2, 0])] {
        world.send(0.0, json!({ "kind": "item", "item": item, "vector": vector, "model": "m@1" })).unwrap();
    }
    let first = world.take(0.1, "u", "a").document.unwrap();
    assert_eq!(first["recommend"]["items"][0]["item"], json!("near"));
    assert_eq!(first["recommend"]["items"][0]["reason"], json!("interest"));
    let cold = world.take(0.2, "v", "cold").document.unwrap();
    assert_eq!((&cold["similar"]["item"], &cold["similar"]["reason"]), (&json!("cold"), &json!("cold_item")));
    assert_eq!(cold["similar"]["items"][0]["item"], json!("near"));
    // Hidden, the nearest one is named no more; of an item event too, before anybody took the item.
    world.send(0.2, json!({ "kind": "item", "item": "near", "hidden": true, "vector": [9, 1, 0], "model": "m@1" })).unwrap();
    let new = json!({ "kind": "item", "item": "new", "vector": [9, 2, 0], "model": "m@1" });
    let new = world.send(0.2, new).unwrap().document.unwrap();
    let named: Vec<&str> = new["similar"]["items"].as_array().unwrap().iter().map(|one| one["item"].as_str().unwrap()).collect();
    assert_eq!(named, ["cold", "a"]);
    (0..6).for_each(|user| drop(world.take(0.3, &format!("w{user}"), "cold")));
    assert!(world.take(0.4, "x", "cold").document.unwrap().get("similar").is_none());
}

/// Would catch category lists of categories that the user does not like.
#[test]
fn the_best_of_a_liked_category_comes_first() {
    let config = ALL.split("blend").next().unwrap().to_owned() + "blend = { weights = { of_kind = 1.0 } }";
    let mut world = World::new(&config);
    for (item, category) in [("f1", "film"), ("f2", "film"), ("b1", "book"), ("b2", "book")] {
        world.send(0.0, json!({ "kind": "item", "item": item, "categories": [category] })).unwrap();
        let takes = if item.ends_with('2') { 4 } else { 2 };
        (0..takes).for_each(|number| drop(world.take(0.1, &format!("{item}{number}"), item)));
    }
    world.take(0.2, "u", "f1");
    assert_eq!(world.list(0.3, "u"), ["f2"]);
    let answer = world.ask(0.2, "u");
    assert_eq!(answer["affinity"]["weights"], json!({ "film": 1.0 }));
}

/// Would catch caps that nobody is told of.
#[test]
fn a_cap_that_cuts_is_told() {
    let mut world = World::new(&format!("entries = 3\n{ALL}"));
    assert!(!world.take(0.0, "u", "a").truncated);
    let cut = (0..6).map(|number| world.take(0.1, "v", &number.to_string()).truncated).last();
    assert_eq!(cut, Some(true));
}

/// Would catch a crowd that is listened to where it is never right, or not where it is.
#[test]
fn the_crowd_weighs_as_much_as_it_was_right() {
    let settings = "popularity = [{ name = 'crowd' }]\ncovisit = [{ name = 'next' }]\n\
                    blend = { weights = { next = 1.0, crowd = 10.0 }, earned = true }";
    for (repeats, first) in [(1, "after"), (30, "item 0")] {
        let mut world = World::new(settings);
        (0..60).for_each(|number| drop(world.take(0.0, &format!("u{number}"), &format!("item {}", number / repeats))));
        world.take(0.0, "v", "item 0");
        world.take(0.1, "p", "root");
        world.take(0.2, "p", "after");
        world.take(0.3, "q", "root");
        assert_eq!(world.list(0.4, "q")[0], first, "{repeats}");
    }
}
