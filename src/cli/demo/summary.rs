//! What the demo says at its end, read from Postgres.

use super::CANNOT_SHOW;
use super::clicks::Sample;
use super::streams::{HISTORY_DAYS, Stream};
use super::transactions::{Scenario, Transactions, What, until_day};
use crate::store::postgres::answers;
use std::collections::{BTreeMap, HashMap};

/// Tells how everything ended. Says whether every event has exactly one ending.
pub async fn print(url: &str, seed: u64, streams: &[Stream], sample: &Sample) -> anyhow::Result<bool> {
    println!("\nSummary, read from Postgres");
    println!(
        "  {:<10}{:>9}{:>13}{:>9}{:>7}{:>11}{:>14}",
        "stream", "events", "predictions", "skipped", "dead", "published", "p50, p99 ms"
    );
    let mut complete = true;
    for stream in streams {
        let endings = crate::store::postgres::endings(url, &stream.pipeline).await?;
        let skipped = answers::skipped(url, &stream.pipeline).await?;
        let (seen, sent) = (stream.view.snapshot(), &stream.sent);
        let latency = seen.p50_p99().map_or(String::new(), |(p50, p99)| format!("{p50:.0}, {p99:.0}"));
        println!(
            "  {:<10}{:>9}{:>13}{:>9}{:>7}{:>11}{latency:>14}",
            stream.function, endings.events, endings.predictions, skipped, endings.dead_letters, seen.published
        );
        let expected = [sent.all(), sent.predictions(), sent.skipped(), sent.bad()].map(|count| count as i64);
        complete &= expected == [endings.events, endings.predictions, skipped, endings.dead_letters];
        complete &= endings.distinct_events == endings.predictions + endings.dead_letters;
        complete &= seen.published == sent.predictions() + sent.bad();
    }
    println!(
        "  Latency is that of the show, from append to committed row; the counts are with\n  the history before it. Skipped is what is remembered and asks for no answer:\n  ratings, films, and which payments were fraud."
    );
    for stream in streams {
        match stream.function {
            "risk" => risk(url, seed, stream).await?,
            "recommend" => recommend(url, stream, sample).await?,
            _ => sentiment(url, stream).await?,
        }
    }
    println!("\n  {:<36}{:>6}  ended as", "bad on purpose", "sent");
    for stream in streams {
        complete &= bad(stream);
    }
    println!("\n  every event has exactly one ending: {}", if complete { "yes" } else { "NO" });
    println!("\n{CANNOT_SHOW}");
    Ok(complete)
}

/// Decisions beside the truth, which only the generator knows. Payments of the show alone: those before it met an empty history.
async fn risk(url: &str, seed: u64, stream: &Stream) -> anyhow::Result<()> {
    let mut events = Transactions::new(seed).peekable();
    until_day(&mut events, HISTORY_DAYS).for_each(drop);
    let payments = events.take(stream.live()).filter_map(|event| match event.what {
        What::Payment { id, fraud } => Some((id, fraud)),
        What::Label => None,
    });
    let truth: HashMap<String, Option<Scenario>> = payments.collect();
    let mut decisions: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut scenarios: BTreeMap<Scenario, (u64, u64)> = BTreeMap::new();
    let rows = answers::decisions(url, &stream.pipeline).await?;
    for (event_id, decision) in &rows {
        let Some(fraud) = truth.get(event_id) else { continue };
        let of_decision = decisions.entry(decision).or_default();
        of_decision.0 += 1;
        if let Some(scenario) = fraud {
            of_decision.1 += 1;
            let of_scenario = scenarios.entry(*scenario).or_default();
            of_scenario.0 += 1;
            of_scenario.1 += u64::from(decision != "approve");
        }
    }
    println!("\n  {:<24}{:>9}{:>9}  of the show alone", "risk", "payments", "fraud");
    for decision in ["decline", "block_and_review", "review", "approve"] {
        let (payments, frauds) = decisions.get(decision).copied().unwrap_or_default();
        println!("    {decision:<22}{payments:>9}{frauds:>9}");
    }
    let found: Vec<String> =
        scenarios.iter().map(|(scenario, (all, found))| format!("{} {found} of {all}", scenario.as_str())).collect();
    if !found.is_empty() {
        println!("    fraud not approved: {}", found.join(", "));
    }
    Ok(())
}

async fn sentiment(url: &str, stream: &Stream) -> anyhow::Result<()> {
    let labels = answers::sentiments(url, &stream.pipeline).await?;
    println!("\n  {:<24}{:>9}{:>9}", "sentiment", "messages", "share");
    let total: i64 = labels.iter().map(|(_, count)| count).sum();
    for (label, count) in &labels {
        println!("    {label:<22}{count:>9}{:>7.0} %", *count as f64 / total.max(1) as f64 * 100.0);
    }
    Ok(())
}

/// Each list beside the rating that followed it. Every rating of the show counts: of new users, and of films that were never seen before.
async fn recommend(url: &str, stream: &Stream, sample: &Sample) -> anyhow::Result<()> {
    let lists = answers::lists(url, &stream.pipeline).await?;
    let followed: HashMap<(&str, i64), &str> =
        sample.asked().iter().map(|rating| ((&*rating.user, rating.time.as_millisecond()), &*rating.item)).collect();
    let mut labels: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for list in &lists {
        let Some(rated) = followed.get(&(&*list.user, list.event_time_ms)) else { continue };
        let (all, hits) = labels.entry(&list.label).or_default();
        *all += 1;
        *hits += u64::from(list.items.iter().any(|item| item == rated));
    }
    println!("\n  {:<24}{:>9}{:>9}  held the film that was rated next", "recommend, lists of 10", "lists", "hits");
    let all = labels.values().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    for (label, (lists, hits)) in labels.into_iter().chain([("all", all)]) {
        println!("    {label:<22}{lists:>9}{hits:>9}{:>7.1} %", hits as f64 / lists.max(1) as f64 * 100.0);
    }
    println!("    The rows are other users: first ratings are of films that many rate.");
    Ok(())
}

/// How the bad events of a stream ended; each must be in a dead letter of its own.
fn bad(stream: &Stream) -> bool {
    let letters = stream.view.snapshot().letters;
    let mut complete = true;
    for (kind, (what, payload)) in stream.bad.iter().enumerate() {
        let ended: Vec<(&str, u64)> =
            letters.iter().filter(|((of, _), _)| of == payload).map(|((_, code), count)| (&**code, *count)).collect();
        let sent = stream.sent_of_kind(kind);
        complete &= ended.iter().map(|(_, count)| count).sum::<u64>() == sent;
        let ends: Vec<String> = ended.iter().map(|(code, count)| format!("dead letter `{code}` {count}")).collect();
        let ends = if ends.is_empty() { "nothing".to_owned() } else { ends.join(", ") };
        println!("    {:<10}{what:<24}{sent:>6}  {}", stream.function, if sent == 0 { "not sent" } else { &ends });
    }
    complete
}
