//! Dates in values, for the time modifiers: `Time|hour: 3`.
//!
//! A date is read as it is written: nothing is moved to another time zone. Days are counted with the civil calendar, weeks
//! as in ISO 8601.

use crate::number::Number;

/// What of a date is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Part {
    /// The values it can have.
    pub fn range(self) -> std::ops::RangeInclusive<i64> {
        match self {
            Self::Minute => 0..=59,
            Self::Hour => 0..=23,
            Self::Day => 1..=31,
            Self::Week => 1..=53,
            Self::Month => 1..=12,
            Self::Year => 0..=9999,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
    /// Hour and minute; None = the value has a day only.
    time: Option<(i64, i64)>,
}

/// `part` of a text: a date of ISO 8601 (also with a blank for the `T` and slashes for the dashes), or digits that are Unix
/// time.
pub(crate) fn of_text(text: &[u8], part: Part) -> Option<i64> {
    // The longest is a date with nanoseconds and an offset.
    if text.len() > 40 {
        return None;
    }
    match date(text) {
        Some(date) => date.part(part),
        None => of_number(Number::parse(text)?, part),
    }
}

/// `part` of Unix time. Seconds from the year 5138 on are taken for milliseconds, and so on: event fields have each of the
/// four, and a rule cannot say which.
pub(crate) fn of_number(number: Number, part: Part) -> Option<i64> {
    let seconds = match number {
        Number::Integer(i) => match i.unsigned_abs() {
            0..100_000_000_000 => i,
            100_000_000_000..100_000_000_000_000 => i.div_euclid(1_000),
            100_000_000_000_000..100_000_000_000_000_000 => i.div_euclid(1_000_000),
            100_000_000_000_000_000..100_000_000_000_000_000_000 => i.div_euclid(1_000_000_000),
            _ => return None,
        },
        Number::Float(f) if f.abs() < 1e11 => f.floor() as i128,
        Number::Float(_) => return None,
    };
    let seconds = i64::try_from(seconds).ok()?;
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let minutes = seconds.rem_euclid(86_400) / 60;
    Date { year, month, day, time: Some((minutes / 60, minutes % 60)) }.part(part)
}

impl Date {
    fn part(self, part: Part) -> Option<i64> {
        match part {
            Part::Minute => self.time.map(|t| t.1),
            Part::Hour => self.time.map(|t| t.0),
            Part::Day => Some(self.day),
            Part::Week => Some(week(self)),
            Part::Month => Some(self.month),
            Part::Year => Some(self.year),
        }
    }
}

/// Reads `2024-05-06`, `2024/05/06 07:08`, `2024-05-06T07:08:09.123+02:00`.
fn date(text: &[u8]) -> Option<Date> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    let separator = *rest.first().filter(|b| matches!(b, b'-' | b'/'))?;
    rest = &rest[1..];
    let month = digits(&mut rest, 2)?;
    rest = rest.strip_prefix(&[separator])?;
    let day = digits(&mut rest, 2)?;
    let last = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=last).contains(&day) {
        return None;
    }
    if rest.is_empty() {
        return Some(Date { year, month, day, time: None });
    }
    rest = rest.strip_prefix(b"T").or_else(|| rest.strip_prefix(b"t")).or_else(|| rest.strip_prefix(b" "))?;
    let hour = digits(&mut rest, 2)?;
    rest = rest.strip_prefix(b":")?;
    let minute = digits(&mut rest, 2)?;
    if let Some(mut seconds) = rest.strip_prefix(b":") {
        // A leap second is one.
        digits(&mut seconds, 2).filter(|s| *s <= 60)?;
        rest = seconds;
        if let Some(fraction) = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b",")) {
            let end = fraction.iter().position(|b| !b.is_ascii_digit()).unwrap_or(fraction.len());
            if end == 0 {
                return None;
            }
            rest = &fraction[end..];
        }
    }
    (hour <= 23 && minute <= 59 && is_zone(rest)).then_some(Date { year, month, day, time: Some((hour, minute)) })
}

