//! From the query of a path to what is asked. A name that is not known is refused: a filter that is misspelt would narrow nothing.

use super::api::{By, LETTERS, LettersAsked, RECORDS, RecordsAsked};
use crate::admin::ApiError;
use std::collections::BTreeMap;

/// Bytes of a value at most: ids and keys of events may be long, and nothing is found by more.
const VALUE_BYTES: usize = 4_096;
/// What can be done about a dead letter.
pub const HANDLINGS: [&str; 4] = ["open", "redriving", "redriven", "discarded"];

/// What was typed in, by name; without what was left empty.
#[derive(Debug, Default)]
pub struct Given(BTreeMap<String, String>);

/// Names that the look-up of records takes.
const OF_RECORDS: [&str; 8] = ["q", "id", "event", "key", "pipeline", "since", "until", "limit"];
/// Names that the list of dead letters takes.
const OF_LETTERS: [&str; 6] = ["pipeline", "reason", "handling", "since", "until", "limit"];

impl Given {
    /// Out of the query of a path.
    pub fn read(query: &str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Self(pairs.filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Empty for what was not given.
    pub fn of(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn check(&self, known: &[&str]) -> Result<(), ApiError> {
        for (name, value) in &self.0 {
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(100).collect();
                return Err(ApiError::refused(&name, format!("there is no parameter `{name}`; there are: {}", known.join(", "))));
            }
            if value.len() > VALUE_BYTES {
                let message = format!("`{name}` has {} bytes; it may have {VALUE_BYTES}", value.len());
                return Err(ApiError::refused(name, message));
            }
            if value.contains('\0') {
                return Err(ApiError::refused(name, format!("`{name}` holds U+0000, which stands in no record")));
            }
        }
        Ok(())
    }

    fn limit(&self, (usual, most): (usize, usize)) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(usual) };
        let number = text.trim().parse().ok().filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| ApiError::refused("limit", format!("`limit` is a whole number, 1 to {most}")))
    }

    pub fn records(&self) -> Result<RecordsAsked, ApiError> {
        self.check(&OF_RECORDS)?;
        let by = [("id", By::Id as fn(String) -> By), ("event", By::Event), ("key", By::Key), ("q", By::Any)];
        let mut by = by.into_iter().filter_map(|(name, of)| Some((name, of(self.get(name)?))));
        let by = match (by.next(), by.next()) {
            (Some((_, by)), None) => by,
            (Some(_), Some((second, _))) => {
                return Err(ApiError::refused(second, "give one of `id`, `event`, `key` and `q`, not several".to_owned()));
            }
            (None, _) => {
                let message =
                    "what is looked for? Give `id` (a record's), `event` (an event's id or place), `key`, or `q` for any of them";
                return Err(ApiError::refused("id", message.to_owned()));
            }
        };
        Ok(RecordsAsked {
            by,
            pipeline: self.get("pipeline"),
            since: self.get("since"),
            until: self.get("until"),
            limit: self.limit(RECORDS)?,
        })
    }

    pub fn letters(&self) -> Result<LettersAsked, ApiError> {
        self.check(&OF_LETTERS)?;
        let handling = self.get("handling");
        if handling.as_deref().is_some_and(|handling| !HANDLINGS.contains(&handling)) {
            return Err(ApiError::refused("handling", format!("`handling` is one of {}", HANDLINGS.join(", "))));
        }
        Ok(LettersAsked {
            pipeline: self.get("pipeline"),
            reason: self.get("reason"),
            handling,
            since: self.get("since"),
            until: self.get("until"),
            limit: self.limit(LETTERS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a filter that is dropped without a word, two look-ups in one, input without a bound.
    #[test]
    fn a_query_is_read_or_refused_by_name() {
        let asked = Given::read("key=a%26b+c&pipeline=&since=2026-01-01&limit=7").records().unwrap();
        assert_eq!((asked.by, asked.limit, asked.pipeline), (By::Key("a&b c".into()), 7, None));
        assert_eq!(asked.since.as_deref(), Some("2026-01-01"));
        assert_eq!(Given::read("q=+card+17").records().unwrap().by, By::Any(" card 17".into()));
        let letters = Given::read("handling=open&reason=%27").letters().unwrap();
        assert_eq!((letters.handling.as_deref(), letters.reason.as_deref()), (Some("open"), Some("'")));
        let long = format!("key={}", "x".repeat(10_000));
        for (query, param, said) in [
            ("", "id", "what is looked for"),
            ("id=a&key=b", "key", "not several"),
            ("q=a&id=b", "q", "not several"),
            ("key=a&limit=0", "limit", "1 to 100"),
            ("key=a&limit=x", "limit", "1 to 100"),
            ("key=a&pipline=b", "pipline", "there is no parameter `pipline`; there are: q, id"),
            ("key=a%00", "key", "U+0000"),
            (&long, "key", "10000 bytes"),
        ] {
            let error = Given::read(query).records().unwrap_err();
            assert!(error.status == 400 && error.param.as_deref() == Some(param), "{query}: {error:?}");
            assert!(error.message.contains(said), "{query}: {}", error.message);
        }
        assert!(Given::read("handling=shut").letters().unwrap_err().message.contains("open, redriving"));
        assert!(Given::read("id=a").letters().is_err());
    }
}
