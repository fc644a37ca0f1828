//! A batch in two halves, side by side.

use super::trainable::Trainable;
use anyhow::Result;
use candle_core::backprop::GradStore;

/// Loss (by its share of the batch) and gradients of one half.
fn shard<T: Trainable>(model: &T, part: &[usize], share: f64, draw: u64) -> Result<(f64, GradStore)> {
    let loss = model.loss(part, draw)?.affine(share, 0.0)?;
    Ok((f64::from(loss.to_scalar::<f32>()?), loss.backward()?))
}

/// Loss and gradients of a batch; what is drawn at random follows from `draw`.
pub fn gradients<T: Trainable>(model: &T, batch: &[usize], draw: u64) -> Result<(f64, Vec<GradStore>)> {
    let (first, second) = batch.split_at(batch.len().div_ceil(2));
    let weight = |part: &[usize]| part.iter().map(|&i| model.weight(i)).sum::<f64>();
    let whole = weight(batch).max(f64::MIN_POSITIVE);
    let (first_share, second_share) = (weight(first) / whole, weight(second) / whole);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| match second.is_empty() {
            true => Ok(None),
            false => shard(model, second, second_share, !draw).map(Some),
        });
        let (mut loss, store) = shard(model, first, first_share, draw)?;
        let mut stores = vec![store];
        if let Some((more, store)) = other.join().map_err(|_| anyhow::anyhow!("a training thread panicked"))?? {
            loss += more;
            stores.push(store);
        }
        Ok((loss, stores))
    })
}
