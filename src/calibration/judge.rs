//! The judging: rows, assessment and truth in, a calibration's findings out. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use dwell_injectors::token::TokenId;

use super::model::{Check, Coverage, Floor, Polled};
use super::scenario::{Line, MS, POLL_MS, SCENARIOS, Scenario};
use super::tie::Tied;
use super::{intervals, sample};
use crate::detector::TruthRow;
use crate::dispatch::outcome::{Assessment, Outcome, RouteView};
use crate::ledger::{Row, SightingRow, StrayClass};
use crate::report::words::duration;
use crate::watchers::RESOLUTION;

/// Kinds that see emissions, with the largest 99th percentile aimed at, nanoseconds. The way through a
/// broker is in Kafka's.
pub const PUSHED: [(&str, i64); 3] =
    [("webhook", 2_000_000), ("file", 5_000_000), ("kafka", 10_000_000)];
/// Where the true time lies so near to a deadline, the floor may decide: nanoseconds.
const NEAR_NS: i64 = 250_000_000;
/// How far the creation time that an alert states may lie from the truth's, beyond the skew.
const STATED_NS: i64 = 1_000_000;

/// What is judged.
pub struct Evidence<'a> {
    /// The ledger's rows of this run.
    pub rows: &'a [Row],
    /// The run, assessed.
    pub assessment: &'a Assessment,
    /// What the detectors say really happened.
    pub truth: &'a [TruthRow],
    /// Finds our canaries in a text.
    pub tokens: &'a dyn Fn(&str) -> Vec<TokenId>,
    /// Whether the alerts went through Kafka too.
    pub kafka: bool,
    /// Earliest begin and latest end that the planted outage can have had, wall nanoseconds.
    pub outage_ns: (i64, i64),
    /// Seed of the bootstrap.
    pub seed: u64,
}

impl Evidence<'_> {
    /// Those of [`PUSHED`] that took part.
    fn pushed(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let kafka = self.kafka;
        PUSHED.into_iter().filter(move |(kind, _)| kafka || *kind != "kafka")
    }
}

/// What judging yields.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Findings {
    /// See [`super::Calibration`].
    pub floors: Vec<Floor>,
    /// See [`super::Calibration`].
    pub by_scenario: Vec<Floor>,
    /// See [`super::Calibration`].
    pub polls: Vec<Polled>,
    /// See [`super::Calibration`].
    pub coverage: Vec<Coverage>,
    /// See [`super::Calibration`].
    pub checks: Vec<Check>,
}

impl Findings {
    /// True when every aim is met and everything planted was found again.
    pub fn met(&self) -> bool {
        !self.floors.is_empty()
            && self.floors.iter().all(|f| f.met)
            && self.coverage.iter().all(|c| c.met)
            && self.checks.iter().all(|c| c.holds)
    }
}

/// Judges everything.
pub fn judge(evidence: &Evidence<'_>) -> Findings {
    let tied = Tied::new(evidence);
    let mut found = Findings::default();
    for (kind, aim) in evidence.pushed() {
        found.push_kind(evidence, &tied, kind, aim);
    }
    found.push_polls(evidence, &tied);
    let mut quantiles = Vec::new();
    for scenario in &SCENARIOS {
        let Some(route) = route(evidence, scenario.name) else {
            found.checks.push(check(scenario.name, scenario.shows, "no such route", false));
            continue;
        };
        found.checks.push(outcomes(evidence, &tied, scenario, route));
        found.checks.push(losses(&tied, scenario, route));
        quantiles.push(intervals::of_quantiles(scenario, route));
    }
    let all = intervals::all(&quantiles);
    found.coverage.extend(quantiles.into_iter().flatten());
    found.coverage.push(all);
    found.checks.extend(evidence.pushed().map(|(kind, _)| duplicates(evidence, &tied, kind)));
    found.checks.push(skew(evidence, &tied));
    found.checks.push(outage(evidence));
    found
}

fn check(about: &str, planted: &str, measured: impl Into<String>, holds: bool) -> Check {
    Check { about: about.into(), planted: planted.into(), measured: measured.into(), holds }
}

fn route<'a>(evidence: &Evidence<'a>, name: &str) -> Option<&'a RouteView> {
    evidence.assessment.routes.iter().find(|route| route.plan.name == name)
}

fn sightings<'a>(evidence: &Evidence<'a>) -> impl Iterator<Item = &'a SightingRow> {
    evidence.rows.iter().filter_map(|row| match row {
        Row::Sighting(sighting) => Some(sighting),
        _ => None,
    })
}

