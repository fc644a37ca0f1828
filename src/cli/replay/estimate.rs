//! How long a replay would take: some events of the log are scored, and nothing is written.

use super::plan::Plan;
use crate::cli::explain::first_events;
use crate::cli::kafka::Kafka;
use crate::cli::rig::Rig;
use std::time::Instant;

/// Events that are scored to see how fast it goes.
const SAMPLE: usize = 256;

/// Events a second; `None` when there was none to score.
pub async fn speed(rig: &Rig, plan: &Plan, kafka: &Kafka) -> anyhow::Result<Option<f64>> {
    let Some(stretch) = plan.work().max_by_key(|stretch| stretch.len()) else { return Ok(None) };
    let events = first_events(kafka, &stretch.of(), stretch.from, stretch.until, SAMPLE)?;
    if events.is_empty() {
        return Ok(None);
    }
    let (count, started) = (events.len(), Instant::now());
    let mut past = rig.past();
    let inputs = events.into_iter().map(|raw| rig.input(&mut past, raw)).collect::<anyhow::Result<Vec<_>>>()?;
    rig.call(inputs).await?;
    Ok(Some(count as f64 / started.elapsed().as_secs_f64().max(1e-6)))
}

/// A time for people.
pub fn words(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{:.0} s", s.max(1.0)),
        s if s < 5_400.0 => format!("{:.0} minutes", s / 60.0),
        s => format!("{:.1} hours", s / 3_600.0),
    }
}
