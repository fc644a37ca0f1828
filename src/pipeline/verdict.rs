//! What P, K, Q and the log say of a partition: whether it goes on and from where, or why it stands. Pure: a claim acts on it, and
//! `run --dry-run` tells it.

use super::safety::{Safety, without};
use crate::config::{OnLostCommits, Start};
use crate::event::TopicPartition;
use crate::publisher::Committed;
use crate::source::LogBounds;
use crate::store::{Mode, PartitionRow};

/// What a pipeline is told, as far as a verdict needs it.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub pipeline: &'a str,
    pub run: i32,
    pub mode: Mode,
    /// Digest of the fold.
    pub fold: Option<&'a str>,
    pub start: Start,
    pub on_lost_commits: OnLostCommits,
}

/// What was found of a partition that has a row.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    pub row: &'a PartitionRow,
    /// What the group has committed; of no meaning in mode `postgres`.
    pub group: Option<Committed>,
    pub bounds: LogBounds,
    /// Partitions of the topic now, and rows of it in this run. Looked at where there is a fold.
    pub partitions: (usize, usize),
}

/// How a partition goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Mode `postgres`: from P, and nothing is published.
    Alone,
    /// From P = Q; the group has no offset yet, so this is committed first.
    CommitFirst(Committed),
    /// From P, once [K, P) is published.
    Publish(Committed),
    /// From P < K, which the database lost: [P, K) is decided again and not published.
    Again(Committed),
}

impl Told<'_> {
    fn who(&self, partition: &TopicPartition) -> String {
        format!("pipeline {} run {} {partition}", self.pipeline, self.run)
    }

    /// How a partition with a row goes on; the error says why it stands, and what to do.
    pub fn verdict(&self, partition: &TopicPartition, found: &Found<'_>) -> Result<Verdict, String> {
        let who = self.who(partition);
        self.same_run(&who, found)?;
        within_the_log(&who, self.fold.is_some(), found)?;
        let (p, q) = (found.row.next_offset, found.row.published_offset);
        if self.mode == Mode::Postgres {
            return Ok(Verdict::Alone);
        }
        let published = match found.group {
            None if q == p || without(Safety::LostOffset) => {
                return Ok(Verdict::CommitFirst(Committed { offset: p, records_total: Some(found.row.records) }));
            }
            None => {
                return Err(format!(
                    "{who}: the group has no committed offset any more, and records of [{q}, {p}) may or may not have been published. \
                     Offsets expired or were deleted. {}",
                    self.look_it_up()
                ));
            }
            Some(k) => k,
        };
        let k = published.offset;
        if k < q && !without(Safety::MovedBack) {
            return Err(format!(
                "{who}: the group's offset {k} is below {q}, and all below {q} was published, perhaps more: the offsets were moved back. \
                 Publishing from there would double records. {} To decide and publish all of it once more, under ids of their own, start a \
                 new run with `millrace adopt`.",
                self.look_it_up()
            ));
        }
        if p < k && without(Safety::LostCommits) {
            return Ok(Verdict::Again(Committed { offset: p, records_total: Some(found.row.records) }));
        }
        if p < k {
            return match self.on_lost_commits {
                OnLostCommits::Reprocess => Ok(Verdict::Again(published)),
                OnLostCommits::Halt => Err(format!(
                    "{who}: the group has published up to {k}, but Postgres has decided only up to {p}: the database lost commits (a \
                     fail-over, a restored backup), is another one, or the offsets were moved forward. Restore the database, or set \
                     `on_lost_commits = \"reprocess\"` to decide [{p}, {k}) again without publishing it."
                )),
            };
        }
        if published.records_total.is_none() {
            return Err(format!(
                "{who}: the group's offset {k} was not written by Millrace, so it does not tell what was published. {}",
                self.look_it_up()
            ));
        }
        Ok(Verdict::Publish(published))
    }

    /// Whether [K, P) has the `rows` that the counts tell of; the error says that it has not.
    pub fn counted(&self, partition: &TopicPartition, row: &PartitionRow, k: Committed, rows: i64) -> Result<(), String> {
        let should = row.records - k.records_total.unwrap_or_default();
        if rows == should || without(Safety::CountRows) || without(Safety::BringBack) {
            return Ok(());
        }
        Err(format!(
            "{}: [{}, {}) should hold {should} records and Postgres has {rows}: rows were deleted or added by hand. Restore them from \
             a backup; nothing newer of this partition is published before. Where an `adopt` was cut off, run it again.",
            self.who(partition),
            k.offset,
            row.next_offset
        ))
    }

    /// Where a partition without a row begins, in a run that has `known` rows of its topic; the error says why it does not.
    pub fn begins(
        &self,
        partition: &TopicPartition,
        group: Option<Committed>,
        known: usize,
        bounds: LogBounds,
    ) -> Result<i64, String> {
        let who = self.who(partition);
        if let Some(k) = group.filter(|_| self.mode == Mode::Both) {
            return Err(format!(
                "{who}: the group has committed offset {} but Postgres has no row for it: this is another database, or the \
                 group was used by another program. Stop the workers and take it over with `millrace adopt` (with `--run N` above the newest \
                 run of a database that was lost), or give the pipeline another name.",
                k.offset
            ));
        }
        match self.start {
            Start::Latest if known == 0 => Ok(bounds.high),
            Start::Earliest if known == 0 => Ok(bounds.low),
            _ if self.fold.is_some() => Err(format!(
                "{who}: the topic has got a new partition: keys have moved to other partitions, away from their states. Stop \
                 the workers and start a new run with `millrace adopt`, which folds the log again."
            )),
            // All that came since the topic has got it.
            _ => Ok(bounds.low),
        }
    }

    fn same_run(&self, who: &str, found: &Found<'_>) -> Result<(), String> {
        let row = found.row;
        if row.mode != self.mode {
            return Err(format!(
                "{who}: the pipeline was running in mode {} and is now configured as {}. Rows and records would not match. Restore \
                 the mode, or stop the workers and start a new run with `millrace adopt`.",
                row.mode.as_str(),
                self.mode.as_str()
            ));
        }
        // States may be written before the first event is decided.
        let has_states = row.fold.is_some() && !without(Safety::StatesHaveFold);
        if (row.events > 0 || has_states) && row.fold.as_deref() != self.fold {
            return Err(format!(
                "{who}: what was decided so far was folded by {}, and the pipeline is now configured with {}: an old state is never \
                 continued by another fold. Restore the settings of the fold, or stop the workers and start a new run with `millrace adopt`, \
                 which folds the log again.",
                fold_name(row.fold.as_deref()),
                fold_name(self.fold)
            ));
        }
        let (now, then) = found.partitions;
        if self.fold.is_some() && now != then {
            return Err(format!(
                "{who}: the topic has {now} partitions and had {then} when the run began: keys have moved to other partitions, away from their \
                 states. Stop the workers and start a new run with `millrace adopt`, which folds the log again."
            ));
        }
        Ok(())
    }

    /// What to do when the group does not tell how far a partition is published. The topics do; Q does not, being a late copy of K.
    fn look_it_up(&self) -> String {
        format!(
            "Stop the workers, run `millrace verify` if in doubt, and set the group's offset by what the output holds with \
             `millrace adopt --config FILE --pipeline {} --published auto`: it shows what it would do, and does it with --yes.",
            self.pipeline
        )
    }
}

