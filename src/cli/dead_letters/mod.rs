//! `millrace dead-letters`: what could not be scored, looked at and dealt with.

mod redrive;
mod show;

use super::common::{self, Usage};
use crate::config::{Config, Pipeline};
use crate::lifecycle::Exit;
use crate::record::RecordId;
use crate::store::postgres::{DeadLetter, Filter, Mark, PostgresStore};
use crate::worker::look::instant;
use std::collections::BTreeMap;
use std::path::PathBuf;

const STATEMENT_TIMEOUT_MS: u64 = 600_000;

/// Looks at dead letters, sends their events through the pipeline again, or puts them aside. Payloads show only when asked for.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  millrace dead-letters list --config deploy/millrace.toml --pipeline sentiment --reason invalid_json\n  millrace dead-letters show sentiment/1/chat/3/1042/0 --payload\n  millrace dead-letters redrive --reason missing_field --since 2026-01-01\n  millrace dead-letters discard sentiment/1/chat/3/1042/0 --note 'a test message'\n\nExit codes: 0 done, 1 failed or refused, 2 wrong usage or config."
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// The config file.
    #[arg(long, short, default_value = "millrace.toml", global = true)]
    config: PathBuf,
    /// The pipeline; may be left out when the config has one alone.
    #[arg(long, short, global = true)]
    pipeline: Option<String>,
    /// JSON instead of text; one document a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// One line a dead letter, the newest first; never its payload.
    List {
        #[command(flatten)]
        which: Which,
        /// Those alone that nobody has dealt with.
        #[arg(long)]
        open: bool,
    },
    /// One dead letter: reason, headers and key; the payload with --payload.
    Show {
        /// pipeline/run/topic/partition/offset/n
        id: RecordId,
        /// Also the payload.
        #[arg(long)]
        payload: bool,
    },
    /// Writes events back to the input topic, as they came, into the same partition: they are scored again as new events.
    Redrive {
        /// pipeline/run/topic/partition/offset/n
        ids: Vec<RecordId>,
        #[command(flatten)]
        which: Which,
        /// Also those whose redrive was cut off, which may stand in the input topic already.
        #[arg(long)]
        again: bool,
    },
    /// Marks dead letters as put aside.
    Discard {
        /// pipeline/run/topic/partition/offset/n
        #[arg(required = true)]
        ids: Vec<RecordId>,
        /// Why.
        #[arg(long)]
        note: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The reason's code, for example `invalid_json`.
    #[arg(long)]
    reason: Option<String>,
    /// Decided at or after this date or time (RFC 3339; UTC without a zone).
    #[arg(long)]
    since: Option<String>,
    /// Decided before this date or time.
    #[arg(long)]
    until: Option<String>,
    /// At most so many, the newest. Default: `list` shows 100, `redrive` takes all.
    #[arg(long)]
    limit: Option<u32>,
}

/// How many `list` shows.
const LISTED: u32 = 100;

impl Which {
    fn narrows(&self) -> bool {
        self.reason.is_some() || self.since.is_some() || self.until.is_some() || self.limit.is_some()
    }

    fn filter(&self) -> Result<Filter, Usage> {
        Ok(Filter {
            reason: self.reason.clone(),
            since: self.since.as_deref().map(time).transpose()?,
            until: self.until.as_deref().map(time).transpose()?,
            limit: self.limit.map(i64::from),
            ..Filter::default()
        })
    }
}

/// A date or a time as RFC 3339.
fn time(text: &str) -> Result<String, Usage> {
    instant(text)
        .map(|time| time.to_string())
        .ok_or_else(|| Usage(format!("{text:?} is no time; write 2026-01-31 or 2026-01-31T12:00:00Z")))
}

