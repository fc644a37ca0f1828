//! Metrics of shadows and ladders, read when somebody looks.

use super::label;
use super::names::Metric;
use crate::telemetry::shadow::{ShadowCounts, ShadowState, ShadowTally};
use crate::telemetry::shift::psi;
use crate::telemetry::tally::Tallies;
use opentelemetry::metrics::{AsyncInstrument, Meter};

pub(super) fn of_tallies(meter: &Meter, tallies: &Tallies) {
    shadow_events(meter, tallies);
    shadow_flips(meter, tallies);
    gauge(meter, tallies, Metric::ShadowShift, |_, counts| counts.differences.mean());
    gauge(meter, tallies, Metric::ShadowPsi, |_, counts| psi(&counts.champion, &counts.challenger));
    gauge(meter, tallies, Metric::ShadowUp, |state, _| Some(if *state == ShadowState::Running { 1.0 } else { 0.0 }));
    rungs(meter, tallies);
}

/// Each pipeline that has a shadow.
fn shadows(tallies: &Tallies, mut see: impl FnMut(&str, &ShadowTally)) {
    for (pipeline, tally) in tallies.all() {
        if let Some(shadow) = tally.shadow() {
            see(&pipeline, shadow);
        }
    }
}

fn shadow_events(meter: &Meter, tallies: &Tallies) {
    let tallies = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<u64>| {
        shadows(&tallies, |pipeline, shadow| {
            let (_, counts) = shadow.now();
            let flipped = counts.flipped();
            for (outcome, count) in [
                ("agreed", counts.compared.saturating_sub(flipped)),
                ("flipped", flipped),
                ("dropped", counts.dropped),
                ("failed", counts.failed),
            ] {
                observer.observe(count, &[label("pipeline", pipeline), label("outcome", outcome)]);
            }
        });
    };
    meter.u64_observable_counter(Metric::ShadowEvents.stem()).with_callback(observe).build();
}

fn shadow_flips(meter: &Meter, tallies: &Tallies) {
    let tallies = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<u64>| {
        shadows(&tallies, |pipeline, shadow| {
            for ((champion, challenger), count) in &shadow.now().1.flips {
                let pair = [label("champion", champion), label("challenger", challenger)];
                observer.observe(*count, &[&[label("pipeline", pipeline)][..], &pair].concat());
            }
        });
    };
    meter.u64_observable_counter(Metric::ShadowFlips.stem()).with_callback(observe).build();
}

fn gauge(meter: &Meter, tallies: &Tallies, metric: Metric, of: fn(&ShadowState, &ShadowCounts) -> Option<f64>) {
    let tallies = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<f64>| {
        shadows(&tallies, |pipeline, shadow| {
            let (state, counts) = shadow.now();
            if let Some(value) = of(&state, &counts) {
                observer.observe(value, &[label("pipeline", pipeline)]);
            }
        });
    };
    meter.f64_observable_gauge(metric.name()).with_callback(observe).build();
}

fn rungs(meter: &Meter, tallies: &Tallies) {
    let all = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<u64>| {
        for (pipeline, tally) in all.all() {
            if let Some(rungs) = tally.rungs() {
                observer.observe(rungs.in_force().0 as u64, &[label("pipeline", &pipeline)]);
            }
        }
    };
    meter.u64_observable_gauge(Metric::Rung.name()).with_callback(observe).build();
    let all = tallies.clone();
    let observe = move |observer: &dyn AsyncInstrument<u64>| {
        for (pipeline, tally) in all.all() {
            let Some(rungs) = tally.rungs() else { continue };
            for (rung, count) in rungs.events() {
                observer.observe(count, &[label("pipeline", &pipeline), label("rung", rung)]);
            }
        }
    };
    meter.u64_observable_counter(Metric::RungEvents.stem()).with_callback(observe).build();
}
