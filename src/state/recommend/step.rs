//! The fold: which keys an event touches, and what it changes in each.

use super::facts::{Deed, Facts, Linked, Neighbour, read};
use super::forward::{Forward, pow};
use super::id::{Id, Map};
use super::ranking::Memory;
use super::shelf::Shelf;
use super::state::State;
use super::user::{Past, User};
use super::{answer, view::View};
use crate::config::recommend::{Direction, Recommend, Scope};
use crate::event::{Event, Rejection};
use crate::state::{At, Features, Fold, Keys};
use sha2::{Digest, Sha256};

/// Changes whenever the same log would give other states.
const VERSION: &str = "recommend 2";
/// Best liked categories whose shelves are read for a list.
pub const LIKED: usize = 3;

/// Recommendation signals over one log: users, items, categories and all items together.
///
/// Ring one is the user, then all items together, then the event's item; of an item event it is the item, then all items. Ring
/// two is the items that the user took before, then the categories. All of them are exact when the log has one partition.
pub struct RecommendFold {
    pub(super) config: Recommend,
    digest: String,
    /// Items of the past that some signal looks at.
    reach: usize,
    pub(super) by_category: Vec<Memory>,
    pub(super) global: Vec<Memory>,
    pub(super) excluded: Map<()>,
    /// `1 / distance ^ power` of each co-visit, from distance 1 on.
    distance_weights: Vec<Vec<f64>>,
}

impl RecommendFold {
    /// The config must be free of findings.
    pub fn new(config: &Recommend) -> Self {
        let text = serde_json::to_string(config).unwrap_or_default();
        let hash = Sha256::new().chain_update(VERSION).chain_update(text).finalize();
        let digest = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let memories = |scope: Scope| -> Vec<Memory> {
            let of = |signal: &crate::config::recommend::Popularity| match signal.window {
                Some(window) => Memory::Window(window.ms()),
                None => Memory::Decay(signal.half_life.map(|half_life| half_life.ms())),
            };
            config.popularity.iter().filter(|signal| signal.scope == scope).map(of).collect()
        };
        let mut global = memories(Scope::Global);
        if let Some(trending) = &config.trending {
            global.extend([trending.short, trending.long].map(|half_life| Memory::Decay(Some(half_life.ms()))));
        }
        let mut reach = config.covisit.iter().map(|signal| signal.window.max(signal.last)).max().unwrap_or(0);
        if let Some(signal) = &config.session_neighbours {
            reach = reach.max(signal.last).max(signal.length);
        }
        let weights = |signal: &crate::config::recommend::Covisit| {
            (1..=signal.window).map(|distance| 1.0 / pow(distance as f64, signal.distance_power)).collect()
        };
        Self {
            digest,
            reach,
            by_category: memories(Scope::Category),
            global,
            distance_weights: config.covisit.iter().map(weights).collect(),
            excluded: config.blend.exclude.iter().map(|item| (Id::new(item), ())).collect(),
            config: config.clone(),
        }
    }

    pub fn config(&self) -> &Recommend {
        &self.config
    }

    fn gap_ms(&self) -> Option<i64> {
        self.config.session.as_ref().map(|session| session.gap.ms())
    }

