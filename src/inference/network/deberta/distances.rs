//! Which terms of distance the scores have, and the bucket that a distance falls into.

use super::super::Reader;
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;

/// Positions at most: the rows of distances are worked out from the configuration, and no tensor's shape bounds them.
const LONGEST: usize = 1 << 16;

/// Which relative terms the scores have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub to_position: bool,
    pub from_position: bool,
}

/// A key that is absent, null or below 1 where it is switched off.
pub(super) fn switched(config: &ModelConfig, key: &str) -> Result<Option<usize>, InferenceError> {
    match config.get(key).and_then(serde_json::Value::as_i64) {
        Some(n) if n < 1 => Ok(None),
        _ if config.get(key).is_none() => Ok(None),
        _ => config.count(key).map(Some),
    }
}

pub(super) fn terms(config: &ModelConfig) -> Result<Terms, InferenceError> {
    let mut terms = Terms { to_position: false, from_position: false };
    let Some(found) = config.get("pos_att_type") else { return Ok(terms) };
    let joined = match found.as_array() {
        Some(list) => list.iter().filter_map(|v| v.as_str()).collect::<Vec<_>>().join("|"),
        None => found.as_str().unwrap_or_default().to_owned(),
    };
    for name in joined.to_lowercase().split('|').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "c2p" => terms.to_position = true,
            "p2c" => terms.from_position = true,
            _ => return Err(config.unsupported(format!("pos_att_type is {found}; known: c2p, p2c and both"))),
        }
    }
    Ok(terms)
}

/// The bucket of a distance: itself when it is short, logarithmic beyond, in f32 as in training.
fn bucket(distance: i64, buckets: usize, furthest: usize) -> i64 {
    let middle = (buckets / 2) as i64;
    if distance.abs() <= middle {
        return distance;
    }
    let (near, far) = (middle as f32, ((furthest - 1) as f64 / middle as f64) as f32);
    let log = (distance.abs() as f32 / near).ln() / far.ln();
    ((log * (near - 1.0)).ceil() as i64 + middle) * distance.signum()
}

/// The tables' half size and the row of each distance from `-(longest - 1)` on.
pub(super) fn rows_of_distances(config: &ModelConfig, longest: usize) -> Result<(usize, Vec<usize>), InferenceError> {
    let furthest = switched(config, "max_relative_positions")?.unwrap_or(config.count("max_position_embeddings")?);
    let buckets = switched(config, "position_buckets")?;
    if buckets.is_some_and(|n| n < 2 || furthest <= n / 2 + 1) {
        let cause = format!("{} position_buckets do not fit {furthest} relative positions", buckets.unwrap_or_default());
        return Err(config.unsupported(cause));
    }
    if longest > LONGEST {
        return Err(config.unsupported(format!("max_position_embeddings is {longest}; at most {LONGEST} run")));
    }
    let span = buckets.unwrap_or(furthest);
    let far = longest as i64 - 1;
    let row = |distance: i64| {
        let at = buckets.map_or(distance, |buckets| bucket(distance, buckets, furthest)) + span as i64;
        at.clamp(0, 2 * span as i64 - 1) as usize
    };
    Ok((span, (-far..=far).map(row).collect()))
}

/// The vectors of distances, `[2 * span, hidden]`.
pub(super) fn distances(reader: &Reader<'_>, config: &ModelConfig, span: usize) -> Result<Vec<f32>, InferenceError> {
    let hidden = config.count("hidden_size")?;
    let mut table = reader.f32("encoder.rel_embeddings.weight", &[2 * span, hidden])?;
    let wanted = config.text_or("norm_rel_ebd", "none")?.to_lowercase();
    for name in wanted.split('|').map(str::trim) {
        match name {
            "layer_norm" => {
                let norm = reader.norm("encoder.LayerNorm", hidden)?;
                norm.apply(&mut table, config.number_or("layer_norm_eps", 1e-7)? as f32);
            }
            "none" => {}
            other => return Err(config.unsupported(format!("norm_rel_ebd is `{other}`; known: none, layer_norm"))),
        }
    }
    Ok(table)
}
