//! Records by id, event or key, and how far was looked for them.

use super::asked::{self, micros, wanted_time};
use super::{About, Records, away, hidden};
use crate::admin::{ApiError, By, RecordsAsked, RecordsFound};
use crate::store::postgres::{Found, Looked, Place, Reached, Search, Wanted};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long records are read back when nothing but their key is known.
const SEARCH: Duration = Duration::from_millis(2_500);
/// A value in a list; a larger one is shown by its id.
const LISTED_BYTES: i64 = 64 << 10;

impl Records {
    pub(super) async fn find(&self, asked: RecordsAsked) -> Result<RecordsFound, ApiError> {
        let mut found = match &asked.by {
            By::Id(text) => self.by_id(&asked, text).await?,
            By::Event(text) => self.by_place_or_event(&asked, text).await?,
            By::Key(key) => self.by_key(&asked, key).await?,
            By::Any(text) => self.by_any(&asked, text).await?,
        };
        found.payloads_shown = self.show_payloads;
        if !self.show_payloads {
            found.notes.push(hidden::NOTE.to_owned());
        }
        Ok(found)
    }

    async fn by_id(&self, asked: &RecordsAsked, text: &str) -> Result<RecordsFound, ApiError> {
        let (pipeline, place) = asked::record_id(text)?;
        let about = self.known(&pipeline, "id")?;
        if asked.pipeline.as_ref().is_some_and(|named| *named != pipeline) {
            let message = format!("the id is of pipeline `{pipeline}`; leave `pipeline` out");
            return Err(ApiError::refused("pipeline", message));
        }
        self.at(&[about], &place, asked.limit).await
    }

    async fn by_place_or_event(&self, asked: &RecordsAsked, text: &str) -> Result<RecordsFound, ApiError> {
        let meant = self.meant(asked.pipeline.as_deref())?;
        let Some(place) = asked::place(text, meant.iter().flat_map(|about| &about.topics)) else {
            return self.by_event(asked, text, &meant).await;
        };
        let reads = |about: &&About| about.topics.iter().any(|topic| **topic == *place.topic);
        let reading: Vec<&About> = meant.into_iter().filter(reads).collect();
        self.at(&reading, &place, asked.limit).await
    }

    /// What the text reads as; what is neither an id nor a place is looked for as an event's id and as a key.
    async fn by_any(&self, asked: &RecordsAsked, text: &str) -> Result<RecordsFound, ApiError> {
        let text = text.trim();
        if asked::record_id(text).is_ok_and(|(pipeline, _)| self.known(&pipeline, "q").is_ok()) {
            return self.by_id(asked, text).await;
        }
        let meant = self.meant(asked.pipeline.as_deref())?;
        if asked::place(text, meant.iter().flat_map(|about| &about.topics)).is_some() {
            return self.by_place_or_event(asked, text).await;
        }
        let (mut found, by_key) = (self.by_event(asked, text, &meant).await?, self.by_key(asked, text).await?);
        let known: BTreeSet<String> = found.records.iter().map(|record| record.id.clone()).collect();
        found.records.extend(by_key.records.into_iter().filter(|record| !known.contains(&record.id)));
        found.records.sort_by(|one, other| other.decided_at.cmp(&one.decided_at));
        found.complete &= by_key.complete && found.records.len() <= asked.limit;
        found.records.truncate(asked.limit);
        let told =
            |of: &str, notes: Vec<String>| -> Vec<String> { notes.into_iter().map(|note| format!("{of} {note}")).collect() };
        found.notes = told("As an event's id:", found.notes);
        found.notes.extend(told("As a key:", by_key.notes));
        Ok(found)
    }

    /// Records of a place, and where there are none why.
    async fn at(&self, of: &[&About], place: &Place, limit: usize) -> Result<RecordsFound, ApiError> {
        let names: Vec<&str> = of.iter().map(|about| about.name.as_str()).collect();
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let (reached, mut rows) = self.look.at(&names, place, most.saturating_add(1), i64::MAX).await.map_err(away)?;
        let complete = rows.len() <= limit;
        rows.truncate(limit);
        let mut notes = Vec::new();
        if rows.is_empty() {
            notes = why_none(&names, place, &reached);
        } else if !complete {
            notes.push(format!("These are the first {limit}; name one with /n behind its offset, or raise `limit`."));
        }
        Ok(RecordsFound {
            records: rows.into_iter().map(|row| self.record(row)).collect(),
            complete,
            notes,
            ..RecordsFound::default()
        })
    }

    async fn by_event(&self, asked: &RecordsAsked, id: &str, meant: &[&About]) -> Result<RecordsFound, ApiError> {
        let (with, without): (Vec<&About>, Vec<&About>) = meant.iter().partition(|about| about.event_id.is_some());
        let mut found = RecordsFound { complete: true, ..RecordsFound::default() };
        if !with.is_empty() {
            let paths = with.iter().filter_map(|about| about.event_id.clone()).collect();
            let wanted = Wanted::Field { paths, value: id.to_owned() };
            found = self.search(asked, &with, wanted, Vec::new()).await?;
        }
        if !without.is_empty() {
            found.complete = false;
            let names: Vec<String> = without.iter().map(|about| format!("`{}`", about.name)).collect();
            found.notes.push(format!(
                "Records of {} do not hold the event's own id, so that none of them was looked at. Look by key, by place \
                 (topic/partition/offset) or by the record's id; `pass_event` in a pipeline's options writes the event, and its id, into each record.",
                names.join(", ")
            ));
        }
        found.notes.push("Dead letters hold their event as it came: /dead-letters lists them by reason and time.".to_owned());
        Ok(found)
    }

