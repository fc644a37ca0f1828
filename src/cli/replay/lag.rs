//! When a replay waits for the live pipeline, as it is written on the command line.

use std::str::FromStr;

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

    /// Would catch: 0, which waits for ever, that is taken.
    #[test]
    fn a_lag_is_a_number_of_events_or_off() {
        let lag = |text: &str| text.parse::<YieldLag>().map(|lag| lag.0);
        assert_eq!((lag("off"), lag("1"), lag("500")), (Ok(None), Ok(Some(1)), Ok(Some(500))));
        assert!(lag("0").is_err_and(|text| text.contains("`off`")));
        assert!(lag("-1").is_err() && lag("no").is_err());
    }
}