/// Where a partition is folded from: S. Of a new run of which nothing is folded yet, the log's start where retention has passed S: there is no state
/// that would miss what is gone.
pub fn folds_from(row: &PartitionRow, bounds: LogBounds) -> i64 {
    let is_new = row.events == 0 && row.fold.is_none();
    if is_new { row.fold_from.max(bounds.low.min(row.next_offset)) } else { row.fold_from }
}

fn within_the_log(who: &str, folds: bool, found: &Found<'_>) -> Result<(), String> {
    let (p, LogBounds { low, high }) = (found.row.next_offset, found.bounds);
    if p > high {
        return Err(format!(
            "{who}: Postgres has decided up to offset {p}, but the log ends at {high}. The topic was deleted and made again, or the \
             broker lost records. Check the topic; to go on with the new log stop the workers and start a new run with \
             `millrace adopt`."
        ));
    }
    if p < low {
        return Err(format!(
            "{who}: offset {p} is the next to decide, but the log starts at {low}: {} offsets were removed by retention before they \
             were decided. To go on without them stop the workers and start a new run with `millrace adopt`.",
            low - p
        ));
    }
    if folds && folds_from(found.row, found.bounds) < low {
        return Err(format!(
            "{who}: states need the events from offset {} on, but the log starts at {low}: they were removed by retention before the states \
             were written. To go on without them stop the workers and start a new run with `millrace adopt`; keep events longer than a \
             worker may be away.",
            found.row.fold_from
        ));
    }
    Ok(())
}

fn fold_name(digest: Option<&str>) -> String {
    digest.map_or("no fold".into(), |digest| format!("the fold {digest}"))
}

#[cfg(test)]
mod tests;
