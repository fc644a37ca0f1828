//! What is read of an event: its entities, a word for each slot, and which filters hold.

use super::plan::{Plan, Slot, SlotKind};
use super::values::{fingerprint, holds, label, name, number};
use crate::config::risk::{Filter, Labels, Risk};
use crate::event::{Event, Rejection, at, missing, object};
use crate::state::Keys;
use crate::state::pick::pick;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

/// 1970 to 2100.
const TIMES_MS: Range<i64> = 0..4_102_444_800_000;

/// See [`RiskFold`](super::RiskFold).
#[derive(Debug)]
pub struct Facts {
    pub(super) what: What,
    /// Of each entity in order; of a label those that [`What::Label`] names.
    pub(super) keys: Keys,
    /// A word for each slot.
    pub(super) words: Vec<u64>,
    pub(super) filters: u64,
    /// Fingerprint of the id: the event's own, or of the event that is labelled.
    pub(super) id: u64,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Event,
    Label { value: f64, entities: Vec<usize> },
}

impl Facts {
    /// The entity of a key.
    pub(super) fn entity(&self, key: usize) -> usize {
        match &self.what {
            What::Event => key,
            What::Label { entities, .. } => entities[key],
        }
    }
}

/// Where everything that is read stands in an event.
pub struct Reader {
    /// First segments of the paths: members of the event.
    members: Vec<Box<str>>,
    entities: Vec<Path>,
    slots: Vec<(Path, Slot, bool)>,
    filters: Vec<(Path, Filter)>,
    labels: Option<(Path, Path, Path, Labels)>,
    max_ahead_ms: i64,
}

/// A member, and the path within it.
struct Path {
    whole: Box<str>,
    member: usize,
    rest: Option<Box<str>>,
}

type Picked<'t> = Vec<Option<&'t RawValue>>;

impl Path {
    /// The value as it is written; `None` when it is not there, or null.
    fn text<'t>(&self, picked: &Picked<'t>) -> Option<Cow<'t, str>> {
        let text = picked[self.member]?.get();
        let text: Cow<'t, str> = match &self.rest {
            None => text.into(),
            Some(rest) => at(&serde_json::from_str::<Value>(text).ok()?, rest)?.to_string().into(),
        };
        (text != "null").then_some(text)
    }

    fn needed<'t>(&self, picked: &Picked<'t>) -> Result<Cow<'t, str>, Rejection> {
        self.text(picked).ok_or_else(|| missing(&self.whole))
    }
}

impl Reader {
    pub fn new(config: &Risk, plan: &Plan) -> Self {
        let mut members: Vec<Box<str>> = Vec::new();
        let mut path = |whole: &str| {
            let (first, rest) = whole.split_once('.').map_or((whole, None), |(first, rest)| (first, Some(rest.into())));
            let member = members.iter().position(|member| **member == *first).unwrap_or_else(|| {
                members.push(first.into());
                members.len() - 1
            });
            Path { whole: whole.into(), member, rest }
        };
        let non_negative = |path: &str| config.non_negative.iter().any(|field| field == path);
        Self {
            entities: plan.entities.iter().map(|entity| path(&entity.path)).collect(),
            slots: plan.slots.iter().map(|slot| (path(&slot.path), slot.clone(), non_negative(&slot.path))).collect(),
            filters: plan.filters.iter().map(|filter| (path(&filter.field), filter.clone())).collect(),
            labels: config
                .labels
                .as_ref()
                .map(|labels| (path(&labels.when.field), path(&labels.event_id), path(&labels.value), labels.clone())),
            max_ahead_ms: config.max_ahead.ms(),
            members,
        }
    }

    /// Whether a number is read at that path, and no name.
    pub fn reads_number(&self, path: &str) -> bool {
        let numbers = self.slots.iter().filter(|(_, slot, _)| slot.kind != SlotKind::Name).map(|(path, ..)| path);
        let filters = self.filters.iter().filter(|(_, filter)| !matches!(filter.operand, crate::config::risk::Operand::Text(_)));
        numbers.chain(filters.map(|(path, _)| path)).any(|read| *read.whole == *path)
    }