    async fn by_key(&self, asked: &RecordsAsked, key: &str) -> Result<RecordsFound, ApiError> {
        let meant = self.meant(asked.pipeline.as_deref())?;
        let keeping = meant.iter().filter(|about| about.keeps_latest);
        let outputs: Vec<(&str, &str)> = keeping.map(|about| (about.name.as_str(), about.out_topic.as_str())).collect();
        let (since, until) = (wanted_time("since", asked.since.as_deref())?, wanted_time("until", asked.until.as_deref())?);
        let latest = match outputs[..] {
            [] => Vec::new(),
            _ => self.look.latest(&outputs, key.as_bytes(), LISTED_BYTES).await.map_err(away)?,
        };
        let at = |row: &Looked| micros(&row.decided_at).unwrap_or_default();
        let within = |row: &Looked| since.is_none_or(|since| at(row) >= since) && until.is_none_or(|until| at(row) < until);
        let latest: Vec<Looked> = latest.into_iter().filter(within).collect();
        self.search(asked, &meant, Wanted::Key(key.as_bytes().to_vec()), latest).await
    }

    /// Looks back through the records of these pipelines; `known` are found already.
    async fn search(
        &self,
        asked: &RecordsAsked,
        of: &[&About],
        wanted: Wanted,
        known: Vec<Looked>,
    ) -> Result<RecordsFound, ApiError> {
        let names: Vec<&str> = of.iter().map(|about| about.name.as_str()).collect();
        let search = Search {
            pipelines: &names,
            since: wanted_time("since", asked.since.as_deref())?,
            until: wanted_time("until", asked.until.as_deref())?,
            wanted,
            limit: asked.limit,
            time: SEARCH,
            value_bytes: LISTED_BYTES,
        };
        let turn = self.turn().await?;
        let found = self.look.search(&search).await.map_err(away)?;
        drop(turn);
        let (mut notes, complete) = (vec![told(&found, &search)], !found.more);
        if !known.is_empty() {
            notes.push(
                "The newest record of each key of an output with `keep = \"latest\"` comes from the table `latest`.".to_owned(),
            );
        }
        let ids: BTreeSet<_> = found.records.iter().map(|row| row.id.clone()).collect();
        let mut rows: Vec<Looked> = known.into_iter().filter(|row| !ids.contains(&row.id)).chain(found.records).collect();
        rows.sort_by(|one, other| other.decided_at.cmp(&one.decided_at));
        rows.truncate(asked.limit);
        let records = rows.into_iter().map(|row| self.record(row)).collect();
        Ok(RecordsFound { records, complete, notes, ..RecordsFound::default() })
    }
}

/// Why a place has no record.
fn why_none(names: &[&str], place: &Place, reached: &[Reached]) -> Vec<String> {
    let at = format!("{}/{}", place.topic, place.partition);
    if reached.is_empty() {
        let run = place.run.map_or_else(String::new, |run| format!("Run {run} of "));
        return vec![format!("{run}`{}` has not worked on {at}, or that partition's row was deleted.", names.join("`, `"))];
    }
    let offset = place.offset;
    let why = |one: &Reached| {
        let of = format!("run {} of `{}`", one.run, one.pipeline);
        match one.start_offset {
            Some(start) if offset < start => format!("Offset {offset} of {at} is before the beginning of {of}, {start}."),
            _ if offset >= one.next_offset => {
                format!("Offset {offset} of {at} is not decided yet: {of} has decided all below {}.", one.next_offset)
            }
            _ => format!(
                "Offset {offset} of {at} is decided, and {of} has no such record: its event was skipped, no event stands there, or the row was \
                 deleted."
            ),
        }
    };
    reached.iter().map(why).collect()
}

/// How far was looked, and what to do about it.
fn told(found: &Found, search: &Search<'_>) -> String {
    let index =
        || search.wanted.index().map(|text| format!(", or make an index, which costs each record that is written: {text}"));
    match (found.looked_at, found.reached) {
        (None, _) => "An index was asked, so that all records were looked at.".to_owned(),
        (Some(rows), None) => format!("All {rows} records of that time were looked at; none is further back."),
        (Some(rows), Some(reached)) => {
            let back =
                jiff::Timestamp::from_microsecond(reached).map_or_else(|_| reached.to_string(), |time| format!("{time:.0}"));
            let enough = if found.records.len() >= search.limit { "There may be more" } else { "The time for a look-up is over" };
            format!(
                "Looked at {rows} records, back to {back}. {enough}: narrow by `pipeline`, `since` and `until`{}.",
                index().unwrap_or_default()
            )
        }
    }
}
