//! Rows that run in turns, and the memory of this process.

use anyhow::Result;
use std::time::Instant;

/// One way of doing the same work.
pub struct Row<'a> {
    pub name: &'static str,
    /// Of its weights, and of this process at the most while it was loaded and run for the first time; where they are its own.
    pub memory: Option<(usize, Peak)>,
    work: Box<dyn FnMut() -> Result<()> + 'a>,
    /// Milliseconds, by round.
    times: Vec<f64>,
}

impl<'a> Row<'a> {
    pub fn new(name: &'static str, work: impl FnMut() -> Result<()> + 'a) -> Self {
        Self { name, memory: None, work: Box::new(work), times: Vec::new() }
    }

    pub fn with(self, weights: usize, peak: Peak) -> Self {
        Self { memory: Some((weights, peak)), ..self }
    }

    /// A line, with the ratio of its time to that of `first`.
    pub fn told(&self, first: &Self) -> String {
        let mut ratios: Vec<f64> = self.times.iter().zip(&first.times).map(|(own, other)| own / other).collect();
        let mut line = format!("  {:<48} {:>10.2} ms  {:>6.2} x", self.name, median(&self.times), median(&ratios));
        ratios.sort_by(f64::total_cmp);
        if let (Some(low), Some(high)) = (ratios.first(), ratios.last()) {
            line += &format!(" ({low:.2} to {high:.2})");
        }
        if let Some((weights, peak)) = &self.memory {
            line += &format!("  weights {}", megabytes(*weights));
            line += &peak.bytes.map_or_else(String::new, |bytes| format!(", peak {}", megabytes(bytes)));
        }
        line
    }
}

/// Runs all rows once, then in turns, every second round backwards.
pub fn in_turns(rows: &mut [Row<'_>], rounds: usize) -> Result<()> {
    for row in rows.iter_mut() {
        (row.work)()?;
    }
    for round in 0..rounds {
        for index in 0..rows.len() {
            let row = if round % 2 == 0 { index } else { rows.len() - 1 - index };
            let started = Instant::now();
            (rows[row].work)()?;
            let took = started.elapsed().as_secs_f64() * 1e3;
            rows[row].times.push(took.max(1e-6));
        }
    }
    Ok(())
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// How far this process's resident memory rose.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    before: Option<usize>,
    /// `None` while it is open, and where the system does not tell.
    pub bytes: Option<usize>,
}

impl Peak {
    /// From now on. The system's own mark of the peak is set back for that; where it cannot be, nothing is told.
    pub fn begin() -> Self {
        let set_back = std::fs::write("/proc/self/clear_refs", "5").is_ok();
        Self { before: status("VmRSS:").filter(|_| set_back), bytes: None }
    }

    pub fn end(self) -> Self {
        let bytes = self.before.zip(status("VmHWM:")).map(|(before, most)| most.saturating_sub(before));
        Self { bytes, ..self }
    }
}

fn status(key: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<usize>().ok()? << 10)
}