    /// What kind of key stands at a place of the two rings.
    pub(super) fn role<'a>(&self, key: usize, facts: &'a Facts) -> Role<'a> {
        let ring_one = match (&facts.user, &facts.item) {
            (Some(_), item) => [Some(Role::User), Some(Role::Global), item.as_ref().map(Role::Item)],
            (None, item) => [item.as_ref().map(Role::Item), Some(Role::Global), None],
        };
        if let Some(role) = ring_one.into_iter().flatten().nth(key) {
            return role;
        }
        let beyond = key - ring_one.iter().flatten().count();
        match facts.linked.past.get(beyond) {
            Some(neighbour) => Role::Past(neighbour),
            None => facts.linked.shelves.get(beyond - facts.linked.past.len()).map_or(Role::Global, Role::Category),
        }
    }

    fn note(&self, user: &User, item: Option<&State>, facts: &mut Facts) {
        let at = At { time_ms: facts.time_ms, offset: facts.offset };
        let known = item.and_then(State::item);
        let meta = known.and_then(|item| item.meta.as_deref());
        let mut linked = Linked { session: user.session_at(facts.time_ms, self.gap_ms()), ..Linked::default() };
        linked.categories = match facts.categories.is_empty() {
            true => meta.map(|meta| meta.categories.clone()).unwrap_or_default(),
            false => facts.categories.clone(),
        };
        if self.config.interest.is_some() {
            linked.vector = meta.and_then(|meta| meta.vector.clone());
        }
        let takes = matches!(facts.deed, Deed::Take(_));
        if let Some(newest_ms) = user.newest_ms() {
            linked.late = facts.time_ms < newest_ms;
            let too_old = newest_ms - facts.time_ms > self.config.max_late.ms();
            linked.passed_over = takes && (too_old || facts.item.as_ref().is_some_and(|item| user.knows(facts.id, item)));
        }
        linked.new_session = linked.session != user.visit.number || user.visit.events == 0;
        linked.session_start_ms = if linked.new_session { facts.time_ms } else { user.visit.start_ms.min(facts.time_ms) };
        for (place, past) in user.before(at).enumerate() {
            if linked.past.len() == self.reach {
                break;
            }
            if facts.item.as_ref() == Some(&past.item) || linked.past.iter().any(|other| other.item == past.item) {
                continue;
            }
            let same_session = past.session == linked.session;
            linked.past.push(Neighbour { item: past.item.clone(), distance: place as u32 + 1, same_session, before: true });
        }
        // Of a late event: what came after it is read for the list, and not paired.
        if linked.late {
            for item in user.last_items(self.reach) {
                if facts.item.as_ref() != Some(item) && linked.past.iter().all(|other| other.item != *item) {
                    linked.past.push(Neighbour { item: item.clone(), distance: 0, same_session: false, before: false });
                }
            }
        }
        if let Some(signal) = &self.config.session_neighbours {
            let session = linked.past.iter().filter(|past| past.same_session).take(signal.length);
            linked.session_items = session.map(|past| past.item.clone()).collect();
            linked.session_items.reverse();
        }
        if !self.by_category.is_empty() {
            linked.shelves = linked.categories.clone();
            for (category, _) in user.liked(LIKED) {
                if !linked.shelves.contains(category) {
                    linked.shelves.push(category.clone());
                }
            }
        }
        facts.linked = linked;
    }

    fn fold_user(&self, user: &mut User, facts: &Facts) {
        let Some(item) = &facts.item else { return };
        match facts.deed {
            Deed::Dislike => user.hide(item, facts.time_ms, &self.config),
            Deed::Take(weight) => {
                let (time_ms, offset) = (facts.time_ms, facts.offset);
                let past = Past { time_ms, offset, item: item.clone(), id: facts.id, session: facts.linked.session };
                user.take(past, &self.config);
                user.like(&facts.linked.categories, weight, time_ms, &self.config);
                if let (Some(interest), Some(vector)) = (&self.config.interest, &facts.linked.vector) {
                    let growth = Forward::growth(time_ms, Some(interest.half_life.ms()));
                    user.taste.get_or_insert_default().take(vector, weight, growth, time_ms);
                }
            }
            Deed::Impression | Deed::Request | Deed::Describe => {}
        }
    }

    fn fold_shelf(&self, shelf: &mut Shelf, facts: &Facts, memories: &[Memory], category: bool) {
        let (Some(item), most) = (&facts.item, self.config.entries) else { return };
        match (&facts.deed, &facts.meta) {
            (Deed::Take(weight), _) => {
                if !category {
                    shelf.count(item, most);
                }
                for (number, memory) in memories.iter().enumerate() {
                    shelf.ranking(number).take(item, *weight, facts.time_ms, *memory, most);
                }
                shelf.events += 1;
                shelf.newest_ms = shelf.newest_ms.max(facts.time_ms);
                shelf.sessions += u64::from(facts.linked.new_session);
                self.rate(facts, &mut shelf.taken);
            }
            (Deed::Impression, _) => self.rate(facts, &mut shelf.impressions),
            (Deed::Describe, Some(meta)) if !category => {
                let from_ms = if meta.hidden { Some(meta.time_ms) } else { meta.expires_ms };
                shelf.withhold(item, from_ms, most);
                if let Some(interest) = &self.config.interest {
                    shelf.shelve(item, meta.vector.as_deref(), interest.catalogue);
                }
            }
            _ => {}
        }
    }

    /// One more for a click-through rate.
    fn rate(&self, facts: &Facts, count: &mut Forward) {
        if let Some(ctr) = &self.config.ctr {
            count.add(1.0, Forward::growth(facts.time_ms, ctr.half_life.map(|half_life| half_life.ms())));
        }
    }

    fn fold_item(&self, state: &mut State, facts: &Facts) {
        let item = state.item_mut();
        match &facts.deed {
            Deed::Describe => item.meta.clone_from(&facts.meta),
            Deed::Take(_) => {
                item.events += 1;
                item.newest_ms = item.newest_ms.max(facts.time_ms);
                self.rate(facts, &mut item.taken);
                for (number, signal) in self.config.covisit.iter().enumerate() {
                    if signal.direction == Direction::Both {
                        for past in &facts.linked.past {
                            self.pair(number, item.row(number), past, &past.item, facts);
                        }
                    }
                }
                if let (Some(signal), Some(user), Some(own)) = (&self.config.session_neighbours, &facts.user, &facts.item) {
                    let whole = |items: &mut Vec<Id>| {
                        items.clone_from(&facts.linked.session_items);
                        items.push(own.clone());
                        if items.len() > signal.length {
                            items.remove(0);
                        }
                    };
                    item.sit((user, facts.linked.session, facts.linked.session_start_ms), facts.time_ms, whole, signal.sessions);
                }
            }
            Deed::Impression => {
                item.impression_events += 1;
                self.rate(facts, &mut item.impressions);
            }
            Deed::Dislike | Deed::Request => {}
        }
    }

    /// An item of the past learns what came after it.
    fn fold_past(&self, state: &mut State, past: &Neighbour, facts: &Facts) {
        let (Deed::Take(_), true, Some(item)) = (&facts.deed, past.before, &facts.item) else { return };
        let own = state.item_mut();
        for number in 0..self.config.covisit.len() {
            self.pair(number, own.row(number), past, item, facts);
        }
        if let (Some(signal), Some(user)) = (&self.config.session_neighbours, &facts.user)
            && facts.linked.session_items.contains(&past.item)
        {
            let next = |items: &mut Vec<Id>| {
                items.retain(|other| other != item);
                items.push(item.clone());
                if items.len() > signal.length {
                    items.remove(0);
                }
            };
            own.sit((user, facts.linked.session, facts.linked.session_start_ms), facts.time_ms, next, signal.sessions);
        }
    }

    fn pair(&self, number: usize, row: &mut super::item::Row, past: &Neighbour, other: &Id, facts: &Facts) {
        let signal = &self.config.covisit[number];
        let Some(weight) = self.distance_weights[number].get((past.distance as usize).wrapping_sub(1)) else { return };
        if !signal.within_session || past.same_session {
            let growth = Forward::growth(facts.time_ms, signal.half_life.map(|half_life| half_life.ms()));
            row.take(other, *weight, growth, self.config.entries);
        }
    }
}

