//! L-BFGS: a smooth function of many variables, minimised with the last few steps as its curvature (Nocedal and Wright, Numerical
//! Optimization, algorithms 7.4 and 7.5), with a backtracking line search.

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    pub iterations: usize,
    /// Largest component of the gradient that counts as zero.
    pub gradient: f64,
}

/// Steps that are remembered.
const MEMORY: usize = 10;

/// A step must win this share of what the slope promises (Armijo's rule).
const SHARE: f64 = 1e-4;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `a + scale * b`.
fn plus(a: &[f64], scale: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + scale * b).collect()
}

struct Step {
    /// How far the variables moved.
    moved: Vec<f64>,
    /// How far the gradient moved.
    turned: Vec<f64>,
    inverse: f64,
}

/// The direction in which the remembered steps say that the minimum lies.
fn direction(gradient: &[f64], steps: &[Step]) -> Vec<f64> {
    let mut way: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(steps.len());
    for step in steps.iter().rev() {
        let share = step.inverse * dot(&step.moved, &way);
        way = plus(&way, -share, &step.turned);
        shares.push(share);
    }
    if let Some(last) = steps.last() {
        let scale = 1.0 / (last.inverse * dot(&last.turned, &last.turned));
        way.iter_mut().for_each(|v| *v *= scale);
    }
    for (step, share) in steps.iter().zip(shares.into_iter().rev()) {
        let back = step.inverse * dot(&step.turned, &way);
        way = plus(&way, share - back, &step.moved);
    }
    way
}

/// Where `value` is least, from `start` on. `value` gives the function and its gradient; its error ends the search.
pub fn minimise<E>(
    start: Vec<f64>,
    stop: Stop,
    mut value: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
) -> Result<Vec<f64>, E> {
    let mut at = start;
    let (mut height, mut gradient) = value(&at)?;
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..stop.iterations {
        if gradient.iter().all(|g| g.abs() <= stop.gradient) {
            break;
        }
        let way = direction(&gradient, &steps);
        let slope = dot(&gradient, &way);
        let mut length = if steps.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
        let (next, (lower, new_gradient)) = loop {
            let next = plus(&at, length, &way);
            let found = value(&next)?;
            if found.0 <= height + SHARE * length * slope {
                break (next, found);
            }
            length *= 0.5;
            if length < 1e-12 {
                // No step helps: rounding hides what is left.
                return Ok(at);
            }
        };
        let (moved, turned) = (plus(&next, -1.0, &at), plus(&new_gradient, -1.0, &gradient));
        let bend = dot(&moved, &turned);
        if bend > 1e-12 * dot(&turned, &turned) {
            if steps.len() == MEMORY {
                steps.remove(0);
            }
            steps.push(Step { moved, turned, inverse: 1.0 / bend });
        }
        (at, height, gradient) = (next, lower, new_gradient);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    /// Rosenbrock's valley: bent, narrow, its minimum at (1, 1).
    #[test]
    fn the_end_of_a_bent_valley_is_found() {
        let valley = |x: &[f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            Ok::<_, Infallible>((a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b]))
        };
        let Ok(end) = minimise(vec![-1.2, 1.0], Stop { iterations: 200, gradient: 1e-9 }, valley);
        assert!((end[0] - 1.0).abs() < 1e-6 && (end[1] - 1.0).abs() < 1e-6, "{end:?}");
    }
}
