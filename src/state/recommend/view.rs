//! The states of one event's keys, by what they are, at its time: what signals are scored from.

use super::facts::Facts;
use super::id::Id;
use super::item::Item;
use super::ranking::Sight;
use super::shelf::Shelf;
use super::state::State;
use super::step::{RecommendFold, Role};
use super::user::User;
use crate::config::recommend::Recommend;

pub struct View<'a> {
    pub fold: &'a RecommendFold,
    pub time_ms: i64,
    pub user_id: Option<&'a Id>,
    pub user: Option<&'a User>,
    pub global: Option<&'a Shelf>,
    /// The event's own item and those of the past.
    pub items: Vec<(&'a Id, &'a Item)>,
    pub shelves: Vec<(&'a Id, &'a Shelf)>,
}

impl<'a> View<'a> {
    pub fn new(fold: &'a RecommendFold, states: &[&'a State], facts: &'a Facts) -> Self {
        let mut view = Self {
            fold,
            time_ms: facts.time_ms,
            user_id: facts.user.as_ref(),
            user: None,
            global: None,
            items: Vec::new(),
            shelves: Vec::new(),
        };
        for (key, state) in states.iter().enumerate() {
            match fold.role(key, facts) {
                Role::User => view.user = state.user(),
                Role::Global => view.global = state.shelf(),
                Role::Item(id) => view.items.extend(state.item().map(|item| (id, item))),
                Role::Past(past) => view.items.extend(state.item().map(|item| (&past.item, item))),
                Role::Category(id) => view.shelves.extend(state.shelf().map(|shelf| (id, shelf))),
            }
        }
        // A late event does not make the list older than what the user did since.
        let newest_ms = view.user.and_then(User::newest_ms).unwrap_or(i64::MIN);
        view.time_ms = view.time_ms.max(newest_ms);
        view
    }

    pub fn config(&self) -> &'a Recommend {
        &self.fold.config
    }

    pub fn item(&self, id: &Id) -> Option<&'a Item> {
        self.items.iter().find(|(other, _)| *other == id).map(|(_, item)| *item)
    }

    /// The distinct items that the user took last, newest first.
    pub fn last_items(&self, most: usize) -> Vec<&'a Id> {
        self.user.map(|user| user.last_items(most)).unwrap_or_default()
    }

    /// A ranking over all items, by its place among those that are declared.
    pub fn ranking(&self, number: usize) -> Option<Sight<'a>> {
        Some(self.global?.rankings.get(number)?.sight(self.time_ms, *self.fold.global.get(number)?))
    }

    /// All events of an item.
    pub fn count(&self, item: &Id) -> f64 {
        self.global.and_then(|shelf| shelf.counts.get(item)).map_or(0.0, |count| *count as f64)
    }

    /// Whether an item may stand in the user's list.
    pub fn allows(&self, item: &Id) -> bool {
        let blend = &self.config().blend;
        let shown = self.global.is_none_or(|shelf| shelf.shows(item, self.time_ms));
        let seen = |user: &User| (blend.filter_seen && user.seen.contains_key(item)) || user.hidden.contains_key(item);
        shown && !self.user.is_some_and(seen) && !self.fold.excluded.contains_key(item)
    }
}
