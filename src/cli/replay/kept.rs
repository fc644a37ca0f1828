//! Replays that are written down: found again, listed, removed.

use super::plan::{Plan, Told};
use super::{Args, Which};
use crate::cli::common::{self, Usage};
use crate::config::{Config, Pipeline};
use crate::lifecycle::Exit;
use crate::store::Store;
use crate::store::postgres::{PostgresStore, Replay};
use crate::worker::replay::RUN;
use anyhow::{Context, bail};
use serde_json::json;
use std::collections::BTreeMap;

/// Deleting takes long on a large table.
const STATEMENT_TIMEOUT_MS: u64 = 600_000;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The replays of a pipeline, and how far they are.
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Deletes the rows of a replay. Needs the role millrace_owner. Shows what it would do; --yes does it.
    ///
    /// In Kafka everything stays: what it wrote to a side topic, and its consumer group PIPELINE.replay-NUMBER. The cluster forgets the group by
    /// itself after offsets.retention.minutes; kafka-consumer-groups.sh --delete --group does so at once.
    Remove {
        /// Its number.
        number: i32,
        #[command(flatten)]
        which: Which,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// A replay and its plan.
pub struct Kept {
    pub number: i32,
    pub plan: Plan,
    pub done: bool,
}

impl Kept {
    /// `None` when there is none of that number. One that was removed is an error.
    pub async fn find(store: &PostgresStore, pipeline: &Pipeline, number: i32) -> anyhow::Result<Option<Self>> {
        let Some(row) = store.replays(&pipeline.name).await?.into_iter().find(|row| row.number == number) else {
            return Ok(None);
        };
        if let Some(at) = row.removed_at {
            return Err(Usage(format!("replay {number} of `{}` was removed at {at}; take another --id", pipeline.name)).into());
        }
        Ok(Some(Self { number, plan: plan_of(&row)?, done: row.done_at.is_some() }))
    }

    /// It goes on with what it was begun with, or not at all: half of its rows would say something else.
    pub fn agrees(&self, told: &Told, args: &Args) -> Result<(), Usage> {
        let number = self.number;
        if *told != self.plan.told {
            let words = |told: &Told| {
                let fold = told.fold.as_deref().map_or_else(String::new, |fold| format!(", fold {fold}"));
                let version = told.version.as_deref().map_or_else(String::new, |name| format!(", version {name}"));
                format!("{}, model {:?}, config {}{fold}{version}", told.function, told.model, told.config)
            };
            return Err(Usage(format!(
                "replay {number} was begun with {}, and this config gives {}: give that config, or begin another replay, without --id {number}",
                words(&self.plan.told),
                words(told)
            )));
        }
        let asked = &self.plan.asked;
        let differs = [
            ("--from", args.from.is_some_and(|from| from != asked.from)),
            ("--until", args.until.is_some_and(|until| Some(until) != asked.until)),
            ("--fold-from", args.fold_from.is_some_and(|from| Some(from) != asked.fold_from)),
            ("--partition", args.partition.is_some_and(|partition| Some(partition) != asked.partition)),
            ("--publish-to", args.publish_to.is_some() && args.publish_to != asked.publish_to),
        ];
        match differs.iter().find(|(_, differs)| *differs) {
            Some((option, _)) => Err(Usage(format!(
                "replay {number} was begun with another {option}; leave it out, or begin another replay, without --id {number}"
            ))),
            None => Ok(()),
        }
    }
}

fn plan_of(row: &Replay) -> anyhow::Result<Plan> {
    serde_json::from_str(&row.plan)
        .with_context(|| format!("what replay {} was asked for cannot be read: another version wrote it", row.number))
}

pub async fn run(command: Command, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let which = match &command {
        Command::List { which } | Command::Remove { which, .. } => which,
    };
    let config = Config::load(&which.config, env)?;
    let pipeline = common::pipeline(&config, which.pipeline.as_deref())?;
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    match command {
        Command::List { which } => list(pipeline, &store, which.json).await?,
        Command::Remove { number, which, yes } => remove(pipeline, &store, number, which.json, yes).await?,
    }
    Ok(Exit::Done)
}

/// Offsets of a replay that are decided, and all.
async fn progress(store: &PostgresStore, row: &Replay, plan: &Plan) -> anyhow::Result<(i64, i64)> {
    let (mut done, mut all) = (0, 0);
    for stretch in plan.work() {
        let rows = store.partitions(&row.name, RUN, &stretch.topic).await?;
        let at = rows.iter().find(|(number, _)| *number == stretch.partition).map_or(stretch.from, |(_, row)| row.next_offset);
        // Behind the last event nothing has to be decided.
        done += if row.done_at.is_some() { stretch.len() } else { at.clamp(stretch.from, stretch.until) - stretch.from };
        all += stretch.len();
    }
    Ok((done, all))
}

async fn list(pipeline: &Pipeline, store: &PostgresStore, as_json: bool) -> anyhow::Result<()> {
    let rows = store.replays(&pipeline.name).await?;
    let rows: Vec<&Replay> = rows.iter().filter(|row| row.removed_at.is_none()).collect();
    if rows.is_empty() && !as_json {
        println!("{} has no replays", pipeline.name);
    }
    for row in rows {
        let plan = plan_of(row)?;
        let (done, all) = progress(store, row, &plan).await?;
        if as_json {
            common::print_json(&json!({
                "id": row.number, "name": row.name, "made_at": row.made_at, "made_by": row.made_by, "done_at": row.done_at,
                "offsets_decided": done, "offsets": all, "plan": plan,
            }))?;
            continue;
        }
        let until = plan.asked.until.map_or_else(|| "the log's end".to_owned(), |until| until.to_string());
        let state = row.done_at.as_ref().map_or_else(|| format!("{done} of {all} offsets"), |at| format!("done at {at}"));
        let told = &plan.told;
        let version = told.version.as_deref().map_or_else(String::new, |name| format!(" version {name}"));
        println!(
            "{:4}  {}  {state}  from {} until {until}  {} {} config {}{version}  by {}",
            row.number, row.made_at, plan.asked.from, told.function, told.model, told.config, row.made_by
        );
    }
    Ok(())
}

async fn remove(pipeline: &Pipeline, store: &PostgresStore, number: i32, as_json: bool, yes: bool) -> anyhow::Result<()> {
    let rows = store.replays(&pipeline.name).await?;
    let row = rows.iter().find(|row| row.number == number && row.removed_at.is_none());
    let Some(row) = row else {
        return Err(Usage(format!("there is no replay {number} of `{}`; look with `millrace replay list`", pipeline.name)).into());
    };
    let Some(_lock) = store.lock_replay(&row.name).await? else {
        bail!("a process is at replay {number} of `{}`; stop it first", pipeline.name);
    };
    let records = if yes { Some(store.remove_replay(&pipeline.name, row).await?) } else { None };
    if as_json {
        return common::print_json(
            &json!({ "done": yes, "id": number, "name": row.name, "records": records, "group_left_in_kafka": row.name }),
        );
    }
    match records {
        Some(records) => println!(
            "Replay {number} is removed, with {records} records. Its consumer group {} stays in Kafka until the cluster forgets it.",
            row.name
        ),
        None => println!("The rows of {} would be deleted. Nothing was changed. Add --yes to do it.", row.name),
    }
    Ok(())
}