/// What a key is to an event.
#[derive(Clone, Copy)]
pub(super) enum Role<'a> {
    User,
    Global,
    Item(&'a Id),
    Past(&'a Neighbour),
    Category(&'a Id),
}

impl Fold for RecommendFold {
    type Facts = Facts;
    type State = State;

    fn digest(&self) -> &str {
        &self.digest
    }

    fn read(&self, event: &Event) -> Result<Facts, Rejection> {
        read(&self.config, event)
    }

    fn keys(&self, facts: &mut Facts) -> Keys {
        let user = facts.user.as_ref().map(|user| key("user:", user));
        let item = facts.item.as_ref().map(|item| key("item:", item));
        let global: Box<str> = "global".into();
        match (user, item) {
            (Some(user), item) => [user, global].into_iter().chain(item).collect(),
            (None, item) => item.into_iter().chain([global]).collect(),
        }
    }

    fn link(&self, ring_one: &[&State], facts: &mut Facts) -> Keys {
        if facts.user.is_none() {
            // Of two item events the later one counts, by event time.
            let known = ring_one.first().and_then(|state| state.item()?.meta.as_deref());
            let outdated = known.is_some_and(|meta| meta.time_ms > facts.time_ms);
            facts.linked = Linked { late: outdated, passed_over: outdated, ..Linked::default() };
            return Keys::new();
        }
        let (new, item) = (User::default(), ring_one.get(2).copied());
        self.note(ring_one.first().and_then(|state| state.user()).unwrap_or(&new), item, facts);
        let past = facts.linked.past.iter().map(|past| key("item:", &past.item));
        past.chain(facts.linked.shelves.iter().map(|category| key("category:", category))).collect()
    }

    fn fold(&self, key: usize, state: &mut State, facts: &Facts, _: At) {
        if facts.linked.passed_over || facts.deed == Deed::Request {
            return;
        }
        match self.role(key, facts) {
            Role::User if matches!(facts.deed, Deed::Take(_) | Deed::Dislike) => self.fold_user(state.user_mut(), facts),
            Role::Global if facts.deed != Deed::Dislike => self.fold_shelf(state.shelf_mut(), facts, &self.global, false),
            Role::Item(_) if facts.deed != Deed::Dislike => self.fold_item(state, facts),
            Role::Past(past) => self.fold_past(state, past, facts),
            Role::Category(category) if matches!(facts.deed, Deed::Take(_)) && facts.linked.categories.contains(category) => {
                self.fold_shelf(state.shelf_mut(), facts, &self.by_category, true);
            }
            _ => {}
        }
    }

    fn features(&self, states: &[&State], facts: &Facts, _: At) -> Features {
        answer::features(&View::new(self, states, facts), facts)
    }
}

fn key(kind: &str, id: &Id) -> Box<str> {
    [kind, id.as_str()].concat().into()
}