/// Nothing, `Z`, `UTC`, or an offset.
fn is_zone(text: &[u8]) -> bool {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    if matches!(text, b"" | b"Z" | b"z" | b"UTC" | b"GMT") {
        return true;
    }
    let Some(mut rest) = text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-")) else { return false };
    if digits(&mut rest, 2).is_none() {
        return false;
    }
    rest.is_empty() || {
        let mut rest = rest.strip_prefix(b":").unwrap_or(rest);
        digits(&mut rest, 2).is_some() && rest.is_empty()
    }
}

/// Takes exactly `count` digits.
fn digits(text: &mut &[u8], count: usize) -> Option<i64> {
    let (head, rest) = text.split_at_checked(count)?;
    *text = rest;
    head.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// Days since 1970-01-01 of a date. The year begins in March, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The opposite of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// The week of ISO 8601: that of the Thursday beside it, counted from the first in its year.
fn week(date: Date) -> i64 {
    let day = days(date.year, date.month, date.day);
    // Day 0 was a Thursday.
    let thursday = day - (day + 3).rem_euclid(7) + 3;
    let (year, ..) = civil(thursday);
    (thursday - days(year, 1, 1)) / 7 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        let mut before = days(1899, 12, 31);
        for year in 1900..2300 {
            for month in 1..=12 {
                for day in 1..=31 {
                    let text = format!("{year}-{month:02}-{day:02}");
                    let Some(date) = date(text.as_bytes()) else { continue };
                    let number = days(date.year, date.month, date.day);
                    assert_eq!(number, before + 1, "{text}");
                    assert_eq!(civil(number), (year, month, day));
                    before = number;
                }
            }
        }
        assert_eq!((days(1970, 1, 1), days(2000, 3, 1)), (0, 11_017));
    }

    #[test]
    fn weeks_of_iso_8601() {
        for (text, week) in [
            ("2024-01-01", 1),
            ("2023-01-01", 52),
            ("2021-01-03", 53),
            ("2021-01-04", 1),
            ("2020-12-31", 53),
            ("2018-12-31", 1),
            ("2016-01-03", 53),
            ("2026-11-24", 48),
        ] {
            assert_eq!(of_text(text.as_bytes(), Part::Week), Some(week), "{text}");
        }
    }

    #[test]
    fn texts() {
        let all =
            |t: &str| [Part::Year, Part::Month, Part::Day, Part::Hour, Part::Minute].map(|p| of_text(t.as_bytes(), p));
        let wanted = [Some(2024), Some(5), Some(6), Some(7), Some(8)];
        for text in [
            "2024-05-06T07:08",
            "2024-05-06 07:08:09",
            "2024/05/06 07:08:60",
            "2024-05-06T07:08:09.123456789Z",
            "2024-05-06T07:08:09,5+02:00",
            "2024-05-06t07:08:09-0130",
            "2024-05-06 07:08:09.1 UTC",
            "2024-05-06 07:08:09 +02",
            "1714979280",
            "1714979280123",
            "1714979280123456",
            "1714979280123456789",
            "1714979280.5",
        ] {
            assert_eq!(all(text), wanted, "{text}");
        }
        assert_eq!(all("2024-02-29")[..3], [Some(2024), Some(2), Some(29)]);
        assert_eq!(all("2024-02-29")[3..], [None, None]);
        for text in [
            "",
            "2024-13-01",
            "2023-02-29",
            "2024-00-01",
            "2024-01-00",
            "2024-5-6",
            "2024-05/06",
            "2024-05-06T",
            "2024-05-06T24:00",
            "2024-05-06T07:60",
            "2024-05-06T07:08:61",
            "2024-05-06T07:08:09.",
            "2024-05-06T07:08x",
            "2024-05-06T07:08+2",
            "2024-05-06T07:08:09.00000000000000000000000000000000000",
        ] {
            assert_eq!(of_text(text.as_bytes(), Part::Minute), None, "{text}");
        }
        assert_eq!(of_number(Number::Integer(-1), Part::Year), Some(1969));
        assert_eq!(of_number(Number::Integer(i128::MAX), Part::Year), None);
        assert_eq!(of_number(Number::Float(1e300), Part::Year), None);
    }
}
