//! Weights as int8, where that costs little.

use super::Report;
use crate::train::trainable::Trainable;
use anyhow::Result;

/// Points of the measure that int8 may cost, as a share.
const INT8_LOSS: f64 = 0.005;

/// Writes a model by `write`, with int8 where `wanted`: then what was written is measured by `again`, and one that lost too much from
/// `best` is written as it was trained. Returns what `write` says.
pub fn written<T: Trainable, W>(
    wanted: bool,
    learner: &T,
    best: f64,
    write: impl Fn(bool) -> Result<W>,
    again: impl Fn() -> Result<f64>,
    report: &mut Report,
) -> Result<W> {
    let written = write(wanted)?;
    if !wanted {
        return Ok(written);
    }
    let after = again()?;
    report.say(format!("dev {} before int8, {} after", learner.said(best), learner.said(after)));
    if best - after <= INT8_LOSS {
        return Ok(written);
    }
    report.say(format!("int8 costs more than {} points: the weights stay as they were trained", 100.0 * INT8_LOSS));
    write(false)
}
