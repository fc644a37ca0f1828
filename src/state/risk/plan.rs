//! The declared features as places: what is read of an event, what an entry of each entity holds, which windows are looked at.

use super::Facts;
use super::calendar::Moment;
use super::window::Aggregated;
use crate::config::risk::{Aggregate, Feature, Filter, Risk};
use crate::state::At;

pub struct Plan {
    pub slots: Vec<Slot>,
    pub filters: Vec<Filter>,
    pub entities: Vec<Entity>,
    pub ranges: Vec<Range>,
    pub features: Vec<Made>,
}

/// Something that is read of an event, as one word.
#[derive(Debug, Clone)]
pub struct Slot {
    pub path: Box<str>,
    pub kind: SlotKind,
    /// Every event must have it.
    pub always: bool,
    /// An event for which one of these filters holds must have it, a bit each.
    pub filters: u64,
    /// It is read where an event has it, and may be missing.
    pub optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// The bits of a finite number, or of NaN where none is read.
    Number,
    /// The fingerprint of a text; the bits of NaN where none is read.
    Name,
    /// The bits of 1.0, 0.0, or of NaN where no label is known.
    Label,
}

pub struct Entity {
    pub path: Box<str>,
    /// What an entry holds after its time and its id.
    columns: Vec<Column>,
    /// How far back the windows reach.
    pub horizon_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Slot {
        slot: usize,
        label: bool,
    },
    /// Which filters hold, a bit each.
    Filters,
}

/// Where the columns of a row begin: after time and id.
pub const FIRST_COLUMN: usize = 2;

/// (t - delay - window, t - delay] of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub entity: usize,
    pub window_ms: i64,
    pub delay_ms: i64,
}

/// How a feature is made.
pub enum Made {
    /// A slot, and its value where the event has none.
    Field(usize, f64),
    Calendar(Moment),
    Aggregate(Aggregated),
}

impl Plan {
    pub fn new(config: &Risk) -> Self {
        let mut plan = Self { slots: vec![], filters: vec![], entities: vec![], ranges: vec![], features: vec![] };
        for feature in &config.feature {
            let made = plan.made(config, feature);
            plan.features.extend(made);
        }
        plan
    }

    /// Words of an entry of every entity.
    pub fn width(&self) -> usize {
        self.entities.iter().map(Entity::width).sum()
    }

    /// `None` for what validation refuses.
    fn made(&mut self, config: &Risk, feature: &Feature) -> Option<Made> {
        if let Some(calendar) = feature.calendar {
            return Some(Made::Calendar(Moment::new(calendar, feature.hours, config.utc_offset_minutes)));
        }
        let (Some(entity), Some(aggregate), Some(window)) = (&feature.entity, feature.aggregate, feature.window) else {
            let slot = self.slot(feature.field.as_deref()?, SlotKind::Number);
            match feature.empty {
                Some(_) => self.slots[slot].optional = true,
                None => self.slots[slot].always = true,
            }
            return Some(Made::Field(slot, feature.empty.unwrap_or(f64::NAN)));
        };
        let (window_ms, delay_ms) = (window.ms(), feature.delay.map_or(0, |delay| delay.ms()));
        let entity = self.entity(entity);
        let kind = match aggregate {
            Aggregate::Distinct => SlotKind::Name,
            Aggregate::Share => SlotKind::Label,
            _ => SlotKind::Number,
        };
        let field = feature.field.as_deref().map(|path| self.slot(path, kind));
        let filter = feature.filter.as_ref().map(|filter| place(&mut self.filters, filter.clone()));
        // A window takes its field from the events that its filter lets through.
        if let Some(slot) = field.map(|slot| &mut self.slots[slot]) {
            slot.always |= filter.is_none();
            slot.filters |= filter.map_or(0, |bit| 1 << bit);
        }
        let of = &mut self.entities[entity];
        of.horizon_ms = of.horizon_ms.max(window_ms + delay_ms);
        let mut column = |column| FIRST_COLUMN + place(&mut of.columns, column);
        Some(Made::Aggregate(Aggregated {
            aggregate,
            column: field.map(|slot| column(Column::Slot { slot, label: kind == SlotKind::Label })),
            filter: filter.map(|bit| (column(Column::Filters), 1 << bit)),
            range: place(&mut self.ranges, Range { entity, window_ms, delay_ms }),
            include_current: feature.include_current.unwrap_or(!matches!(aggregate, Aggregate::Last | Aggregate::TimeSince))
                && delay_ms == 0,
            empty: feature.empty.unwrap_or(match aggregate {
                Aggregate::Count | Aggregate::Sum | Aggregate::Distinct | Aggregate::Share => 0.0,
                _ => f64::NAN,
            }),
        }))
    }

    fn slot(&mut self, path: &str, kind: SlotKind) -> usize {
        self.slots.iter().position(|slot| *slot.path == *path && slot.kind == kind).unwrap_or_else(|| {
            self.slots.push(Slot { path: path.into(), kind, always: false, filters: 0, optional: false });
            self.slots.len() - 1
        })
    }

    fn entity(&mut self, path: &str) -> usize {
        self.entities.iter().position(|entity| *entity.path == *path).unwrap_or_else(|| {
            self.entities.push(Entity { path: path.into(), columns: vec![], horizon_ms: 0 });
            self.entities.len() - 1
        })
    }
}

impl Entity {
    /// Words of an entry.
    pub fn width(&self) -> usize {
        FIRST_COLUMN + self.columns.len()
    }

    /// The event as an entry.
    pub fn row(&self, facts: &Facts, at: At) -> impl Iterator<Item = u64> {
        [at.time_ms as u64, facts.id].into_iter().chain(self.columns.iter().map(|column| match column {
            Column::Slot { slot, .. } => facts.words[*slot],
            Column::Filters => facts.filters,
        }))
    }

    /// Columns that a label sets.
    pub fn label_columns(&self) -> impl Iterator<Item = usize> {
        let labels = self.columns.iter().enumerate().filter(|(_, column)| matches!(column, Column::Slot { label: true, .. }));
        labels.map(|(place, _)| FIRST_COLUMN + place)
    }
}

/// The place of a thing in a list, to whose end it is added when it is not there.
fn place<T: PartialEq>(list: &mut Vec<T>, thing: T) -> usize {
    list.iter().position(|other| *other == thing).unwrap_or_else(|| {
        list.push(thing);
        list.len() - 1
    })
}
