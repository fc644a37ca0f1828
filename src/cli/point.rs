//! A place in the log, as it is written on the command line.

use super::common::Usage;
use crate::event::TopicPartition;
use crate::source::LogBounds;
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

impl Point {
    /// Where it lies within the log of a partition. `of_time` asks the broker for the offset of a time, in milliseconds.
    pub fn within(
        self,
        bounds: LogBounds,
        partition: &TopicPartition,
        of_time: impl Fn(i64) -> anyhow::Result<i64>,
    ) -> anyhow::Result<i64> {
        match self {
            Point::Earliest => Ok(bounds.low),
            Point::Offset(offset) if offset > bounds.high => {
                Err(Usage(format!("offset {offset} is beyond the end of {partition}, which is {}", bounds.high)).into())
            }
            Point::Offset(offset) if offset < bounds.low => {
                Err(Usage(format!("offset {offset} of {partition} was removed: the log begins at {}", bounds.low)).into())
            }
            Point::Offset(offset) => Ok(offset),
            Point::Time(ms) => Ok(of_time(ms)?.clamp(bounds.low, bounds.high)),
        }
    }
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
    }

    /// Would catch: a point outside of the log that is taken, so that a replay never ends or skips what was removed.
    #[test]
    fn a_point_lies_within_the_log() {
        let bounds = LogBounds { low: 10, high: 100 };
        let of = |point: Point, found: i64| {
            point.within(bounds, &TopicPartition::new("t", 3), |_| Ok(found)).map_err(|error| error.to_string())
        };
        assert_eq!((of(Point::Earliest, 0), of(Point::Offset(10), 0), of(Point::Offset(100), 0)), (Ok(10), Ok(10), Ok(100)));
        assert_eq!((of(Point::Time(1), 4), of(Point::Time(1), 50), of(Point::Time(1), 200)), (Ok(10), Ok(50), Ok(100)));
        assert!(of(Point::Offset(101), 0).is_err_and(|text| text.contains("beyond the end of t/3, which is 100")));
        assert!(of(Point::Offset(9), 0).is_err_and(|text| text.contains("the log begins at 10")));
    }
}