/// Measured minus true of one kind, by line and scenario, and what is unsound.
struct Errors<'a> {
    by: BTreeMap<(Line, &'a str), Vec<i64>>,
    /// Whose interval holds the true instant: between the lower bound that the row gives, else the
    /// resolution before it was seen, and then.
    held: u64,
    seen: u64,
    twice: u64,
    unknown: u64,
}

fn errors<'a>(evidence: &Evidence<'a>, tied: &Tied<'a>, kind: &str) -> Errors<'a> {
    let mut errors = Errors { by: BTreeMap::new(), held: 0, seen: 0, twice: 0, unknown: 0 };
    let mut seen = HashSet::new();
    for sighting in sightings(evidence) {
        let watcher = sighting.watcher.as_str();
        let Some(line) = Line::ALL.into_iter().find(|line| watcher == line.watcher(kind)) else {
            continue;
        };
        let alert = sighting.native_id.as_str();
        if !seen.insert((watcher, alert)) {
            errors.twice += 1;
            continue;
        }
        match (tied.emitted.get(&(watcher, alert)), tied.scenario.get(&sighting.canary)) {
            (Some(stamp), Some(scenario)) => {
                errors.seen += 1;
                let error = sighting.observed.since(stamp).ns;
                let fine = RESOLUTION.as_nanos() as i64;
                let lower = sighting.not_before.unwrap_or(sighting.observed.plus_ns(-fine));
                errors.held += u64::from(error >= 0 && stamp.since(&lower).ns >= 0);
                errors.by.entry((line, scenario)).or_default().push(error);
            }
            _ => errors.unknown += 1,
        }
    }
    errors
}

impl Findings {
    fn push_kind<'a>(&mut self, evidence: &Evidence<'a>, tied: &Tied<'a>, kind: &str, aim: i64) {
        let errors = errors(evidence, tied, kind);
        let outlets: BTreeSet<String> = Line::ALL.iter().map(|l| l.watcher(kind)).collect();
        let left = tied.emitted.keys().filter(|(o, _)| outlets.contains(*o)).count() as u64;
        let early = errors.by.values().flatten().filter(|e| **e < 0).count();
        let text = format!(
            "{} of {left} seen, {} of them twice, {} unknown to the truth, {early} before they left",
            errors.seen, errors.twice, errors.unknown
        );
        let sound =
            left > 0 && errors.seen == left && errors.twice + errors.unknown == 0 && early == 0;
        // A stamp lies before the way to a broker: since when a record can be read there is not known.
        if kind != "kafka" {
            let (of, held) = (format!("{kind} interval, true instant"), (errors.held, errors.seen));
            self.coverage.push(intervals::coverage(&of, "all", None, held, None));
        }
        let planted = "alerts, stamped as they leave";
        self.checks.push(check(kind, planted, text, sound && tied.dropped == 0));
        let plain: Vec<i64> = errors
            .by
            .iter()
            .filter(|((line, _), _)| *line == Line::Plain)
            .flat_map(|(_, errors)| errors.iter().copied())
            .collect();
        self.floors.extend(floor(kind, "all", plain, Some(aim), evidence.seed));
        for ((_, scenario), errors) in errors.by {
            self.by_scenario.extend(floor(kind, scenario, errors, None, evidence.seed));
        }
    }

    fn push_polls<'a>(&mut self, evidence: &Evidence<'a>, tied: &Tied<'a>) {
        let mut by: BTreeMap<(Line, &str), Vec<Look>> = BTreeMap::new();
        let mut seen: HashSet<&str> = HashSet::new();
        let mut twice = 0;
        for sighting in sightings(evidence) {
            let known = tied.documents.get(sighting.native_id.as_str());
            let line = Line::ALL.into_iter().find(|l| sighting.watcher == l.watcher("poll"));
            let (Some((canary, stamp)), Some(line)) = (known, line) else { continue };
            twice += u64::from(!seen.insert(&sighting.native_id));
            let Some(scenario) = tied.scenario.get(canary) else { continue };
            let look = Look {
                // Seen in the first look of all: no lower end was measured.
                before: sighting.not_before.map(|from| stamp.since(&from).ns),
                after: sighting.observed.since(stamp).ns,
            };
            by.entry((line, scenario)).or_default().push(look);
        }
        let all = tied.documents.len();
        let text = format!("{} of {all} seen, {twice} of them twice", seen.len());
        let sound = all > 0 && seen.len() == all && twice == 0;
        self.checks.push(check("poll", "records, searchable from known instants", text, sound));
        let plain: Vec<Look> = by
            .iter()
            .filter(|((line, _), _)| *line == Line::Plain)
            .flat_map(|(_, looks)| looks.iter().copied())
            .collect();
        self.polls.extend(polled("all", plain, evidence.seed));
        for ((_, name), looks) in by {
            let held = looks.iter().filter(|look| look.holds()).count() as u64;
            let (of, n) = ("polled interval, true instant", looks.len() as u64);
            let loss = SCENARIOS.iter().find(|s| s.name == name).map(|s| s.loss);
            self.coverage.push(intervals::coverage(of, name, loss, (held, n), None));
            self.polls.extend(polled(name, looks, evidence.seed));
        }
    }
}

