//! Hours and days of an event's time.

use crate::config::risk::Calendar;

const HOUR_MS: i64 = 3_600_000;

/// A calendar value at a fixed distance from UTC.
pub struct Moment {
    calendar: Calendar,
    hours: [u8; 2],
    offset_ms: i64,
}

impl Moment {
    pub fn new(calendar: Calendar, hours: Option<[u8; 2]>, utc_offset_minutes: i32) -> Self {
        Self { calendar, hours: hours.unwrap_or([0, 6]), offset_ms: i64::from(utc_offset_minutes) * 60_000 }
    }

    pub fn of(&self, time_ms: i64) -> f64 {
        let hours = (time_ms + self.offset_ms).div_euclid(HOUR_MS);
        let hour = hours.rem_euclid(24);
        // 1970-01-01 was a Thursday, day 3 from Monday.
        let weekday = (hours.div_euclid(24) + 3).rem_euclid(7);
        let [first, last] = self.hours.map(i64::from);
        let night = if first <= last { (first..=last).contains(&hour) } else { hour >= first || hour <= last };
        match self.calendar {
            Calendar::Hour => hour as f64,
            Calendar::Weekday => weekday as f64,
            Calendar::IsWeekend => f64::from(weekday >= 5),
            Calendar::IsNight => f64::from(night),
        }
    }
}
