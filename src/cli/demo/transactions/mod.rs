//! Card payments from a stated fraud model. Nothing here is taken from real cards.
//!
//! # The model
//!
//! **Cards.** [`CARDS`] live at places spread evenly over a region of [`KM`] by [`KM`] km. Each has an amount that is usual for it
//! (log-normal, median 28 EUR) and 0.5 to 2.7 payments a day. It pays at the [`HAUNTS`] terminals that are nearest to its home, an
//! amount that is log-normal around its usual one, mostly around 13 and 18:30 o'clock.
//!
//! **What is unusual and no fraud.** One payment in 50 is 4 to 10 times the usual amount. On one day in 100 a card goes on a journey
//! of 2 to 5 days: it pays at any terminal, twice as often, half as much again. On one day in 50 it goes shopping: 3 to 6 payments
//! within some two hours.
//!
//! **Fraud**, some 1.3 % of all payments, from seed to seed 1.0 to 1.6 %:
//!
//! - `large`: one payment of 8 to 20 times the usual amount, at any terminal; on one card day in 240.
//! - `terminal`: a terminal is compromised for 8 days; half of what is paid there is fraud, with amounts like all others. One begins
//!   every nine days. Only what was reported of the terminal tells.
//! - `stolen`: a thief makes 4 to 9 payments at any terminals and any hour, on average 25 minutes apart, each 1.5 to 4 times the usual
//!   amount; one card in 600 a day.
//!
//! **Reports.** Each fraud is reported by an event of its own (`kind = "label"`), 6 hours and an exponential time with a mean of one
//! day after the payment, 5 days at most. What is never reported was none.
//!
//! The same seed gives the same events.

mod random;
mod world;

use random::Random;
use std::collections::BTreeMap;
use std::iter::Peekable;
use world::World;

/// Cards of the region.
pub const CARDS: usize = 200;
/// Terminals of the region.
pub const TERMINALS: usize = 100;
/// Length of its side.
pub const KM: f64 = 30.0;
/// Terminals at which a card pays as a rule.
pub const HAUNTS: usize = 12;

/// What is sent that is no payment, and what it is.
pub const BAD: [(&str, &str); 5] = [
    ("half a JSON document", r#"{"id": "half a docum"#),
    ("no account", r#"{"id": "no-account", "terminal": "terminal-000", "amount": 5, "km": 1, "time": "2025-01-06T00:00:00Z"}"#),
    (
        "an amount below 0",
        r#"{"id": "below", "account": "card-000", "terminal": "terminal-000", "amount": -5, "km": 1, "time": "2025-01-06T00:00:00Z"}"#,
    ),
    (
        "an amount in words",
        r#"{"id": "words", "account": "card-000", "terminal": "terminal-000", "amount": "5 EUR", "km": 1, "time": "2025-01-06T00:00:00Z"}"#,
    ),
    (
        "a label of no event",
        r#"{"id": "label", "kind": "label", "event_id": "none", "account": "card-000", "fraud": true, "time": "2025-01-06T00:00:00Z"}"#,
    ),
];

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 2025-01-06T00:00:00Z, a Monday.
const BEGIN_MS: i64 = 1_736_121_600_000;

/// Why a payment is fraud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    Large,
    Terminal,
    Stolen,
}

impl Scenario {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Terminal => "terminal",
            Self::Stolen => "stolen",
        }
    }
}

/// An event of the topic, as JSON, with the truth beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The card, which is the record's key.
    pub card: String,
    pub time_ms: i64,
    pub body: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Payment { id: String, fraud: Option<Scenario> },
    Label,
}

/// Payments and reports in the order of their times, without end.
pub struct Transactions {
    random: Random,
    world: World,
    day: i64,
    payments: u64,
    /// What is to come, by time and a number.
    ahead: BTreeMap<(i64, u64), Planned>,
    planned: u64,
}

enum Planned {
    Payment { card: usize, terminal: usize, amount: f64, fraud: Option<Scenario> },
    Label { payment: u64, card: usize, terminal: usize, scenario: Scenario },
}

impl Transactions {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let world = World::new(&mut random);
        Self { random, world, day: 0, payments: 0, ahead: BTreeMap::new(), planned: 0 }
    }

    fn plan(&mut self, time_ms: i64, what: Planned) {
        self.planned += 1;
        self.ahead.insert((time_ms, self.planned), what);
    }

    fn plan_day(&mut self) {
        for (time_ms, card, terminal, amount, fraud) in self.world.day(&mut self.random, self.day) {
            self.plan(BEGIN_MS + self.day * DAY_MS + time_ms, Planned::Payment { card, terminal, amount, fraud });
        }
        self.day += 1;
    }

    fn event(&mut self, time_ms: i64, what: Planned) -> Event {
        let time = jiff::Timestamp::from_millisecond(time_ms).unwrap_or_default();
        match what {
            Planned::Payment { card, terminal, amount, fraud } => {
                self.payments += 1;
                let number = self.payments;
                if let Some(scenario) = fraud {
                    let delay_h = 6.0 + self.random.exponential(24.0).min(114.0);
                    let reported_ms = time_ms + (delay_h * HOUR_MS as f64) as i64 / 1_000 * 1_000;
                    self.plan(reported_ms, Planned::Label { payment: number, card, terminal, scenario });
                }
                let (id, km) = (format!("t{number}"), self.world.km(card, terminal));
                let body = serde_json::json!({
                    "id": id, "kind": "payment", "account": name(card), "terminal": place(terminal),
                    "amount": amount, "currency": "EUR", "km": km, "time": time.to_string(),
                });
                Event { card: name(card), time_ms, body: body.to_string(), what: What::Payment { id, fraud } }
            }
            Planned::Label { payment, card, terminal, scenario } => {
                let body = serde_json::json!({
                    "id": format!("l{payment}"), "kind": "label", "event_id": format!("t{payment}"), "account": name(card),
                    "terminal": place(terminal), "fraud": true, "scenario": scenario.as_str(), "time": time.to_string(),
                });
                Event { card: name(card), time_ms, body: body.to_string(), what: What::Label }
            }
        }
    }
}

/// What comes before that day, the first being 0; the rest stays.
pub fn until_day(events: &mut Peekable<Transactions>, day: u32) -> impl Iterator<Item = Event> {
    let end_ms = BEGIN_MS + i64::from(day) * DAY_MS;
    std::iter::from_fn(move || events.next_if(|event| event.time_ms < end_ms))
}

fn name(card: usize) -> String {
    format!("card-{card:03}")
}

fn place(terminal: usize) -> String {
    format!("terminal-{terminal:03}")
}

impl Iterator for Transactions {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        // Whatever a day brings comes after its beginning.
        while self.ahead.first_key_value().is_none_or(|((time_ms, _), _)| *time_ms >= BEGIN_MS + self.day * DAY_MS) {
            self.plan_day();
        }
        let ((time_ms, _), what) = self.ahead.pop_first()?;
        Some(self.event(time_ms, what))
    }
}

#[cfg(test)]
mod tests;
