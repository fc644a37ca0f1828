//! Rankings that see a window, with more items than they may keep.

use super::{World, encoded};
use crate::state::Stored;
use crate::state::recommend::State;
use serde_json::json;

/// Would catch: a weight of zero that stays in the order when its item leaves: the next cut then never ends. Late events that a full
/// window has no room for bring it about.
#[test]
fn late_events_in_a_full_window_leave_the_order_whole() {
    let mut world = World::new(
        r#"
        entries = 2
        kinds = { view = 1.0, like = 4.0 }
        popularity = [{ name = "window", window = "6h" }]
        blend = { items = 5, weights = { window = 1.0 } }
        "#,
    );
    let log = [(10.0, "view", "x"), (10.1, "view", "x"), (9.0, "like", "x"), (8.9, "view", "y"), (8.8, "view", "z")];
    for (number, (hours, kind, item)) in log.into_iter().chain([(8.7, "view", "w"), (8.6, "view", "v")]).enumerate() {
        world.send(hours, json!({ "kind": kind, "user": format!("u{number}"), "item": item })).unwrap();
    }
    let list = world.list(10.2, "other");
    assert!(!list.is_empty() && list.iter().all(|item| list.iter().filter(|other| *other == item).count() == 1), "{list:?}");
    for (key, bytes) in world.bytes() {
        assert_eq!(encoded(&State::decode(&bytes).unwrap()), bytes, "{key}");
    }
}
