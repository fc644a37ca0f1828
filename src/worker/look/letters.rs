//! Dead letters, counted by reason and listed.

use super::asked::wanted_time;
use super::{Records, away, hidden, readable};
use crate::admin::{ApiError, LetterEvent, LetterFound, LettersAsked, LettersCounted, LettersFound};
use crate::store::postgres::{Letter, LetterCount, LetterFilter};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Bytes of each event's payload in a list; a whole number of times three.
const PAYLOAD_BYTES: i32 = 3_072;

impl Records {
    pub(super) async fn list(&self, asked: LettersAsked) -> Result<LettersFound, ApiError> {
        let meant = self.meant(asked.pipeline.as_deref())?;
        let names: Vec<&str> = meant.iter().map(|about| about.name.as_str()).collect();
        let limit = i64::try_from(asked.limit).unwrap_or(i64::MAX);
        let filter = LetterFilter {
            pipelines: &names,
            reason: asked.reason.as_deref(),
            handling: asked.handling.as_deref(),
            since: wanted_time("since", asked.since.as_deref())?,
            until: wanted_time("until", asked.until.as_deref())?,
            limit: limit.saturating_add(1),
            payload_bytes: self.show_payloads.then_some(PAYLOAD_BYTES),
        };
        let turn = self.turn().await?;
        let (counts, counts_complete) = self.look.count_letters(&filter).await.map_err(away)?;
        let mut rows = self.look.letters(&filter).await.map_err(away)?;
        drop(turn);
        let more = rows.len() > asked.limit;
        rows.truncate(asked.limit);
        let mut notes = Vec::new();
        if more {
            notes.push(format!("These are the newest {}; narrow, or raise `limit`.", asked.limit));
        }
        if !counts_complete {
            notes.push("There are too many to count: the newest 100000 of each pipeline are counted. Narrow by time.".to_owned());
        }
        if !self.show_payloads {
            notes.push(hidden::NOTE.to_owned());
        }
        Ok(LettersFound {
            counts: self.counted(counts, &asked),
            counts_complete,
            letters: rows.into_iter().map(|row| self.letter(row)).collect(),
            more,
            notes,
            payloads_shown: self.show_payloads,
        })
    }

    /// One row a pipeline and reason, the most first.
    fn counted(&self, counts: Vec<LetterCount>, asked: &LettersAsked) -> Vec<LettersCounted> {
        let mut all: Vec<LettersCounted> = Vec::new();
        for count in counts {
            let place = all.iter().position(|known| known.pipeline == count.pipeline && known.reason == count.reason);
            let place = place.unwrap_or_else(|| {
                all.push(LettersCounted { pipeline: count.pipeline, reason: count.reason, ..LettersCounted::default() });
                all.len() - 1
            });
            match count.handling.as_str() {
                "open" => all[place].open = count.count,
                "redriving" => all[place].redriving = count.count,
                "redriven" => all[place].redriven = count.count,
                _ => all[place].discarded = count.count,
            }
        }
        for one in all.iter_mut().filter(|one| one.open > 0) {
            let (since, until) = (asked.since.as_deref(), asked.until.as_deref());
            one.command = Some(self.commands.redrive_all(&one.pipeline, &one.reason, since, until));
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.open + one.redriving + one.redriven + one.discarded));
        all
    }

    fn letter(&self, row: Letter) -> LetterFound {
        let detail = row.detail.as_deref();
        let detail = if self.show_payloads { detail } else { detail.and_then(|told| hidden::detail(&row.reason, told)) };
        LetterFound {
            id: row.id.to_string(),
            commands: self.commands.of_listed(&row),
            detail: detail.map(str::to_owned),
            event: self.show_payloads.then(|| event(&row)),
            pipeline: row.id.pipeline.into(),
            reason: row.reason,
            field: row.field,
            function: row.function,
            model: row.model,
            decided_at: row.decided_at,
            handling: row.handling,
            handled_at: row.handled_at,
            handled_by: row.handled_by,
            note: row.note,
        }
    }
}

fn event(row: &Letter) -> LetterEvent {
    let bytes = |text: &Option<String>| text.as_ref().and_then(|text| STANDARD.decode(text).ok());
    let payload = match bytes(&row.payload) {
        // A text that is cut may end within a letter.
        Some(bytes) if row.payload_is_cut => match std::str::from_utf8(&bytes) {
            Err(cause) if cause.error_len().is_none() => readable(bytes.get(..cause.valid_up_to())),
            _ => readable(Some(&bytes)),
        },
        Some(bytes) => readable(Some(&bytes)),
        None if row.payload.is_some() => json!({ "base64": row.payload }),
        None => Value::Null,
    };
    LetterEvent { key: readable(bytes(&row.key).as_deref()), payload, cut: row.payload_is_cut }
}