/// A polled interval around the true instant: true minus lower end, upper end minus true.
#[derive(Clone, Copy)]
struct Look {
    before: Option<i64>,
    after: i64,
}

impl Look {
    fn holds(&self) -> bool {
        self.before.is_some_and(|before| before >= 0) && self.after >= 0
    }
}

fn floor(
    kind: &str,
    scenario: &str,
    mut errors: Vec<i64>,
    aim_ns: Option<i64>,
    seed: u64,
) -> Option<Floor> {
    errors.sort_unstable();
    let p99 = sample::quantile(&errors, 0.99)?;
    Some(Floor {
        watcher: kind.into(),
        scenario: scenario.into(),
        n: errors.len() as u64,
        least_ns: *errors.first()?,
        p50: sample::quantile(&errors, 0.5)?,
        p99,
        max_ns: *errors.last()?,
        mean: sample::mean(&errors, seed)?,
        aim_ns,
        met: aim_ns.is_none_or(|aim| p99.value_ns <= aim),
    })
}

fn polled(scenario: &str, looks: Vec<Look>, seed: u64) -> Option<Polled> {
    let whole = || looks.iter().filter_map(|l| Some((l.before?, l.after)));
    let mut upper: Vec<i64> = looks.iter().map(|l| l.after).collect();
    let mut width: Vec<i64> = whole().map(|(before, after)| before + after).collect();
    let mut middle: Vec<i64> = whole().map(|(before, after)| (after - before) / 2).collect();
    for values in [&mut upper, &mut width, &mut middle] {
        values.sort_unstable();
    }
    Some(Polled {
        scenario: scenario.into(),
        every_ns: POLL_MS * MS,
        n: looks.len() as u64,
        held: looks.iter().filter(|l| l.holds()).count() as u64,
        width_p50_ns: sample::quantile(&width, 0.5)?.value_ns,
        upper_p50: sample::quantile(&upper, 0.5)?,
        upper_p99: sample::quantile(&upper, 0.99)?,
        middle_mean: sample::mean(&middle, seed)?,
    })
}

/// Every outcome and interval of a scenario, against the detector's stamps.
fn outcomes(
    evidence: &Evidence<'_>,
    tied: &Tied<'_>,
    scenario: &Scenario,
    route: &RouteView,
) -> Check {
    let mut counts: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    let (mut all, mut wrong, mut outside, mut straddles) = (0_u64, 0_u64, 0_u64, 0_u64);
    for canary in &route.canaries {
        let until_cut = evidence.assessment.cut.saturating_sub(canary.submitted);
        for verdict in &canary.verdicts {
            let Some(plan) = route.plan.expectations.get(verdict.expectation) else { continue };
            let Some(watcher) = plan.watchers.first() else { continue };
            let deadline = i64::try_from(plan.deadline_ns).unwrap_or(i64::MAX);
            let time = tied.true_ns(canary.id, watcher).filter(|ns| *ns <= until_cut);
            let should = match time {
                Some(ns) if ns <= deadline => Outcome::Detected,
                Some(_) => Outcome::Late,
                None => Outcome::Missed,
            };
            all += 1;
            let near = time.is_some_and(|ns| (ns - deadline).abs() <= NEAR_NS);
            let polled = watcher.starts_with("poll");
            let open = verdict.outcome == Outcome::Indeterminate
                && verdict.ttd.is_some_and(|t| {
                    t.lower_ns <= plan.deadline_ns && plan.deadline_ns < t.upper_ns
                });
            straddles += u64::from(open);
            wrong += u64::from(verdict.outcome != should && !near && !open);
            outside += u64::from(match (verdict.ttd, time) {
                // How far a push or a tail lies off is the floor; its lower end has a row of its own.
                (Some(ttd), Some(ns)) => {
                    let ns = ns.max(0).unsigned_abs();
                    ns > ttd.upper_ns || (polled && ns < ttd.lower_ns)
                }
                (None, None) => false,
                _ => true,
            });
            let one = counts.entry((&plan.name, should.name())).or_default();
            one.0 += 1;
            let one = counts.entry((&plan.name, verdict.outcome.name())).or_default();
            one.1 += 1;
        }
    }
    let shares: Vec<String> = counts
        .iter()
        .map(|((name, outcome), (should, is))| format!("{name} {outcome} {is} of {should}"))
        .collect();
    let text = format!(
        "{wrong} of {all} outcomes differ from the truth, {straddles} intervals straddle a deadline, \
         {outside} times lie outside their interval; measured of true: {}",
        shares.join(", ")
    );
    let holds = all > 0 && wrong == 0 && outside == 0 && exercised(scenario, &counts);
    check(scenario.name, scenario.shows, text, holds)
}

