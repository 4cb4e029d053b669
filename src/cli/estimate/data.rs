//! Rows become observations, per stratum and group. Nothing is dropped in silence: a row that cannot
//! be used is an error, or it is counted under a reason that the output prints.

use std::collections::BTreeMap;

use super::Args;
use super::columns::{self, Role, find, listed};
use super::source::{Row, Source};
use super::ticks::{Raw, Sample, Ticks};
use crate::exit::Failure;
use crate::report::escape::terminal as safe;

/// No more groups (strata and groups multiplied): one curve each is printed.
const MOST_GROUPS: usize = 200;
/// No more causes.
const MOST_CAUSES: usize = 32;
/// Values of an event column that are named where none was meant.
const MOST_VALUES: usize = 13;
/// Turnbull's estimate costs more than Kaplan-Meier: no more intervals.
const MOST_INTERVALS: u64 = 100_000;

/// Stratum and group, where there are such columns.
pub(super) type Key = (Option<String>, Option<String>);

/// Everything that was read.
pub(super) struct Data {
    pub(super) format: &'static str,
    pub(super) columns: BTreeMap<&'static str, String>,
    /// Whether a column would have been taken for that of events.
    pub(super) has_event: bool,
    pub(super) rows: u64,
    pub(super) left_out: BTreeMap<&'static str, u64>,
    pub(super) groups: BTreeMap<Key, Sample>,
    /// Names of causes, from 1.
    pub(super) causes: Vec<String>,
    pub(super) ticks: Ticks,
    /// End of the restricted mean, ticks.
    pub(super) tau: Option<u64>,
}

/// How a row says when it ended.
#[derive(Clone, Copy)]
enum Shape {
    Times { time: usize, event: Option<usize> },
    Intervals { lower: usize, upper: usize },
    Instants { start: usize, stop: Option<usize>, outcome: Option<usize> },
    Causes { time: usize, cause: usize, event: Option<usize> },
}

/// Reads it all; `tau_ns` ends the restricted mean.
pub(super) fn read(source: Source<'_>, args: &Args, tau_ns: Option<f64>) -> Result<Data, Failure> {
    let mut reading = Reading::new(&source, args)?;
    source.each(|row| reading.take(row))?;
    reading.end(tau_ns)
}

struct Reading<'a> {
    args: &'a Args,
    header: Vec<String>,
    shape: Shape,
    group: Option<usize>,
    stratum: Option<usize>,
    followed_until: Option<i64>,
    values: Values,
    groups: BTreeMap<Key, Raw>,
    data: Data,
}

/// Columns by role, the asked ones first.
struct Found<'a> {
    args: &'a Args,
    header: &'a [String],
    used: BTreeMap<&'static str, String>,
}

