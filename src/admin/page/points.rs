//! Points of a line that goes back ten minutes, and how it is drawn.

use super::history::Now;
use std::collections::VecDeque;
use std::fmt::Write;

/// Ten minutes, a point every five seconds.
pub const MOST: usize = 120;
/// Size of a drawing, in its own units.
const WIDTH: f64 = 119.0;
const HEIGHT: f64 = 30.0;

/// Five seconds of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub rate: f32,
    pub p50: Option<f32>,
    pub p99: Option<f32>,
    pub busy: f32,
    pub lag: Option<f32>,
}

impl Point {
    pub fn of(now: &Now, lag_seconds: Option<f64>) -> Self {
        Self {
            rate: now.decided_per_second as f32,
            p50: now.age_p50.map(|seconds| seconds as f32),
            p99: now.age_p99.map(|seconds| seconds as f32),
            busy: now.busy as f32,
            lag: lag_seconds.map(|seconds| seconds as f32),
        }
    }
}

/// The newest is the last.
#[derive(Debug, Clone, Default)]
pub struct Points(VecDeque<Point>);

impl Points {
    pub fn push(&mut self, point: Point) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub fn latest(&self) -> Option<Point> {
        self.0.back().copied()
    }

    /// The greatest value.
    pub fn most(&self, of: fn(&Point) -> Option<f32>) -> f32 {
        self.0.iter().filter_map(of).fold(0.0, f32::max)
    }

    /// The path of a line whose top is `most`; the newest point is at the right. Where nothing is known the line is broken.
    pub fn path(&self, of: fn(&Point) -> Option<f32>, most: f32) -> String {
        let (mut out, mut pen) = (String::new(), 'M');
        let first = WIDTH - self.0.len().saturating_sub(1) as f64;
        for (place, point) in self.0.iter().enumerate() {
            let Some(value) = of(point) else {
                pen = 'M';
                continue;
            };
            let share = if most > 0.0 { f64::from(value / most) } else { 0.0 };
            let (x, y) = (first + place as f64, HEIGHT - 1.0 - share * (HEIGHT - 2.0));
            // Writing into a text cannot fail.
            write!(out, "{pen}{x:.0} {y:.1}").ok();
            pen = 'L';
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a line that is drawn through what nobody knows, one that leaves its frame, one that stands at the wrong end.
    #[test]
    fn a_line_ends_at_the_right_and_is_broken_where_nothing_is_known() {
        let mut points = Points::default();
        for p50 in [Some(1.0), None, Some(4.0), Some(0.0)] {
            points.push(Point { rate: 0.0, p50, p99: None, busy: 0.0, lag: None });
        }
        let most = points.most(|point| point.p50);
        assert_eq!(points.path(|point| point.p50, most), "M116 22.0M118 1.0L119 29.0");
        assert_eq!(points.path(|point| Some(point.rate), 0.0), "M116 29.0L117 29.0L118 29.0L119 29.0");
    }
}
