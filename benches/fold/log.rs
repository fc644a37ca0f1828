//! Card payments as the Fraud Detection Handbook simulates them, by this bench's own generator.

use millrace::config::{EventKind, Fields, Limits};
use millrace::event::{Decoder, Event, Position, RawEvent};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

pub const CUSTOMERS: usize = 5_000;
pub const TERMINALS: usize = 10_000;

const START_MS: i64 = 1_522_540_800_000; // 2018-04-01
const DAY_S: f64 = 86_400.0;
/// Terminals that a customer pays at.
const NEAR: usize = 78;
const FRAUD: f64 = 0.008;

struct Customer {
    a_day: f64,
    amount: f64,
    terminals: Vec<usize>,
}

/// The log, in the order of time; each day's first place in it.
pub fn payments(days_told: i64) -> (Vec<RawEvent>, Vec<usize>) {
    let mut random = StdRng::seed_from_u64(1);
    let customers: Vec<Customer> = (0..CUSTOMERS)
        .map(|_| Customer {
            a_day: random.random_range(0.0..4.0),
            amount: random.random_range(5.0..100.0),
            terminals: (0..NEAR).map(|_| random.random_range(0..TERMINALS)).collect(),
        })
        .collect();
    let (mut log, mut days, topic) = (Vec::new(), Vec::new(), Arc::from("payments"));
    for day in 0..days_told {
        let mut today: Vec<(i64, String)> = Vec::new();
        for (number, customer) in customers.iter().enumerate() {
            for _ in 0..poisson(&mut random, customer.a_day) {
                let second = DAY_S / 2.0 + 20_000.0 * normal(&mut random);
                if (0.0..DAY_S).contains(&second) {
                    let time_ms = START_MS + (day * DAY_S as i64 + second as i64) * 1_000;
                    today.push((time_ms, payment(&mut random, number, customer, time_ms)));
                }
            }
        }
        today.sort_unstable();
        days.push(log.len());
        for (timestamp_ms, fields) in today {
            let offset = log.len() as i64;
            let payload = format!(r#"{{"TRANSACTION_ID":{offset},{fields}}}"#).into_bytes();
            let position = Position { topic: Arc::clone(&topic), partition: 0, offset };
            log.push(RawEvent { position, timestamp_ms, key: None, payload: Some(payload.into()), headers: Vec::new() });
        }
    }
    (log, days)
}

fn payment(random: &mut StdRng, number: usize, customer: &Customer, time_ms: i64) -> String {
    let drawn = customer.amount * (1.0 + normal(random) / 2.0);
    let amount = if drawn < 0.0 { random.random_range(0.0..2.0 * customer.amount) } else { drawn };
    let terminal = customer.terminals[random.random_range(0..NEAR)];
    let fraud = u8::from(random.random::<f64>() < FRAUD);
    format!(
        r#""TX_TIME":{time_ms},"CUSTOMER_ID":"{number}","TERMINAL_ID":"{terminal}","TX_AMOUNT":{amount:.2},"TX_FRAUD":{fraud}"#
    )
}

fn poisson(random: &mut StdRng, mean: f64) -> usize {
    let (limit, mut product, mut count) = ((-mean).exp(), random.random::<f64>(), 0);
    while product > limit {
        product *= random.random::<f64>();
        count += 1;
    }
    count
}

fn normal(random: &mut StdRng) -> f64 {
    let (radius, angle) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

pub fn decoder() -> Decoder {
    let named = |name: &str| Some(name.to_owned());
    let fields = Fields { id: named("TRANSACTION_ID"), key: named("CUSTOMER_ID"), time: named("TX_TIME"), text: None };
    Decoder::new(EventKind::Json, fields, Limits::default())
}

pub fn decode(decoder: &Decoder, raw: RawEvent) -> anyhow::Result<Event> {
    decoder.decode(raw).map_err(|(_, rejection)| rejection.into())
}
