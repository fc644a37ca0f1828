//! What the demo says at its end.

use super::view::{View, p50_p99};
use super::{BAD, CANNOT_SHOW, Generated};
use std::sync::atomic::Ordering;

/// Counts the endings in Postgres, which is the truth, and says whether every event has exactly one.
pub async fn print(pipeline: &str, url: &str, generated: &Generated, view: &View) -> anyhow::Result<bool> {
    let endings = crate::store::postgres::endings(url, pipeline).await?;
    let (sent, bad) = (generated.sent.load(Ordering::Relaxed), generated.bad.load(Ordering::Relaxed));
    let letters = view.letters();
    // The bad ones go in turn; each must be in a dead letter of its own.
    let of_kind = |kind: usize| (bad + (BAD.len() - 1 - kind) as u64) / BAD.len() as u64;
    let ended = |payload: &str| -> Vec<(&str, u64)> {
        letters.iter().filter(|((of, _), _)| of == payload).map(|((_, code), count)| (&**code, *count)).collect()
    };
    let all_ended = (0..BAD.len()).all(|kind| ended(BAD[kind].1).iter().map(|(_, count)| count).sum::<u64>() == of_kind(kind));
    let complete = endings.events == sent as i64
        && endings.predictions == (sent - bad) as i64
        && endings.dead_letters == bad as i64
        && endings.distinct_events == endings.predictions + endings.dead_letters
        && all_ended;
    println!("\nSummary");
    println!("  sent       {sent} events, {bad} of them bad on purpose");
    println!(
        "  Postgres   {} decided = {} predictions + {} dead letters",
        endings.events, endings.predictions, endings.dead_letters
    );
    println!("  published  {} records", view.published());
    if let Some((p50, p99)) = p50_p99(&view.latencies_ms()) {
        println!("  latency    p50 {p50:.0} ms, p99 {p99:.0} ms, from append to committed row");
    }
    println!("\n  {:<24}{:>9}{:>9}", "sentiment", "messages", "share");
    let labels = view.labels();
    let total: u64 = labels.values().sum();
    for (label, count) in &labels {
        println!("    {label:<22}{count:>9}{:>7.0} %", *count as f64 / total.max(1) as f64 * 100.0);
    }
    println!("\n  {:<24}{:>9}  ended as", "bad on purpose", "sent");
    for (kind, (what, payload)) in BAD.iter().enumerate() {
        let ends: Vec<String> = ended(payload).iter().map(|(code, count)| format!("dead letter `{code}` {count}")).collect();
        let ends = if ends.is_empty() { "nothing".to_owned() } else { ends.join(", ") };
        println!("    {what:<22}{:>9}  {}", of_kind(kind), if of_kind(kind) == 0 { "not sent" } else { &ends });
    }
    println!("\n  every event has exactly one ending: {}", if complete { "yes" } else { "NO" });
    println!("\n{CANNOT_SHOW}");
    Ok(complete)
}