pub async fn run(args: Args, env: &BTreeMap<String, String>) -> anyhow::Result<Exit> {
    let config = Config::load(&args.config, env)?;
    let pipeline = common::pipeline(&config, args.pipeline.as_deref())?;
    let store = common::store(&config, STATEMENT_TIMEOUT_MS).await?;
    match &args.command {
        Command::List { which, open } => {
            let limit = which.limit.unwrap_or(LISTED);
            let handling = open.then(|| "open".to_owned());
            let filter = Filter { handling, limit: Some(i64::from(limit) + 1), ..which.filter()? };
            let mut letters = store.dead_letters(&pipeline.name, &filter).await?;
            let more = letters.len() > limit as usize;
            letters.truncate(limit as usize);
            show::list(&letters, more, args.json)?;
            Ok(Exit::Done)
        }
        Command::Show { id, payload } => {
            let letters = by_id(&store, pipeline, std::slice::from_ref(id)).await?;
            letters.first().map_or(Ok(()), |letter| show::one(letter, *payload, args.json))?;
            Ok(Exit::Done)
        }
        Command::Redrive { ids, which, again } => {
            let ids = match (ids.is_empty(), which.narrows()) {
                (false, true) => {
                    return Err(
                        Usage("name ids, or say which ones by --reason, --since, --until and --limit, not both".into()).into()
                    );
                }
                (false, false) => ids.clone(),
                (true, _) if which.reason.is_none() => return Err(Usage("name ids, or a --reason".into()).into()),
                (true, _) => open(&store, pipeline, which, *again).await?,
            };
            redrive::run(&config, pipeline, &store, ids, *again, args.json).await
        }
        Command::Discard { ids, note } => {
            let letters = by_id(&store, pipeline, ids).await?;
            let open = |letter: &&DeadLetter| matches!(&*letter.handling, "open" | "redriving");
            let wanted: Vec<_> = letters.iter().filter(open).map(|letter| (letter.id.clone(), letter.mark)).collect();
            let marked = store.mark(&pipeline.name, &wanted, Mark::Discarded, note.as_deref()).await?;
            let mut exit = Exit::Done;
            for letter in &letters {
                let done = marked.iter().any(|(id, _)| *id == letter.id);
                let handling = match (done, open(&letter)) {
                    (true, _) => "discarded",
                    (false, true) => "somebody else has dealt with it at this moment",
                    (false, false) => &letter.handling,
                };
                show::handled(&letter.id, handling, done, args.json)?;
                if !done {
                    exit = Exit::Failed;
                }
            }
            Ok(exit)
        }
    }
}

/// Those that nobody has dealt with, by filter; with `again` also those that were cut off. In the order of the log.
async fn open(store: &PostgresStore, pipeline: &Pipeline, which: &Which, again: bool) -> anyhow::Result<Vec<RecordId>> {
    let mut ids = Vec::new();
    for handling in if again { &["open", "redriving"][..] } else { &["open"] } {
        let filter = Filter { handling: Some((*handling).to_owned()), ..which.filter()? };
        ids.extend(store.dead_letter_ids(&pipeline.name, &filter).await?);
    }
    ids.truncate(which.limit.map_or(usize::MAX, |limit| limit as usize));
    ids.sort();
    Ok(ids)
}

/// All of these, in the order given; a failure when one is not there.
async fn by_id(store: &PostgresStore, pipeline: &Pipeline, ids: &[RecordId]) -> anyhow::Result<Vec<DeadLetter>> {
    if let Some(id) = ids.iter().find(|id| *id.pipeline != *pipeline.name) {
        return Err(Usage(format!("{id} is of another pipeline than `{}`; name it with --pipeline", pipeline.name)).into());
    }
    let mut found: BTreeMap<RecordId, DeadLetter> =
        store.dead_letters_by_id(&pipeline.name, ids).await?.into_iter().map(|letter| (letter.id.clone(), letter)).collect();
    ids.iter()
        .map(|id| found.remove(id).ok_or_else(|| anyhow::anyhow!("there is no dead letter {id}, or it is named twice")))
        .collect()
}
