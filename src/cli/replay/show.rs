//! How a replay is shown: its plan, how far it is, how it ended, its report.

use super::kept::Kept;
use super::plan::Plan;
use super::report::Report;
use super::{Args, estimate};
use crate::cli::common;
use crate::config::Pipeline;
use crate::lifecycle::Exit;
use crate::pipeline::{Ended, PartitionView};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;

/// What would be done.
pub fn plan(args: &Args, pipeline: &Pipeline, plan: &Plan, known: Option<&Kept>, speed: Option<f64>) -> anyhow::Result<Exit> {
    let (scored, folded) = plan.offsets();
    let rate = [args.rate, speed].into_iter().flatten().min_by(f64::total_cmp);
    let seconds = rate.map(|rate| (scored + folded) as f64 / rate);
    if args.which.json {
        let number = known.map(|kept| kept.number);
        common::print_json(
            &serde_json::json!({ "done": false, "id": number, "plan": plan, "offsets_scored": scored, "offsets_folded": folded, "estimated_s": seconds }),
        )?;
        return Ok(Exit::Done);
    }
    match known {
        Some(kept) => println!("replay {} of {}{}:", kept.number, pipeline.name, if kept.done { ", which is done" } else { "" }),
        None => println!("a new replay of {}:", pipeline.name),
    }
    print!("{plan}");
    if let Some(seconds) = seconds {
        println!("  it would take about {}", estimate::words(seconds));
    }
    println!("Nothing was changed. Add --yes to do it.");
    Ok(Exit::Done)
}

/// How far it is, on a terminal.
pub fn bar(plan: &Plan) -> impl Fn(&[PartitionView]) + Send + Sync + 'static {
    let froms: BTreeMap<(String, i32), i64> =
        plan.work().map(|stretch| ((stretch.topic.clone(), stretch.partition), stretch.from)).collect();
    let bar = ProgressBar::new(plan.offsets().0 as u64).with_prefix("replaying").with_style(
        ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {eta}").unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    move |views| {
        let done = |view: &PartitionView| {
            let from = froms.get(&(view.topic.clone(), view.partition)).copied().unwrap_or(view.next_offset);
            (view.next_offset - from).max(0) as u64
        };
        bar.set_position(views.iter().map(done).sum());
    }
}

/// What a replay that did not come to its end says.
pub fn ended(ended: Ended, number: i32) -> anyhow::Result<Exit> {
    match ended {
        Ended::Drained | Ended::Abandoned => {
            eprintln!("Stopped before its end. --id {number} goes on.");
            Ok(Exit::NotDrained)
        }
        Ended::Halted(reason) => {
            eprintln!(
                "millrace: the replay halted: {reason} A replay has nothing to adopt: where it cannot go on, start another one."
            );
            Ok(Exit::Halted)
        }
        Ended::Failed(reason) => bail!("the replay failed, --id {number} goes on: {reason}"),
    }
}

/// To the file, and to standard output.
pub fn tell(args: &Args, report: &Report, plan: &Plan) -> anyhow::Result<()> {
    let value = report.json(plan);
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&value)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}; --id prints the report again", path.display()))?;
    }
    if args.which.json {
        return common::print_json(&value);
    }
    print!("{report}");
    Ok(())
}