    pub fn read(&self, plan: &Plan, event: &Event) -> Result<Facts, Rejection> {
        let bytes = event.payload().ok_or_else(|| Rejection::new("tombstone", "the record has no payload"))?;
        let text = std::str::from_utf8(bytes).map_err(|_| Rejection::new("invalid_utf8", "not UTF-8"))?;
        let picked = match pick(text, &self.members) {
            Some(picked) => picked,
            None => return Err(object(text).err().unwrap_or_else(|| Rejection::new("invalid_json", "not an object"))),
        };
        self.check_time(event)?;
        if let Some(labels) = &self.labels
            && labels.0.text(&picked).is_some_and(|text| holds(&labels.3.when, &text))
        {
            return self.label(plan, labels, &picked);
        }
        let mut keys = Vec::with_capacity(self.entities.len());
        for path in &self.entities {
            keys.push(key(path, &path.needed(&picked)?)?);
        }
        let holding = |(path, filter): &(Path, Filter)| path.text(&picked).is_some_and(|text| holds(filter, &text));
        let filters = self.filters.iter().enumerate().map(|(bit, filter)| u64::from(holding(filter)) << bit).sum();
        let mut words = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            words.push(word(slot, filters, &picked)?);
        }
        Ok(Facts { what: What::Event, keys, words, filters, id: fingerprint(&event.id) })
    }

    /// A label of one event, for those entities that it names and that keep labels.
    fn label(&self, plan: &Plan, labels: &(Path, Path, Path, Labels), picked: &Picked<'_>) -> Result<Facts, Rejection> {
        let (_, event_id, value, _) = labels;
        let id = fingerprint(&name(&event_id.whole, &event_id.needed(picked)?)?);
        let value = label(&value.whole, &value.needed(picked)?)?;
        let (mut keys, mut entities) = (Keys::new(), Vec::new());
        let keeping =
            self.entities.iter().enumerate().filter(|(entity, _)| plan.entities[*entity].label_columns().next().is_some());
        for (entity, path) in keeping.clone() {
            if let Some(text) = path.text(picked) {
                keys.push(key(path, &text)?);
                entities.push(entity);
            }
        }
        match (keys.first(), keeping.map(|(_, path)| path).next()) {
            (None, Some(path)) => Err(missing(&path.whole)),
            _ => Ok(Facts { what: What::Label { value, entities }, keys, words: Vec::new(), filters: 0, id }),
        }
    }

    fn check_time(&self, event: &Event) -> Result<(), Rejection> {
        if !TIMES_MS.contains(&event.event_time_ms) {
            return Err(Rejection::new("time_out_of_range", "the event time is not within 1970 to 2100").at("time"));
        }
        let ahead_ms = event.event_time_ms.saturating_sub(event.raw.timestamp_ms);
        if event.raw.timestamp_ms >= 0 && ahead_ms > self.max_ahead_ms {
            let detail = format!(
                "the event time is {} s after the record's own, max_ahead allows {}",
                ahead_ms / 1000,
                self.max_ahead_ms / 1000
            );
            return Err(Rejection::new("time_ahead", detail).at("time"));
        }
        Ok(())
    }
}

fn key(path: &Path, text: &str) -> Result<Box<str>, Rejection> {
    let name = name(&path.whole, text)?;
    let mut key = String::with_capacity(path.whole.len() + 1 + name.len());
    key.push_str(&path.whole);
    key.push(':');
    key.push_str(&name);
    Ok(key.into())
}

/// `filters` are those that hold of the event.
fn word((path, slot, non_negative): &(Path, Slot, bool), filters: u64, picked: &Picked<'_>) -> Result<u64, Rejection> {
    let needed = slot.always || slot.filters & filters != 0;
    if slot.kind != SlotKind::Label && !needed && (!slot.optional || path.text(picked).is_none()) {
        return Ok(f64::NAN.to_bits());
    }
    Ok(match slot.kind {
        SlotKind::Number => {
            let number = number(&path.whole, &path.needed(picked)?)?;
            if *non_negative && number < 0.0 {
                return Err(Rejection::new("negative", format!("field `{}` is below 0", path.whole)).at(&*path.whole));
            }
            number.to_bits()
        }
        SlotKind::Name => fingerprint(&name(&path.whole, &path.needed(picked)?)?),
        SlotKind::Label => match path.text(picked) {
            Some(text) => label(&path.whole, &text)?.to_bits(),
            None => f64::NAN.to_bits(),
        },
    })
}