impl Found<'_> {
    fn column(&mut self, role: Role) -> Result<Option<usize>, Failure> {
        let index = find(role, self.args.asked(role), self.header)?;
        if let Some(i) = index {
            self.used.insert(role.option().trim_start_matches('-'), self.header[i].clone());
        }
        Ok(index)
    }

    fn asked(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.args.asked(*role).is_some())
    }

    fn present(&self, roles: &[Role]) -> bool {
        roles.iter().all(|role| self.header.iter().any(|name| role.takes(name)))
    }

    fn must(&mut self, role: Role) -> Result<usize, Failure> {
        self.column(role)?.ok_or_else(|| {
            let option = role.option();
            let names = listed(self.header);
            Failure::User(format!("line 1: {option} must name a column; the columns are {names}"))
        })
    }

    fn shape(&mut self) -> Result<Shape, Failure> {
        const INTERVALS: [Role; 2] = [Role::Lower, Role::Upper];
        const INSTANTS: [Role; 2] = [Role::Start, Role::Stop];
        let asked = [&INTERVALS[..], &INSTANTS[..], &[Role::Time]].map(|roles| self.asked(roles));
        if asked.iter().filter(|a| **a).count() > 1 {
            return Err(Failure::User(
                "--time, --lower/--upper and --start/--stop exclude each other".to_owned(),
            ));
        }
        let free = asked == [false; 3];
        let intervals = self.present(&INTERVALS);
        if free && intervals && self.present(&[Role::Time]) {
            return Err(Failure::User(
                "line 1: both durations and intervals (`lower`, `upper`): name one of --time, \
                 --lower/--upper"
                    .to_owned(),
            ));
        }
        let started = self.present(&[Role::Start]) && !self.present(&[Role::Time]);
        if asked[1] || (free && started && !intervals) {
            let (start, stop) = (self.must(Role::Start)?, self.column(Role::Stop)?);
            let outcome = self.column(Role::Outcome)?;
            return Ok(Shape::Instants { start, stop, outcome });
        }
        if asked[0] || (free && intervals) {
            let (lower, upper) = (self.must(Role::Lower)?, self.must(Role::Upper)?);
            return Ok(Shape::Intervals { lower, upper });
        }
        let time = self.must(Role::Time)?;
        self.ends(time)
    }

    /// What says how a duration ended. A cause found beside an event is no reason to take every row with
    /// a cause for an event: that choice is the user's.
    fn ends(&mut self, time: usize) -> Result<Shape, Failure> {
        if self.args.all_events {
            return Ok(Shape::Times { time, event: None });
        }
        let by_event = self.asked(&[Role::Event]) || self.args.event_value.is_some();
        let by_cause = self.asked(&[Role::Cause]);
        if !by_event && !by_cause && self.present(&[Role::Event]) && self.present(&[Role::Cause]) {
            return Err(Failure::User(
                "line 1: both `event` and `cause`: name one of --event, --cause; or both, and a row \
                 whose event did not come is a censoring whatever its cause"
                    .to_owned(),
            ));
        }
        if by_cause || (!by_event && self.present(&[Role::Cause])) {
            let cause = self.must(Role::Cause)?;
            let event = if by_event { Some(self.must(Role::Event)?) } else { None };
            return Ok(Shape::Causes { time, cause, event });
        }
        match self.column(Role::Event)? {
            None => Err(Failure::User(format!(
                "line 1: no column says whether the event came; name it with --event, or say \
                 --all-events if nothing is censored; the columns are {}",
                listed(self.header)
            ))),
            event => Ok(Shape::Times { time, event }),
        }
    }
}

/// The cells of the event column while none was --event-value.
#[derive(Default)]
struct Values {
    matched: bool,
    others: std::collections::BTreeSet<String>,
}

