//! Questions a schedule asks of the calendar.

use jiff::civil::{Date, Time};

/// No rule leaves more than a leap year between two runs; a window may begin a day early.
pub(super) const DAYS_SEARCHED_MAX: usize = 400;

/// Whether the date is this weekday; 0 and 7 are Sunday.
pub(super) fn is_weekday(date: Date, weekday: u8) -> bool {
    date.weekday().to_sunday_zero_offset().unsigned_abs() == weekday % 7
}

/// Whether the date is this day of the month. A month too short for it has it on its last day, so that
/// no month goes without.
pub(super) fn is_day(date: Date, day: u8) -> bool {
    date.day().unsigned_abs() == day.min(date.days_in_month().unsigned_abs())
}

pub(super) fn is_month(date: Date, month: u8) -> bool {
    date.month().unsigned_abs() == month
}

/// The time of day; the hour and minute were checked when the schedule was.
pub(super) fn time(hour: u8, minute: u8) -> Time {
    let small = |number: u8| i8::try_from(number).unwrap_or(0);
    Time::new(small(hour), small(minute), 0, 0).unwrap_or_else(|_| Time::midnight())
}
