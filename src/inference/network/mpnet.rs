//! What MPNet's attention adds for the distance of two tokens: one number a head and bucket of distances, the same in all layers.

use super::Reader;
use crate::inference::InferenceError;
use crate::inference::checkpoint::ModelConfig;
use crate::inference::ops::Distances;

/// The family's code has this many buckets, whatever the configuration says.
const BUCKETS: usize = 32;
/// Distances from here on share the last bucket.
const FARTHEST: f32 = 128.0;

/// The terms for texts of at most `reach` tokens.
pub fn distances(config: &ModelConfig, reader: &Reader<'_>, heads: usize, reach: usize) -> Result<Distances, InferenceError> {
    let buckets = config.count_or("relative_attention_num_buckets", BUCKETS)?;
    if buckets != BUCKETS {
        return Err(config.unsupported(format!("relative_attention_num_buckets is {buckets}; this family runs with {BUCKETS}")));
    }
    let reach = reach.max(1);
    let terms = reader.f32("encoder.relative_attention_bias.weight", &[BUCKETS, heads])?;
    let row = |head: usize| {
        let terms = &terms;
        (1 - reach as i64..reach as i64).map(move |distance| terms[bucket(distance) * heads + head])
    };
    Ok(Distances { table: (0..heads).flat_map(row).collect(), reach })
}

/// The bucket of a key that stands `distance` behind its query: half of them for each side, exact up to 7, then by the logarithm.
fn bucket(distance: i64) -> usize {
    const SIDE: usize = BUCKETS / 2;
    const EXACT: usize = SIDE / 2;
    let away = distance.unsigned_abs() as usize;
    let side = if distance > 0 { SIDE } else { 0 };
    if away < EXACT {
        return side + away;
    }
    let exact = EXACT as f32;
    let steps = (away as f32 / exact).ln() / (FARTHEST / exact).ln() * (SIDE - EXACT) as f32;
    side + (EXACT + steps as usize).min(SIDE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As transformers has them, in 32-bit floats: the distances at which a bucket begins.
    #[test]
    fn buckets_begin_where_transformers_begins_them() {
        let begins: Vec<i64> = (1..600).filter(|&d| bucket(-d) != bucket(1 - d)).collect();
        assert_eq!(begins, [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]);
        assert!((1..600).all(|d| bucket(d) == bucket(-d) + 16) && bucket(0) == 0);
    }
}
