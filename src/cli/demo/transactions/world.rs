//! Cards, terminals, and what happens on a day.

use super::random::Random;
use super::{CARDS, DAY_MS, HAUNTS, HOUR_MS, KM, Scenario, TERMINALS};

pub struct World {
    cards: Vec<Card>,
    terminals: Vec<[f64; 2]>,
    /// Terminal, and the day on which it is clean again.
    compromised: Vec<(usize, i64)>,
}

struct Card {
    home: [f64; 2],
    usual: f64,
    a_day: f64,
    haunts: Vec<usize>,
    /// The day on which the journey ends.
    away_until: i64,
}

/// Time since the day's beginning, card, terminal, amount, and whether it is fraud.
pub type Payment = (i64, usize, usize, f64, Option<Scenario>);

impl World {
    pub fn new(random: &mut Random) -> Self {
        let spot = |random: &mut Random| [random.between(0.0, KM), random.between(0.0, KM)];
        let terminals: Vec<[f64; 2]> = (0..TERMINALS).map(|_| spot(random)).collect();
        let card = |_| {
            let home = spot(random);
            let mut haunts: Vec<usize> = (0..TERMINALS).collect();
            haunts.sort_by(|a, b| distance(home, terminals[*a]).total_cmp(&distance(home, terminals[*b])));
            haunts.truncate(HAUNTS);
            let usual = 28.0 * (0.5 * random.normal()).exp();
            Card { home, usual, a_day: random.between(0.5, 2.7), haunts, away_until: 0 }
        };
        let cards = (0..CARDS).map(card).collect();
        Self { cards, terminals, compromised: Vec::new() }
    }

    /// How far a terminal is from a card's home, to 100 m.
    pub fn km(&self, card: usize, terminal: usize) -> f64 {
        (distance(self.cards[card].home, self.terminals[terminal]) * 10.0).round() / 10.0
    }

    /// The payments of a day, in no order; a thief's may go on into the next.
    pub fn day(&mut self, random: &mut Random, day: i64) -> Vec<Payment> {
        self.compromised.retain(|(_, until)| day < *until);
        if random.chance(1.0 / 9.0) {
            self.compromised.push((random.below(TERMINALS), day + 8));
        }
        let mut payments = Vec::new();
        for card in 0..CARDS {
            self.ordinary(random, card, day, &mut payments);
            self.fraud(random, card, &mut payments);
        }
        payments
    }

    fn ordinary(&mut self, random: &mut Random, number: usize, day: i64, payments: &mut Vec<Payment>) {
        let card = &mut self.cards[number];
        if random.chance(0.01) {
            card.away_until = day + 2 + random.below(4) as i64;
        }
        let away = day < card.away_until;
        let (often, much) = if away { (2.0, 1.5) } else { (1.0, 1.0) };
        let mut times: Vec<i64> = (0..random.count(card.a_day * often)).map(|_| hour(random)).collect();
        if random.chance(0.02) {
            let mut time_ms = hour(random);
            for _ in 0..3 + random.below(4) {
                times.push(time_ms);
                time_ms += (random.between(0.1, 0.7) * HOUR_MS as f64) as i64;
            }
        }
        for time_ms in times {
            let terminal = if away { random.below(TERMINALS) } else { card.haunts[random.below(HAUNTS)] };
            let large = if random.chance(0.02) { random.between(4.0, 10.0) } else { 1.0 };
            let amount = cents(card.usual * much * large * (0.55 * random.normal()).exp());
            let skimmed = self.compromised.iter().any(|(of, _)| *of == terminal) && random.chance(0.5);
            payments.push((seconds(time_ms), number, terminal, amount, skimmed.then_some(Scenario::Terminal)));
        }
    }

    fn fraud(&self, random: &mut Random, number: usize, payments: &mut Vec<Payment>) {
        let usual = self.cards[number].usual;
        if random.chance(1.0 / 240.0) {
            let amount = cents(usual * random.between(8.0, 20.0));
            payments.push((seconds(hour(random)), number, random.below(TERMINALS), amount, Some(Scenario::Large)));
        }
        if random.chance(1.0 / 600.0) {
            let mut time_ms = random.between(0.0, DAY_MS as f64);
            for _ in 0..4 + random.below(6) {
                let amount = cents(usual * random.between(1.5, 4.0));
                payments.push((seconds(time_ms as i64), number, random.below(TERMINALS), amount, Some(Scenario::Stolen)));
                time_ms += random.exponential(25.0 * 60e3);
            }
        }
    }
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sqrt()
}

/// An hour of an ordinary payment: between 6 and midnight, mostly around 13 and 18:30.
fn hour(random: &mut Random) -> i64 {
    let (mean, deviation) = if random.chance(0.7) { (13.0, 3.0) } else { (18.5, 2.0) };
    ((mean + deviation * random.normal()).clamp(6.0, 23.9) * HOUR_MS as f64) as i64
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round().max(100.0) / 100.0
}

fn seconds(time_ms: i64) -> i64 {
    time_ms / 1_000 * 1_000
}
