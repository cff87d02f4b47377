//! Civil dates, in UTC and without leap seconds: all that `created_at` needs.

use crate::json::write::Sink;

const DAY_SECONDS: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;
/// Days of a 400-year cycle.
const ERA_DAYS: u64 = 146_097;
/// 9999-12-31T23:59:59Z, the last moment that RFC 3339 can write.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Appends Unix seconds as RFC 3339 (`2023-11-14T22:13:20Z`); later than the year 9999 is its end.
pub(super) fn rfc3339(unix_seconds: u64, out: &mut impl Sink) {
    let seconds = unix_seconds.min(SECONDS_MAX);
    let (days, time) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    // Years that begin in March end with the leap day, so that month lengths follow a line (153 days in 5 months).
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);

    let mut text = *b"0000-00-00T00:00:00Z";
    let fields = [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, time / 3600),
        (14..16, time / 60 % 60),
        (17..19, time % 60),
    ];
    for (place, mut value) in fields {
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    out.put(&text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(seconds: u64) -> String {
        let mut out = Vec::new();
        rfc3339(seconds, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (SECONDS_MAX, "9999-12-31T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(text(seconds), expected);
        }
    }

    #[test]
    fn every_day_of_five_centuries_follows_the_one_before() {
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let (mut year, mut month, mut day) = (1970u64, 1usize, 1u64);
        for days in 0..500 * 365 {
            assert_eq!(text(days * DAY_SECONDS), format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
            let february = if leap(year) { 29 } else { 28 };
            let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            day += 1;
            if day > lengths[month - 1] {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