/// True unless what was planted did not happen: then nothing was shown.
fn exercised(scenario: &Scenario, counts: &BTreeMap<(&str, &str), (u64, u64)>) -> bool {
    match scenario.name {
        "overslept" => counts.get(&("detected", "missed")).is_some_and(|c| c.0 > 0),
        _ => true,
    }
}

/// Lost records: the very canaries that never reached the index, and as many as the share allows.
fn losses(tied: &Tied<'_>, scenario: &Scenario, route: &RouteView) -> Check {
    let truly = tied.lost.get(scenario.name).cloned().unwrap_or_default();
    let at = route.plan.expectations.iter().position(|e| e.name == "ingested");
    let missed: BTreeSet<TokenId> = route
        .canaries
        .iter()
        .filter(|c| {
            at.and_then(|at| c.verdicts.get(at)).is_some_and(|v| v.outcome == Outcome::Missed)
        })
        .map(|c| c.id)
        .collect();
    let n = route.canaries.len() as u64;
    let number = truly.len() as u64;
    let plausible = number >= sample::fewest_by_chance(n, scenario.loss)
        && n - number.min(n) >= sample::fewest_by_chance(n, 1.0 - scenario.loss);
    let text = format!(
        "{number} of {n} lost, {} missed at ingested, {}",
        missed.len(),
        if missed == truly { "the very same" } else { "not the same" }
    );
    let planted = format!("{:.0} % of the records lost", scenario.loss * 100.0);
    check(scenario.name, &planted, text, n > 0 && missed == truly && plausible)
}

/// Second copies are counted as duplicates and move no time.
fn duplicates(evidence: &Evidence<'_>, tied: &Tied<'_>, kind: &str) -> Check {
    let watcher = Line::Doubled.watcher(kind);
    let copies = tied.copies.get(watcher.as_str()).copied().unwrap_or(0);
    let counted: u64 = evidence
        .rows
        .iter()
        .filter_map(|row| match row {
            Row::Stray(s) if s.watcher == watcher && s.class == StrayClass::Duplicate => {
                Some(s.count)
            }
            _ => None,
        })
        .sum();
    let planted = format!("{copies} alerts leave a second time");
    let text = format!("{counted} duplicates counted");
    check(&watcher, &planted, text, copies > 0 && copies == counted)
}

/// The product's clock shifts what alerts state and no time to detect.
fn skew(evidence: &Evidence<'_>, tied: &Tied<'_>) -> Check {
    let skew_ns = Line::Skewed.ahead_ms() * MS as i64;
    let (mut n, mut shifted) = (0_u64, 0_u64);
    for sighting in sightings(evidence) {
        let pushed = evidence.pushed().any(|(k, _)| sighting.watcher == Line::Skewed.watcher(k));
        let Some((_, created)) = tied.alerts.get(sighting.native_id.as_str()) else { continue };
        if pushed {
            n += 1;
            let stated = sighting.created_time_ns.map(|ns| ns - created.wall_ns - skew_ns);
            shifted += u64::from(stated.is_some_and(|ns| ns.abs() <= STATED_NS));
        }
    }
    let used = evidence.assessment.routes.iter().flat_map(|r| &r.canaries);
    let used = used.flat_map(|c| &c.verdicts).filter(|v| v.by_created_time).count();
    let text = format!(
        "{shifted} of {n} alerts state a creation {} ahead; {used} times were decided by it",
        duration(skew_ns.unsigned_abs())
    );
    check("skew", "a product's clock that is ahead", text, n > 0 && shifted == n && used == 0)
}

/// While the search fails the poll is blind, says so, and makes it good.
fn outage(evidence: &Evidence<'_>) -> Check {
    let watcher = Line::Faulty.watcher("poll");
    let (from, to) = evidence.outage_ns;
    let period = (POLL_MS * MS) as i64 + 1_000_000_000;
    let spans = evidence.assessment.coverage.get(&watcher).map(|c| c.blind.clone());
    let spans = spans.unwrap_or_default();
    let inside = spans.iter().filter(|span| {
        span.from >= from - period && span.to.is_some_and(|end| end <= to + 10 * period)
    });
    let good = inside.filter(|span| span.recovered).count();
    let text =
        format!("{} blind spans, {good} of them in the outage and read afterwards", spans.len());
    let holds = good >= 1 && good == spans.len();
    check(&watcher, "a search that answers 503 for a while", text, holds)
}