impl<'a> Reading<'a> {
    fn new(source: &Source<'_>, args: &'a Args) -> Result<Reading<'a>, Failure> {
        let mut found = Found { args, header: &source.header, used: BTreeMap::new() };
        let shape = found.shape()?;
        let ended = matches!(
            shape,
            Shape::Times { event: Some(_), .. } | Shape::Causes { event: Some(_), .. }
        );
        if args.event_value.is_some() && !ended {
            return Err(Failure::User("--event-value is for a column of events".to_owned()));
        }
        let (group, stratum) = (found.column(Role::Group)?, found.column(Role::Stratum)?);
        let columns = found.used;
        let followed_until = args.followed_until.as_deref().map(columns::instant).transpose();
        Ok(Reading {
            args,
            header: source.header.clone(),
            shape,
            group,
            stratum,
            followed_until: followed_until
                .map_err(|what| Failure::User(format!("--followed-until: {what}")))?,
            values: Values::default(),
            groups: BTreeMap::new(),
            data: Data {
                format: source.format,
                columns,
                has_event: source.header.iter().any(|name| Role::Event.takes(name)),
                rows: 0,
                left_out: BTreeMap::new(),
                groups: BTreeMap::new(),
                causes: Vec::new(),
                ticks: Ticks::finest(0.0, args.unit),
                tau: None,
            },
        })
    }

    fn wrong(&self, row: &Row<'_>, index: usize, what: &str) -> Failure {
        let name = self.header.get(index).map_or("", String::as_str);
        Failure::User(format!("{}: {what}", row.place.cell(index, name)))
    }

    fn take(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        self.data.rows += 1;
        let most = match self.shape {
            Shape::Intervals { .. } => self.args.max_rows.min(MOST_INTERVALS),
            _ => self.args.max_rows,
        };
        if self.data.rows > most {
            return Err(Failure::User(format!(
                "{}: more than {most} rows; every row is kept in memory, --max-rows sets how \
                 many may be (at most {MOST_INTERVALS} intervals)",
                row.place
            )));
        }
        for key in &row.unknown {
            if Role::ALL.iter().any(|role| role.takes(key)) {
                return Err(Failure::User(format!(
                    "{}: `{}` occurs here and in none of the first 1000 rows; put it into the \
                     first one",
                    row.place,
                    safe(key)
                )));
            }
        }
        let key = (self.name(row, self.stratum)?, self.name(row, self.group)?);
        match self.shape {
            Shape::Times { time, event } => {
                let time = self.duration(row, time)?;
                let event = event.map_or(Ok(true), |index| self.event(row, index))?;
                self.push(row, key, (time, event))
            }
            Shape::Intervals { lower, upper } => self.interval(row, key, lower, upper),
            Shape::Instants { start, stop, outcome } => {
                self.instants(row, key, start, stop, outcome)
            }
            Shape::Causes { time, cause, event } => self.ending(row, key, (time, cause, event)),
        }
    }

    fn name(&self, row: &Row<'_>, index: Option<usize>) -> Result<Option<String>, Failure> {
        let Some(index) = index else { return Ok(None) };
        match cell(row, index) {
            "" => Err(self.wrong(row, index, "the group is missing")),
            name => Ok(Some(name.to_owned())),
        }
    }

    fn duration(&self, row: &Row<'_>, index: usize) -> Result<f64, Failure> {
        columns::duration(cell(row, index), self.args.unit)
            .map_err(|what| self.wrong(row, index, &what))
    }

    fn event(&mut self, row: &Row<'_>, index: usize) -> Result<bool, Failure> {
        let (text, wanted) = (cell(row, index), self.args.event_value.as_deref());
        let event = columns::event(text, wanted).map_err(|what| self.wrong(row, index, &what))?;
        self.values.matched |= event;
        if !self.values.matched && wanted.is_some() && self.values.others.len() < MOST_VALUES {
            self.values.others.insert(text.to_owned());
        }
        Ok(event)
    }

    fn push(&mut self, row: &Row<'_>, key: Key, observation: (f64, bool)) -> Result<(), Failure> {
        if let Raw::Times(times) = self.rows(row, key, || Raw::Times(Vec::new()))? {
            times.push(observation);
        }
        Ok(())
    }

    fn rows(
        &mut self,
        row: &Row<'_>,
        key: Key,
        empty: impl FnOnce() -> Raw,
    ) -> Result<&mut Raw, Failure> {
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&key) {
            return Err(Failure::User(format!(
                "{}: more than {MOST_GROUPS} groups; is --group or --stratum the right column?",
                row.place
            )));
        }
        Ok(self.groups.entry(key).or_insert_with(empty))
    }

    fn interval(
        &mut self,
        row: &Row<'_>,
        key: Key,
        lower: usize,
        upper: usize,
    ) -> Result<(), Failure> {
        let lower = self.duration(row, lower)?;
        let text = cell(row, upper);
        let never = columns::absent(text)
            || matches!(text.to_ascii_lowercase().as_str(), "inf" | "+inf" | "infinity");
        let end = if never { None } else { Some(self.duration(row, upper)?) };
        if end.is_some_and(|end| end < lower) {
            return Err(self.wrong(row, upper, "the interval ends before it begins"));
        }
        let rows = self.rows(row, key, || Raw::Intervals(Vec::new()))?;
        if let Raw::Intervals(intervals) = rows {
            intervals.push((lower, end));
        }
        Ok(())
    }

    fn ending(
        &mut self,
        row: &Row<'_>,
        key: Key,
        (time, cause, event): (usize, usize, Option<usize>),
    ) -> Result<(), Failure> {
        let time = self.duration(row, time)?;
        let came = event.map(|index| self.event(row, index)).transpose()?;
        let text = cell(row, cause);
        let uncaused = columns::absent(text) || matches!(text, "0" | "censored");
        if came == Some(true) && uncaused {
            return Err(self.wrong(row, cause, "the event came, and no cause is named"));
        }
        let none = uncaused || came == Some(false);
        let cause = match self.data.causes.iter().position(|known| known == text) {
            _ if none => 0,
            Some(index) => index + 1,
            None if self.data.causes.len() >= MOST_CAUSES => {
                return Err(self.wrong(row, cause, &format!("more than {MOST_CAUSES} causes")));
            }
            None => {
                self.data.causes.push(text.to_owned());
                self.data.causes.len()
            }
        };
        let rows = self.rows(row, key, || Raw::Endings(Vec::new()))?;
        if let Raw::Endings(endings) = rows {
            endings.push((time, cause as u32));
        }
        Ok(())
    }

    fn instants(
        &mut self,
        row: &Row<'_>,
        key: Key,
        start: usize,
        stop: Option<usize>,
        outcome: Option<usize>,
    ) -> Result<(), Failure> {
        let at = |index: usize| {
            columns::instant(cell(row, index)).map_err(|what| self.wrong(row, index, &what))
        };
        let began = at(start)?;
        // An epoch of 0 is how exports write that there is no time.
        let seen =
            stop.filter(|index| !columns::absent(cell(row, *index)) && cell(row, *index) != "0");
        if let Some(index) = seen {
            let time_ns = u64::try_from(at(index)?.saturating_sub(began))
                .map_err(|_| self.wrong(row, index, "it was detected before it began"))?;
            return self.push(row, key, (time_ns as f64, true));
        }
        let judged = outcome.is_none_or(|index| !cell(row, index).eq_ignore_ascii_case("tbd"));
        let until = match (judged, self.followed_until) {
            (true, Some(until)) => until,
            _ if self.args.undetected == super::Undetected::LeaveOut => {
                let why = if judged { "no detection time" } else { "not judged (TBD)" };
                *self.data.left_out.entry(why).or_default() += 1;
                return Ok(());
            }
            (false, _) => {
                return Err(self.wrong(
                    row,
                    outcome.unwrap_or(start),
                    "not judged, so neither detected nor known to be undetected; leave such rows \
                     out, counted, with --undetected leave-out",
                ));
            }
            (true, None) => {
                return Err(self.wrong(
                    row,
                    stop.unwrap_or(start),
                    "no detection time; say until when it was looked for (--followed-until), or \
                     leave such rows out, counted, with --undetected leave-out: that makes \
                     detection look faster than it is",
                ));
            }
        };
        let time_ns = u64::try_from(until.saturating_sub(began))
            .map_err(|_| self.wrong(row, start, "it began after --followed-until"))?;
        self.push(row, key, (time_ns as f64, false))
    }

    fn end(mut self, tau_ns: Option<f64>) -> Result<Data, Failure> {
        if self.data.rows == 0 {
            return Err(Failure::User("there is a header and no row".to_owned()));
        }
        if self.groups.is_empty() {
            return Err(Failure::User(format!("all {} rows were left out", self.data.rows)));
        }
        if let Some(wanted) = self.args.event_value.as_deref().filter(|_| !self.values.matched) {
            let held: Vec<String> = self.values.others.into_iter().collect();
            return Err(Failure::User(format!(
                "no row has `{}` as its event, so that nothing would have happened; --event-value must \
                 be one of what the column holds: {}",
                safe(wanted),
                listed(&held)
            )));
        }
        let largest = self.groups.values().map(Raw::largest_ns).chain(tau_ns).fold(0.0, f64::max);
        let ticks = Ticks::finest(largest, self.args.unit);
        self.data.groups =
            self.groups.into_iter().map(|(key, rows)| (key, rows.counted(ticks))).collect();
        (self.data.ticks, self.data.tau) = (ticks, tau_ns.map(|ns| ticks.of(ns)));
        Ok(self.data)
    }
}

/// The text of a cell; empty where there is none.
fn cell<'a>(row: &Row<'a>, index: usize) -> &'a str {
    row.cells.get(index).copied().flatten().unwrap_or("")
}
