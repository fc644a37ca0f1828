//! Where a replay begins and ends, as it is written on the command line.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A place in the log of each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Point {
    Earliest,
    Offset(i64),
    /// Milliseconds; by the log's own timestamps.
    Time(i64),
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "earliest" {
            return Ok(Self::Earliest);
        }
        if let Ok(offset) = text.parse::<i64>() {
            return if offset < 0 { Err("an offset is not negative".into()) } else { Ok(Self::Offset(offset)) };
        }
        let utc = |civil: jiff::civil::DateTime| civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let time = text.parse::<jiff::Timestamp>().ok().or_else(|| text.parse().ok().and_then(utc));
        time.map(|time| Self::Time(time.as_millisecond()))
            .ok_or_else(|| "write `earliest`, an offset, or a time such as 2026-01-31T12:00:00Z".to_owned())
    }
}

impl TryFrom<String> for Point {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Point> for String {
    fn from(point: Point) -> Self {
        point.to_string()
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Earliest => f.write_str("earliest"),
            Point::Offset(offset) => write!(f, "{offset}"),
            Point::Time(ms) => match jiff::Timestamp::from_millisecond(*ms) {
                Ok(time) => write!(f, "{time}"),
                Err(_) => write!(f, "{ms} ms"),
            },
        }
    }
}

/// `--yield-lag`: events, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct YieldLag(pub Option<i64>);

impl FromStr for YieldLag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<i64>() {
            _ if text == "off" => Ok(Self(None)),
            Ok(events) if events > 0 => Ok(Self(Some(events))),
            Ok(0) => Err("0 would wait for ever: a marker of a transaction counts as an event that is not decided; write 1 or more, or `off`".to_owned()),
            _ => Err("write a number of events, 1 or more, or `off`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a time that is read as an offset or the other way round, one that changes when it is written and read.
    #[test]
    fn points_are_read_as_they_are_written() {
        let of = |text: &str| text.parse::<Point>();
        assert_eq!(of("earliest"), Ok(Point::Earliest));
        assert_eq!(of("1200"), Ok(Point::Offset(1200)));
        let noon = Point::Time(1_769_860_800_000);
        for text in ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00"] {
            assert_eq!(of(text), Ok(noon), "{text}");
        }
        assert_eq!(of("2026-01-31"), Ok(Point::Time(1_769_817_600_000)));
        for point in [Point::Earliest, Point::Offset(7), noon] {
            assert_eq!(of(&point.to_string()), Ok(point));
        }
        for wrong in ["-1", "latest", "noon", "1.5", ""] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        let lag = |text: &str| text.parse::<YieldLag>().map(|lag| lag.0);
        assert_eq!((lag("off"), lag("1"), lag("500")), (Ok(None), Ok(Some(1)), Ok(Some(500))));
        assert!(lag("0").is_err_and(|text| text.contains("`off`")));
        assert!(lag("-1").is_err() && lag("no").is_err());
    }
}
