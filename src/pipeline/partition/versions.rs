//! Which version scores which event of a partition.

use crate::config::BASE;
use crate::function::Input;
use crate::pipeline::safety::{Safety, without};
use crate::pipeline::version::Version;
use crate::store::{Swap, Taken, taken_at};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The versions that are in memory.
#[derive(Debug)]
pub struct Ready {
    pub base: Arc<Version>,
    /// By name.
    pub others: BTreeMap<Arc<str>, Arc<Version>>,
}

impl Ready {
    pub fn get(&self, name: &str) -> Option<&Arc<Version>> {
        if name == BASE { Some(&self.base) } else { self.others.get(name) }
    }
}

/// What a partition has taken over, and how far it has put events to work.
#[derive(Debug)]
pub struct Taking {
    /// As Postgres confirmed it, in the order of the numbers.
    taken: Vec<Taken>,
    /// On its way to Postgres: until it is known to stand there nothing from its offset on is put to work.
    recording: Option<Taken>,
    /// Everything below was put to work, or needs no call.
    next: i64,
}

impl Taking {
    /// What a claim found.
    pub fn new(taken: Vec<Taken>, decided: i64) -> Self {
        let taken = if without(Safety::TakenAtClaim) { Vec::new() } else { taken };
        Self { taken, recording: None, next: decided }
    }

    /// The version that scores an event, when that is known and it is in memory.
    pub fn version_of(&self, pipeline: &str, input: &Input, ready: &Ready) -> Option<Arc<Version>> {
        if self.recording.is_some() && !without(Safety::TakenFirst) {
            return None;
        }
        if self.taken.is_empty() && self.recording.is_none() {
            return Some(ready.base.clone());
        }
        ready.get(self.name_of(pipeline, input)).cloned()
    }

    /// Whether the version that scores an event is known and not in memory.
    pub fn lacks(&self, pipeline: &str, input: &Input, ready: &Ready) -> bool {
        self.recording.is_none() && self.version_of(pipeline, input, ready).is_none()
    }

    /// Number of the swap whose canary scores an event; `None` where another version does.
    pub fn canary_of(&self, pipeline: &str, offset: i64, key: &str) -> Option<i64> {
        let taken = taken_at(&self.taken, offset)?;
        let canary = taken.canary.as_ref()?;
        (**taken.version_of(pipeline, key) == *canary.version).then_some(taken.number)
    }

    fn name_of(&self, pipeline: &str, input: &Input) -> &str {
        let event = &input.event;
        let offset = event.raw.position.offset;
        let sent = self.recording.as_ref().filter(|sent| sent.from_offset <= offset);
        match sent.or_else(|| taken_at(&self.taken, offset)) {
            None => BASE,
            Some(taken) => taken.version_of(pipeline, event.key.as_deref().unwrap_or(&event.id)),
        }
    }

    /// An event was put to work.
    pub fn put_to_work(&mut self, offset: i64) {
        self.next = self.next.max(offset + 1);
    }

    /// Begins to take a wish over, from the first event on that is not in work; `None` where that is done or under way.
    pub fn begin(&mut self, wish: &Swap, decided: i64) -> Option<Taken> {
        if self.recording.is_some() || self.taken.last().is_some_and(|last| last.number >= wish.number) {
            return None;
        }
        let from = if without(Safety::TakenAhead) { decided } else { self.next.max(decided) };
        self.recording = Some(wish.taken_from(from));
        self.recording.clone()
    }

    /// It stands in Postgres, with all that stood there before.
    pub fn confirmed(&mut self, taken: Vec<Taken>) {
        self.taken = taken;
        self.recording = None;
    }

    /// What is in force for the next event. Events that need no call may be decided beyond those that were put to work.
    pub fn in_force(&self, decided: i64) -> Option<&Taken> {
        taken_at(&self.taken, self.next.max(decided))
    }

    /// Number of the newest wish that was taken over.
    pub fn number(&self) -> Option<i64> {
        self.taken.last().map(|last| last.number)
    }

    /// Versions that events from P on may need.
    pub fn names(&self, decided: i64) -> impl Iterator<Item = &Arc<str>> {
        // One that begins at P or before it hides all with lower numbers.
        let hides = self.taken.iter().rposition(|taken| taken.from_offset <= decided).unwrap_or(0);
        self.taken[hides..].iter().chain(&self.recording).flat_map(Taken::names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Position, RawEvent};
    use crate::function::copy::Copy;

    fn input(offset: i64) -> Input {
        let position = Position { topic: "in".into(), partition: 0, offset };
        let raw = RawEvent { position, timestamp_ms: 1, key: None, payload: None, headers: Vec::new() };
        Input::plain(Event { raw, id: "e".into(), key: None, event_time_ms: 1, text: None, body: None })
    }

    fn wish(number: i64, version: &str) -> Swap {
        let (reason, by, since) = (String::new(), String::new(), String::new());
        Swap { number, version: version.into(), canary: None, reason, by, since }
    }

    /// Would catch: an event that goes to work before its version is known, a wish that begins below what is in work, one that is taken twice,
    /// an event that a version scores in place of the one that is not in memory.
    #[test]
    fn nothing_goes_to_work_before_the_offset_is_recorded() {
        let copy: Arc<dyn crate::function::Function> = Arc::new(Copy::new(&serde_json::Map::new()).unwrap());
        let version = |name: &str| Arc::new(Version { name: name.into(), ..Version::base(copy.clone()) });
        let mut ready = Ready { base: version(BASE), others: BTreeMap::new() };
        let mut taking = Taking::new(Vec::new(), 10);
        let name = |taking: &Taking, ready: &Ready, offset| {
            taking.version_of("p", &input(offset), ready).map(|version| version.name.to_string())
        };
        assert_eq!(name(&taking, &ready, 10).as_deref(), Some(BASE));
        taking.put_to_work(14);
        let sent = taking.begin(&wish(1, "v2"), 12).unwrap();
        assert_eq!((sent.from_offset, taking.begin(&wish(2, "v3"), 12)), (15, None));
        assert_eq!(name(&taking, &ready, 15), None, "it is not known whether it stands there");
        taking.confirmed(vec![sent]);
        assert_eq!(name(&taking, &ready, 15), None, "the version is not in memory");
        ready.others.insert("v2".into(), version("v2"));
        assert_eq!([14, 15].map(|offset| name(&taking, &ready, offset)), [Some(BASE.into()), Some("v2".into())]);
        assert_eq!(taking.begin(&wish(1, "v2"), 12), None, "it is taken over");
        let in_force = |decided| taking.in_force(decided).map(|taken| taken.number);
        assert_eq!((in_force(12), in_force(16)), (Some(1), Some(1)));
        let beyond = Taking { taken: vec![wish(3, "v2").taken_from(20)], recording: None, next: 15 };
        assert_eq!([15, 20].map(|decided| beyond.in_force(decided).map(|taken| taken.number)), [None, Some(3)]);
        let names = |decided| taking.names(decided).map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!((names(12), names(15)), (vec!["v2".to_owned()], vec!["v2".to_owned()]));
    }
}
