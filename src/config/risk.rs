//! `[risk]`: the features that are made of each event and of what came before it.

mod check;
mod filter;
mod options;

pub use filter::{Comparison, Filter, Operand};
pub(super) use options::of_pipeline;
pub use options::{Explain, Options};

use super::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[risk]`. Field paths are dotted paths into the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Risk {
    /// Entries that a key keeps at most; the oldest go, and the features say `truncated`. Default 10,000.
    pub entries: usize,
    /// An event that is older than its key's newest by at most this is put in its place and scored as late; an older one is scored
    /// and not folded. Default 1d.
    pub max_late: Span,
    /// An event whose time lies further than this after its record's own timestamp is rejected. Default 1d.
    pub max_ahead: Span,
    /// Fields whose numbers may not be below 0.
    pub non_negative: Vec<String>,
    /// Minutes that the calendar features are ahead of UTC, the same all year. Default 0.
    pub utc_offset_minutes: i32,
    /// Labels that come as events of their own.
    pub labels: Option<Labels>,
    /// How a row of a file becomes an event, for `millrace parity` and `millrace eval risk`.
    pub file: FileRows,
    /// In the order in which a model takes them.
    pub feature: Vec<Feature>,
}

impl Default for Risk {
    fn default() -> Self {
        Self {
            entries: 10_000,
            max_late: Span::days(1),
            max_ahead: Span::days(1),
            non_negative: Vec::new(),
            utc_offset_minutes: 0,
            labels: None,
            file: FileRows::default(),
            feature: Vec::new(),
        }
    }
}

/// `[[risk.feature]]`: a field as it is, a calendar value, or an aggregate over a window of an entity's events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its name in the record, and for the model.
    pub name: String,
    /// The number that is taken or aggregated. Of `share` the label, true or false, 1 or 0; of `distinct` a text or an integer. An
    /// event must have it, but where a filter leaves the event out, or `empty` stands in for a field that is taken as it is.
    pub field: Option<String>,
    /// A value of the calendar, in place of `field` and `aggregate`.
    pub calendar: Option<Calendar>,
    /// For `is_night`: first and last hour, both of them night; from 22 to 5 goes over midnight. Default 0 to 6.
    pub hours: Option<[u8; 2]>,
    /// The field that names whose events are looked back on.
    pub entity: Option<String>,
    /// What is made of the entity's events. Without it the feature is `field` as it is.
    pub aggregate: Option<Aggregate>,
    /// Events of (t - delay - window, t - delay] count, t the time of the event that is scored.
    pub window: Option<Span>,
    /// How far before the scored event the window ends. Default: none.
    pub delay: Option<Span>,
    /// Only events for which this holds, for example `amount > 100` or `kind == "refund"`.
    pub filter: Option<Filter>,
    /// Whether the event that is scored counts, where the window reaches it. Default true; false for `last` and `time_since`.
    pub include_current: Option<bool>,
    /// The value when nothing is in the window (`stddev`: less than two); `nan` is "no value". Default 0 for count, sum, distinct and
    /// share, else no value. Of a field as it is: its value when it is null or not there; without a default, for such an event is
    /// rejected.
    #[serde(serialize_with = "number_or_nan")]
    pub empty: Option<f64>,
}

/// JSON has no NaN, and a digest tells it from nothing.
fn number_or_nan<S: serde::Serializer>(number: &Option<f64>, into: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) if number.is_nan() => into.serialize_str("nan"),
        other => other.serialize(into),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// How many events.
    Count,
    /// The sum.
    Sum,
    /// The mean.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Of a sample: divided by n - 1.
    Stddev,
    /// How many different values.
    Distinct,
    /// The newest value.
    Last,
    /// Seconds since the newest event.
    TimeSince,
    /// Events whose label is true, of all events; one without a label counts as false.
    Share,
}

impl Aggregate {
    /// Whether it is one of a field.
    pub fn needs_field(self) -> bool {
        !matches!(self, Self::Count | Self::TimeSince)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Calendar {
    IsWeekend,
    IsNight,
    /// 0 to 23.
    Hour,
    /// 0 is Monday.
    Weekday,
}

/// `[risk.labels]`: which events are labels. A label names the event by its id and at least one entity, and is seen by what stands
/// after it in the log. A stage of a chain hands it on, whether it remembers the event or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// What holds for labels and for no other event, for example `kind == "label"`.
    pub when: Filter,
    /// Where the label names the event.
    pub event_id: String,
    /// The label's value, true or false, 1 or 0. It is the `field` of `share`; a fold without one lets labels pass by, for the next
    /// stage of a chain.
    pub value: String,
}

/// `[risk.file]`: how a row of a file becomes an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileRows {
    /// The column of the event's id. Default `id`.
    pub id: String,
    /// The column of the event's time: RFC 3339, or a number. Default `time`.
    pub time: String,
    /// Unit of a time that is a number: `s` or `ms`. Default `s`.
    pub unit: Unit,
    /// From when a time that is a number counts. Default 1970-01-01T00:00:00Z.
    pub since: jiff::Timestamp,
}

impl Default for FileRows {
    fn default() -> Self {
        Self { id: "id".into(), time: "time".into(), unit: Unit::S, since: jiff::Timestamp::UNIX_EPOCH }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    S,
    Ms,
}

impl Risk {
    /// Everything that is wrong, as sentences.
    pub fn findings(&self) -> Vec<String> {
        check::findings(self)
    }
}

#[cfg(test)]
mod tests;
