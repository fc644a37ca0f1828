//! What is asked for, read: ids, places, times.

use crate::admin::ApiError;
use crate::config::{EventKind, Pipeline};
use crate::record::RecordId;
use crate::store::postgres::Place;

/// A date or a time, of UTC where it says nothing else.
pub fn instant(text: &str) -> Option<jiff::Timestamp> {
    let utc = |civil: jiff::civil::DateTime| civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse::<jiff::Timestamp>().ok().or_else(|| text.parse::<jiff::civil::DateTime>().ok().and_then(utc))
}

/// Microseconds since 1970.
pub fn micros(text: &str) -> Option<i64> {
    instant(text).map(jiff::Timestamp::as_microsecond)
}

/// The same of a parameter that may be absent.
pub fn wanted_time(param: &str, text: Option<&str>) -> Result<Option<i64>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    match micros(text.trim()).filter(|micros| *micros >= 0) {
        Some(micros) => Ok(Some(micros)),
        None => {
            Err(ApiError::refused(param, format!("`{param}` is no time since 1970; write 2026-01-31 or 2026-01-31T12:00:00Z")))
        }
    }
}

/// A record's id with or without its n: the pipeline, and the place.
pub fn record_id(text: &str) -> Result<(String, Place), ApiError> {
    let text = text.trim();
    let (id, n) = match text.parse::<RecordId>() {
        Ok(id) => {
            let n = id.n;
            (Ok(id), Some(n))
        }
        Err(_) => (format!("{text}/0").parse::<RecordId>(), None),
    };
    let id = id.map_err(|_| {
        let message = "that is no record's id; one is pipeline/run/topic/partition/offset, with or without /n";
        ApiError::refused("id", message.to_owned())
    })?;
    let place = Place { run: Some(id.run), topic: id.topic, partition: id.partition, offset: id.offset, n };
    Ok((id.pipeline.into(), place))
}

/// A place in one of these topics.
pub fn place<'a>(text: &str, topics: impl IntoIterator<Item = &'a String>) -> Option<Place> {
    let mut parts = text.trim().rsplitn(3, '/');
    let (offset, partition, topic) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    let topic = topics.into_iter().find(|known| *known == topic)?;
    Some(Place { run: None, topic: topic.as_str().into(), partition, offset, n: None })
}

/// Where the value of a pipeline's records has the event's own id, if it has.
pub fn event_id(pipeline: &Pipeline) -> Option<Vec<String>> {
    if pipeline.function == "risk" {
        return Some(vec!["event_id".to_owned()]);
    }
    if pipeline.options.get("pass_event") != Some(&serde_json::Value::Bool(true)) {
        return None;
    }
    let path = match pipeline.event {
        EventKind::Json => pipeline.fields.id.as_deref()?,
        EventKind::Transaction | EventKind::ChatMessage | EventKind::Click => "id",
    };
    Some(std::iter::once("event").chain(path.split('.')).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeMap;

    /// Would catch: another record than the one that was named, a place of a topic that is not read, times of another zone.
    #[test]
    fn ids_places_and_times_are_read() {
        let (pipeline, whole) = record_id(" p/2/in/3/17/1 ").unwrap();
        assert_eq!((pipeline.as_str(), whole.run, &*whole.topic, whole.partition), ("p", Some(2), "in", 3));
        assert_eq!((whole.offset, whole.n), (17, Some(1)));
        assert_eq!(record_id("p/2/in/3/17").unwrap().1, Place { n: None, ..whole });
        for wrong in ["", "p", "p/2/in/3", "p/2/in/3/17/1/0", "p/x/in/3/17", "p/2/in/3/17/99999", "'; DROP TABLE x; --/1/t/0"] {
            assert!(record_id(wrong).is_err_and(|error| error.param.as_deref() == Some("id")), "{wrong}");
        }
        let topics = ["in".to_owned(), "a/b".to_owned()];
        assert_eq!(place("a/b/1/5", &topics).map(|place| (place.partition, place.offset)), Some((1, 5)));
        assert_eq!(place("other/1/5", &topics), None);
        assert_eq!(place("in/1", &topics), None);
        assert_eq!(wanted_time("since", Some("2026-01-31")).unwrap(), Some(1_769_817_600_000_000));
        assert_eq!(wanted_time("since", Some("2026-01-31T01:00:00+01:00")).unwrap(), Some(1_769_817_600_000_000));
        assert!(wanted_time("until", Some("1969-01-01")).is_err() && wanted_time("until", Some("soon")).is_err());
    }

    /// Would catch: records that are said not to hold an id that they hold, and the other way round.
    #[test]
    fn an_event_id_is_looked_for_where_it_is_written() {
        let of = |keys: &str| {
            let text = format!("[[pipeline]]\nname = 'p'\ntopic = 't'\n{keys}");
            event_id(&Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap().pipeline[0])
        };
        let path = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(of("event = 'click'\nfunction = 'copy'"), None);
        assert_eq!(of("event = 'click'\nfunction = 'copy'\noptions = { pass_event = true }"), path(&["event", "id"]));
        let json = "event = 'json'\nfunction = 'copy'\noptions = { pass_event = true }";
        assert_eq!(of(json), None);
        assert_eq!(of(&format!("{json}\nfields = {{ id = 'meta.id' }}")), path(&["event", "meta", "id"]));
        assert_eq!(of("event = 'json'\nfunction = 'risk'"), path(&["event_id"]));
    }
}
