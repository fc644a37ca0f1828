//! `millrace shadow`: how a pipeline's challenger compares with its champion.

use super::common;
use crate::config::{Config, Span};
use crate::lifecycle::Exit;
use crate::record::record_id;
use crate::store::postgres::{ShadowFlip, Versus};
use crate::telemetry::{ShadowCounts, ks, psi};
use crate::worker::shadow::rows;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

const STATEMENT_TIMEOUT_MS: u64 = 60_000;
/// Shares of the differences that are told.
const SHARES: [f64; 3] = [0.05, 0.5, 0.95];

/// Shows what the shadow of a pipeline has come to: agreement, flips, how far scores moved, and some of the events on which the two differ.
///
/// Workers write what they have counted every 5 s. An event that a worker has answered a second time after a fall is compared a second time.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace shadow chat --config millrace.toml\n  millrace shadow chat --since 1h --flips 50 --json\n\nExit codes: 0 shown, 1 failed, 2 wrong usage or config."
)]
pub struct Args {
    /// The pipeline; may be left out when the config has one alone.
    pipeline: Option<String>,
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml")]
    config: PathBuf,
    /// How far back, by whole hours.
    #[arg(long, value_name = "AGE", default_value = "1d")]
    since: Span,
    /// Events on which the two differ, the newest first.
    #[arg(long, default_value_t = 10)]
    flips: u16,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// One champion against one challenger.
struct Duel {
    counts: ShadowCounts,
    flips: Vec<ShadowFlip>,
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let pipeline = common::pipeline(&config, args.pipeline.as_deref())?;
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    let since_ms = args.since.ms();
    let mut duels: Vec<(Versus, Duel)> = Vec::new();
    for (versus, row) in store.shadow_counts(&pipeline.name, since_ms).await? {
        let known = duels.iter().position(|(of, _)| *of == versus);
        let place = known.unwrap_or_else(|| {
            duels.push((versus, Duel { counts: ShadowCounts::default(), flips: Vec::new() }));
            duels.len() - 1
        });
        rows::add(&mut duels[place].1.counts, &row);
    }
    for (versus, flip) in store.shadow_flips(&pipeline.name, since_ms, i64::from(args.flips)).await? {
        if let Some((_, duel)) = duels.iter_mut().find(|(of, _)| *of == versus) {
            duel.flips.push(flip);
        }
    }
    if args.json {
        let all: Vec<Value> = duels.iter().map(|(versus, duel)| told(versus, duel)).collect();
        common::print_json(&json!({ "pipeline": pipeline.name, "since": args.since.to_string(), "shadows": all }))?;
    } else {
        print!("{}", text(&pipeline.name, args.since, &duels, pipeline.shadow.is_some()));
    }
    Ok(Exit::Done)
}

fn told(versus: &Versus, Duel { counts, flips }: &Duel) -> Value {
    let pairs: Vec<Value> = counts
        .flips
        .iter()
        .map(|((champion, challenger), count)| json!({ "champion": champion, "challenger": challenger, "events": count }))
        .collect();
    let some: Vec<Value> = flips
        .iter()
        .map(|flip| {
            json!({
                "id": id(versus, flip),
                "champion": { "label": flip.champion_label, "score": flip.champion_score },
                "challenger": { "label": flip.challenger_label, "score": flip.challenger_score },
            })
        })
        .collect();
    let quantile = |share: f64| counts.differences.quantile(share);
    json!({
        "champion": versus.champion, "champion_config": versus.champion_config,
        "challenger": versus.challenger, "challenger_config": versus.challenger_config,
        "compared": counts.compared, "agreement": counts.agreement(), "flipped": counts.flipped(), "flips": pairs,
        "dropped": counts.dropped, "failed": counts.failed,
        "scores": {
            "compared": counts.differences.total(), "mean_difference": counts.differences.mean(),
            "difference_p5": quantile(SHARES[0]), "difference_p50": quantile(SHARES[1]), "difference_p95": quantile(SHARES[2]),
            "champion_mean": counts.champion.mean(), "challenger_mean": counts.challenger.mean(),
            "psi": psi(&counts.champion, &counts.challenger), "ks": ks(&counts.champion, &counts.challenger),
        },
        "newest_flips": some,
    })
}

fn id(versus: &Versus, flip: &ShadowFlip) -> String {
    record_id(&versus.pipeline, flip.run, &flip.topic, flip.partition, flip.offset, 0)
}

fn text(pipeline: &str, since: Span, duels: &[(Versus, Duel)], configured: bool) -> String {
    let mut out = format!("pipeline {pipeline}, the last {since}\n");
    if duels.is_empty() {
        out += match configured {
            true => "  nothing was compared; a worker's /status says how its shadow is\n",
            false => "  nothing was compared, and the config has no [pipeline.shadow] for it\n",
        };
    }
    for (versus, duel) in duels {
        let named = |model: &str| if model.is_empty() { "(no model)".to_owned() } else { common::escaped(model) };
        let (champion, challenger) = (named(&versus.champion), named(&versus.challenger));
        let counts = &duel.counts;
        out += &format!(
            "champion {champion} (config {}), challenger {challenger} (settings {})\n",
            versus.champion_config, versus.challenger_config
        );
        let agreement = counts.agreement().map_or_else(|| "unknown".to_owned(), |share| format!("{:.2} %", share * 100.0));
        out += &format!(
            "  {} events compared, agreement {agreement}; {} found no place, {} failed\n",
            counts.compared, counts.dropped, counts.failed
        );
        let mut pairs: Vec<_> = counts.flips.iter().collect();
        pairs.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
        for ((one, other), count) in pairs {
            out += &format!("  {} -> {}: {count}\n", common::escaped(one), common::escaped(other));
        }
        out += &scores(counts);
        for flip in &duel.flips {
            let side = |label: &str, score: Option<f64>| match score {
                Some(score) => format!("{} {score:.4}", common::escaped(label)),
                None => common::escaped(label),
            };
            let (one, other) =
                (side(&flip.champion_label, flip.champion_score), side(&flip.challenger_label, flip.challenger_score));
            out += &format!("    {}  {one} -> {other}\n", common::escaped(&id(versus, flip)));
        }
    }
    out
}

fn scores(counts: &ShadowCounts) -> String {
    let differences = &counts.differences;
    let Some(mean) = differences.mean() else { return String::new() };
    let [low, middle, high] = SHARES.map(|share| differences.quantile(share).unwrap_or_default());
    let number = |known: Option<f64>| known.map_or_else(|| "unknown".to_owned(), |number| format!("{number:.3}"));
    let (psi, ks) = (psi(&counts.champion, &counts.challenger), ks(&counts.champion, &counts.challenger));
    format!(
        "  scores, challenger less champion: mean {mean:+.4}; about 5 % below {low:+.4}, half below {middle:+.4}, 95 % below {high:+.4}\n  \
         PSI {}, KS {} (over bins)\n",
        number(psi),
        number(ks)
    )
}
