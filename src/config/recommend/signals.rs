//! The signals, one struct each. Every one says its half-life or expiry, and a name where there may be several.

use super::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[recommend.history]`: what a user did last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Events a user keeps. Default 20.
    pub items: usize,
    /// Items a user keeps for the filter of what was seen. Default 2,000.
    pub seen: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { items: 20, seen: 2_000 }
    }
}

/// `[recommend.session]`: a visit ends with a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// Silence that ends a session. Default 30m.
    pub gap: Span,
}

impl Default for Session {
    fn default() -> Self {
        Self { gap: Span::minutes(30) }
    }
}

/// Over which events a count runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    #[default]
    Global,
    Category,
}

/// `[[recommend.popularity]]`: what many take. With `half_life` it fades, with `window` it is an exact sliding sum, with neither
/// it counts from the beginning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Popularity {
    /// Its name, for `weights` and `fallback` of the blend.
    pub name: String,
    /// After this time an event counts half. Default: nothing fades.
    #[serde(default)]
    pub half_life: Option<Span>,
    /// Events of this time count, older ones do not. Default: all.
    #[serde(default)]
    pub window: Option<Span>,
    /// `global` (default), or `category`: within the categories that the user likes most.
    #[serde(default)]
    pub scope: Scope,
}

/// `[recommend.trending]`: what rises: the short decayed count over what the long one promises for that time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trending {
    /// Half-life of the short count.
    pub short: Span,
    /// Half-life of the long count.
    pub long: Span,
    /// Events added to what is promised, so that little evidence does not rise. Default 5.
    #[serde(default = "five")]
    pub prior: f64,
}

/// `[recommend.ctr]`: takes over impressions (events of the kind `impression`), smoothed towards the mean of all items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ctr {
    /// Impressions that the mean of all items stands for. Default 10.
    pub prior: f64,
    /// After this time an event counts half. Default: nothing fades.
    pub half_life: Option<Span>,
}

impl Default for Ctr {
    fn default() -> Self {
        Self { prior: 10.0, half_life: None }
    }
}

/// `[recommend.affinity]`: which categories a user likes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Affinity {
    /// After this time an event counts half.
    pub half_life: Span,
    /// Categories a user keeps; the weakest go. Default 50.
    #[serde(default = "fifty")]
    pub categories: usize,
}

/// Which way a co-visit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From what was seen before to what came after.
    #[default]
    Forward,
    /// Both ways.
    Both,
}

/// `[[recommend.covisit]]`: what comes after, or goes with, an item. A pair's weight is `distance ^ -distance_power`. A candidate's
/// score sums, over the last items of the user, `(pair / (row + shrink) ^ row_power / count ^ popularity_power) ^ power`, where
/// `row` is the row's sum (`forward`) or the item's events (`both`), and `count` the candidate's events. Shrunk cosine is
/// `direction = "both"`, `distance_power = 0`, `row_power = popularity_power = 0.5`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Covisit {
    /// Its name, for `weights` and `fallback` of the blend.
    pub name: String,
    /// Which way a co-visit counts: `forward` (default), from what was seen before to what came after, or `both`.
    #[serde(default)]
    pub direction: Direction,
    /// Events of the user's past that an event is paired with. Default 10.
    #[serde(default = "ten")]
    pub window: usize,
    /// A pair counts less the more events lie between, by this power of their distance. Default 1.
    #[serde(default = "one")]
    pub distance_power: f64,
    /// After this time a pair counts half. Default: pairs do not fade.
    #[serde(default)]
    pub half_life: Option<Span>,
    /// Pairs within one session alone. Default false.
    #[serde(default)]
    pub within_session: bool,
    /// Items of the user's past that the score looks at. Default 10.
    #[serde(default = "ten")]
    pub last: usize,
    /// Steps back in the past after which an item counts half. Default 2.
    #[serde(default = "two")]
    pub recency_events: f64,
    /// Added to `row`, so that little evidence scores low. Default 0.
    #[serde(default)]
    pub shrink: f64,
    /// How much it counts against a pair that its item goes with many others. Default 1.
    #[serde(default = "one")]
    pub row_power: f64,
    /// How much it counts against a candidate that many take it. Default 0.
    #[serde(default)]
    pub popularity_power: f64,
    /// The power of a pair's weight in the sum. Default 1.
    #[serde(default = "one")]
    pub power: f64,
}

/// `[recommend.session_neighbours]`: what the sessions that are most like this one went on with (VMIS-kNN). Needs `[recommend.session]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionNeighbours {
    /// Newest sessions that are kept of an item, and that are looked at in all. Default 500.
    pub sessions: usize,
    /// The nearest of them that speak. Default 100.
    pub neighbours: usize,
    /// Items of the session that are compared. Default 4.
    pub last: usize,
    /// Items of a session that are kept. Default 30.
    pub length: usize,
    /// How much rare items count more: the power of their inverse frequency's logarithm. Default 1.
    pub rarity: f64,
    /// Sessions older than this say nothing. Default: all speak.
    pub expiry: Option<Span>,
}

impl Default for SessionNeighbours {
    fn default() -> Self {
        Self { sessions: 500, neighbours: 100, last: 4, length: 30, rarity: 1.0, expiry: None }
    }
}

/// `[recommend.interest]`: the decayed sum of the vectors of a user's items, and the items that are like it. Vectors come with item
/// events; those of another model are not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interest {
    /// The model and version that the vectors must name.
    pub model: String,
    /// How many numbers a vector has.
    pub dimensions: usize,
    /// Dotted path of the vector in the record of an item event: `embedding`, where the pipeline before is one of the function
    /// `embed`. Default: `vector`, beside `item`.
    #[serde(default)]
    pub vector: Option<String>,
    /// Dotted path of the model's name in the record. Default: `model`, beside `item`.
    #[serde(default)]
    pub vector_model: Option<String>,
    /// After this time an item of a user counts half.
    pub half_life: Span,
    /// Items whose vectors are candidates, the newest. Default 200.
    #[serde(default = "two_hundred")]
    pub catalogue: usize,
    /// An item with fewer events is cold: its neighbours are found by its vector. Default 5.
    #[serde(default = "five_events")]
    pub cold_below: u64,
}

/// `[recommend.blend]`: one list a user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Blend {
    /// Length of the list. Default 20.
    pub items: usize,
    /// Signal to weight. Each signal's scores are divided by its best one first.
    pub weights: BTreeMap<String, f64>,
    /// The weight of a popularity over all items is multiplied by the share of the last thousand events, about, that were among its
    /// ten best: where the crowd foresees little it says little. Default false.
    pub earned: bool,
    /// For users whose own signals say nothing, in this order. Default: the popularities as declared.
    pub fallback: Vec<String>,
    /// Leave out what the user has seen. Default true.
    pub filter_seen: bool,
    /// Leave out these items.
    pub exclude: Vec<String>,
    /// Answer `request` events alone, not every event. Default false.
    pub on_request: bool,
}

impl Default for Blend {
    fn default() -> Self {
        Self {
            items: 20,
            weights: BTreeMap::new(),
            earned: false,
            fallback: Vec::new(),
            filter_seen: true,
            exclude: Vec::new(),
            on_request: false,
        }
    }
}

fn one() -> f64 {
    1.0
}

fn two() -> f64 {
    2.0
}

fn five() -> f64 {
    5.0
}

fn five_events() -> u64 {
    5
}

fn ten() -> usize {
    10
}

fn fifty() -> usize {
    50
}

fn two_hundred() -> usize {
    200
}
