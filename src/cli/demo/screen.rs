//! What the demo shows while it runs: one screen on a terminal, some lines every five seconds elsewhere.

use super::answers;
use super::clicks::Sample;
use super::streams::Stream;
use super::view::Seen;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Columns that lines have at most where there is no terminal to cut them.
const COLUMNS: usize = 80;

/// Draws until `done`.
pub async fn show(streams: &[Stream], sample: &Sample, seconds: u64, done: CancellationToken) {
    let terminal = std::io::stdout().is_terminal();
    let (period, started) = (if terminal { Duration::from_millis(500) } else { Duration::from_secs(5) }, Instant::now());
    let mut before: Vec<u64> = streams.iter().map(|stream| stream.view.decided()).collect();
    let (mut drawn, mut at, mut ended) = (0, started, false);
    while !ended {
        ended = tokio::time::timeout(period, done.cancelled()).await.is_ok();
        // Line by line, the end is told by the summary alone.
        if ended && !terminal {
            return;
        }
        let now = Instant::now();
        let boards: Vec<Board<'_>> = (streams.iter().zip(&mut before))
            .map(|(stream, before)| {
                let seen = stream.view.snapshot();
                let rate = (seen.decided - std::mem::replace(before, seen.decided)) as f64 / (now - at).as_secs_f64();
                Board { stream, lag: stream.sent.all().saturating_sub(seen.decided), seen, rate }
            })
            .collect();
        at = now;
        let mut out = std::io::stdout().lock();
        let text = match terminal {
            // Drawn over the last one, which has no more lines than it had line ends: long lines are cut, not wrapped.
            true => {
                let text = screen(&boards, sample, started.elapsed(), seconds);
                let over = if drawn > 0 { format!("\x1b[{drawn}A\x1b[J") } else { String::new() };
                drawn = text.matches('\n').count();
                format!("{over}\x1b[?7l{text}\x1b[?7h")
            }
            false => lines(&boards, sample, started.elapsed()),
        };
        write!(out, "{text}").and_then(|()| out.flush()).ok();
    }
}

/// One stream, as it is drawn.
struct Board<'a> {
    stream: &'a Stream,
    seen: Seen,
    rate: f64,
    lag: u64,
}

impl Board<'_> {
    /// `200/s  lag 3  p50 12, p99 40 ms`
    fn pace(&self) -> String {
        let (p50, p99) = self.seen.p50_p99().unwrap_or_default();
        format!("{:>4.0}/s  lag {:<4} p50 {p50:.0}, p99 {p99:.0} ms", self.rate, self.lag)
    }

    fn dead(&self) -> String {
        let dead: Vec<String> = self.seen.dead.iter().map(|(code, count)| format!("{code} {count}")).collect();
        if dead.is_empty() { "none".into() } else { dead.join(", ") }
    }
}

fn screen(boards: &[Board<'_>], sample: &Sample, elapsed: Duration, seconds: u64) -> String {
    let mut text = String::new();
    let bar = "█".repeat((30 * elapsed.as_secs() / seconds.max(1)).min(30) as usize);
    writeln!(text, "  {bar:░<30} {} of {seconds} s; latency from append to committed row", elapsed.as_secs().min(seconds)).ok();
    for board in boards {
        let title = format!("{} -> {}", board.stream.topic, board.stream.function);
        writeln!(text, "  {title:<21} {}  decided {}", board.pace(), board.seen.decided).ok();
        for line in answers::labels(board.stream, &board.seen) {
            writeln!(text, "    {line}").ok();
        }
        for line in board.seen.last.iter().flat_map(|answer| answers::lines(board.stream, answer, sample)) {
            writeln!(text, "    {line}").ok();
        }
        writeln!(text, "    dead letters: {}", board.dead()).ok();
    }
    text
}

fn lines(boards: &[Board<'_>], sample: &Sample, elapsed: Duration) -> String {
    let mut text = String::new();
    for board in boards {
        let dead: u64 = board.seen.dead.values().sum();
        let (seconds, function, decided) = (elapsed.as_secs(), board.stream.function, board.seen.decided);
        writeln!(text, "{}", cut(&format!("{seconds:>3} s  {function:<9} decided {decided:<6}{}  dead {dead}", board.pace())))
            .ok();
        for line in board.seen.last.back().iter().flat_map(|answer| answers::lines(board.stream, answer, sample)) {
            writeln!(text, "{}", cut(&format!("         {line}"))).ok();
        }
    }
    text
}

fn cut(line: &str) -> String {
    match line.chars().count() > COLUMNS {
        true => line.chars().take(COLUMNS - 1).chain(['…']).collect(),
        false => line.to_owned(),
    }
}
