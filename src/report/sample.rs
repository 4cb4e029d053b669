//! Which estimate the times of one expectation get: one rule, for the report, `compare` and the trend.
//!
//! - Times that our own clock stamped as they came: Kaplan-Meier.
//! - Polled times whose intervals are at most 5 % of the median wide: Kaplan-Meier on the upper ends,
//!   labelled an upper bound. That errs on the safe side of an objective.
//! - Coarser polled times: Turnbull's estimate on the intervals themselves. Never the middle of an
//!   interval. Of more canaries than a report can estimate so, the upper ends again, and it is said.
//! - So with times that another watcher found late (by a start, behind a blind span, after a stop), once
//!   one of their intervals is wider than 5 % of the median: it is no exact time among exact ones.
//!
//! A polled time that the alert's own creation time decides (see `dispatch::outcome`) has the narrow
//! interval of that, and the label says how many have.
//!
//! Limits of Turnbull's estimate come from a bootstrap and are approximate. That takes the place of a time in
//! its interval for chance, and needs intervals that are not far longer than the times. Else nothing says where
//! in them all times lie, and the limits run from the lower limit on the lower ends to the upper limit on the
//! upper ends, which hold wherever they do:
//!
//! - where a rule is known to run on a schedule that is no shorter than a quarter of nine of ten intervals:
//!   against polls at their own, its alerts always come at the same few places between two of them;
//! - where times are the alerts' own: how far the clocks are apart is one number for all of them;
//! - where more than one interval in ten is longer than twice the median;
//! - of more canaries than a report can resample.
//!
//! The same canaries get the same estimate and the same limits wherever they are shown.

use super::blocks::FEWEST;
use super::expectation::observation;
use super::model::{CurvePoint, Method};
use super::times::Decided;
use crate::dispatch::outcome::Dated;
use crate::stats::bootstrap::{Blocks, Statistic, affordable, curve_intervals, turnbull_intervals};
use crate::stats::intervals::{Interval, Turnbull};
use crate::stats::survival::{Band, Curve, Observation};
use crate::stats::z_two_sided;

/// Polling is told apart from push where its intervals are wider than this share of the median.
const COARSE: f64 = 0.05;
/// Fixed, so that the same rows give the same report.
pub(super) const SEED: u64 = 1;
/// Largest number of observations for which coarse polled times are estimated by Turnbull.
const TURNBULL_MOST: usize = 50_000;
/// Resamples of intervals say how far an estimate may be off where nine of ten are no longer than so many
/// medians: with longer ones they held p95 in 7 of 10 campaigns.
const LONGEST: u64 = 2;
/// Two sides were polled differently where the intervals of one are longer by this factor.
const APART: f64 = 1.5;

/// Why upper ends stand where Turnbull's estimate should.
const TOO_MANY: &str = "; too many canaries for Turnbull's estimate in a report";
const NOT_REACHED: &str = "; Turnbull's estimate was not reached";

/// What enters: one line per canary of proven delivery.
#[derive(Default)]
pub(super) struct Sample {
    /// Times at their upper ends.
    pub observations: Vec<Observation>,
    /// The same, with what the polls leave open.
    pub intervals: Vec<Interval>,
    /// Submission, nanoseconds.
    pub submitted: Vec<i64>,
    /// Of the polled detections, ascending.
    widths: Vec<u64>,
    /// Of those that other watchers found late.
    late: Vec<u64>,
    /// Of the polled ones, whose times are the records' own.
    dated: usize,
    /// How often the rule runs, nanoseconds, where that is known.
    period: Option<u64>,
}

/// The estimate that a sample gets.
pub(super) struct Fit {
    /// Kaplan-Meier on the upper ends, whatever the method.
    pub upper: Curve,
    /// In its place, where the method says so.
    pub turnbull: Option<Turnbull>,
    /// Which of the two.
    pub method: Method,
    /// What the numbers are.
    pub label: String,
}

/// Limits of what Turnbull's estimate says.
pub(super) struct Ranges {
    /// Per statistic: from the lower limit of its lower end to the upper limit of its upper end, in
    /// nanoseconds; infinite where not reached.
    pub limits: Vec<(f64, f64)>,
    /// Resamples; 0 where a report cannot carry enough of them.
    pub resamples: u32,
    /// Blocks of submission time were drawn, not canaries.
    pub in_blocks: bool,
}

/// Where limits of Turnbull's estimate come from.
pub(super) fn how(resamples: u32, in_blocks: bool) -> &'static str {
    match (resamples, in_blocks) {
        (0, false) => {
            "from the lower log-log limit on lower ends to the upper one on upper ends, each canary taken \
             as independent"
        }
        (0, true) => {
            "from the lower limit on lower ends to the upper one on upper ends, the wider of the log-log ones \
             and those by blocks of submission time"
        }
        (_, false) => "by bootstrap of canaries, approximate",
        (_, true) => "by bootstrap of blocks of submission time, approximate",
    }
}

impl Sample {
    /// Of these; and how often the rule runs, where that is known.
    pub fn new(decided: &[Decided<'_>], period: Option<u64>) -> Sample {
        let mut sample = Sample { period, ..Sample::default() };
        for (canary, verdict) in decided {
            let Some(observation) = observation(canary, verdict) else { continue };
            let interval = match verdict.ttd {
                Some(ttd) => Interval { lower_ns: ttd.lower_ns, upper_ns: Some(ttd.upper_ns) },
                None => Interval { lower_ns: observation.time_ns, upper_ns: None },
            };
            match verdict.ttd {
                Some(ttd) if verdict.polled => sample.widths.push(ttd.width_ns()),
                Some(ttd) if verdict.caught_up => sample.late.push(ttd.width_ns()),
                _ => {}
            }
            sample.dated += usize::from(verdict.polled && verdict.dated == Dated::ByRecord);
            sample.observations.push(observation);
            sample.intervals.push(interval);
            sample.submitted.push(canary.submitted);
        }
        sample.widths.sort_unstable();
        sample
    }

    /// Whose times these are, where a poll found them or some were found late.
    fn whose(&self) -> String {
        let polled = match (self.dated, self.widths.len()) {
            (_, 0) => None,
            (0, _) => Some("polled".to_owned()),
            (dated, polled) => Some(format!("polled, {dated} of {polled} by the alert's own time")),
        };
        let late = match self.late.len() {
            0 => None,
            late => Some(format!("{late} of {} found late", self.detections())),
        };
        polled.into_iter().chain(late).collect::<Vec<_>>().join(", ")
    }

    fn detections(&self) -> usize {
        self.observations.iter().filter(|o| o.event).count()
    }

    /// True where any detection was polled, or found late.
    pub fn polled(&self) -> bool {
        !self.widths.is_empty() || !self.late.is_empty()
    }

    /// The estimate, by the one rule.
    pub fn fit(&self) -> Fit {
        let upper = Curve::fit(&self.observations);
        let most = COARSE * median(&upper) as f64;
        let wide = |width: &u64| *width as f64 > most;
        let polled = self.widths.get(self.widths.len() / 2);
        let coarse = polled.is_some_and(wide) || self.late.iter().any(wide);
        match (coarse, self.intervals.len()) {
            (false, _) if polled.is_none() => self.by_curve(upper, Method::KaplanMeier, ""),
            (false, _) => self.by_curve(upper, Method::KaplanMeierUpperEnds, ""),
            (true, n) if n > TURNBULL_MOST => {
                self.by_curve(upper, Method::KaplanMeierUpperEnds, TOO_MANY)
            }
            // One canary is no distribution.
            (true, ..2) => self.by_curve(upper, Method::KaplanMeierUpperEnds, NOT_REACHED),
            (true, _) => self.by_turnbull(upper),
        }
    }

    /// The estimate of a part of another sample, by that one's method: lines of one table are alike.
    pub fn fit_like(&self, whole: &Fit) -> Fit {
        let upper = Curve::fit(&self.observations);
        match &whole.turnbull {
            Some(_) => self.by_turnbull(upper),
            None => Fit { upper, turnbull: None, method: whole.method, label: whole.label.clone() },
        }
    }

    fn by_turnbull(&self, upper: Curve) -> Fit {
        let estimate = Turnbull::fit(&self.intervals);
        if !estimate.converged() {
            return self.by_curve(upper, Method::KaplanMeierUpperEnds, NOT_REACHED);
        }
        let label = format!("time to detect ({}, Turnbull)", self.whose());
        Fit { upper, turnbull: Some(estimate), method: Method::Turnbull, label }
    }

    fn by_curve(&self, upper: Curve, method: Method, why: &str) -> Fit {
        let label = match method {
            Method::KaplanMeier => "time to detect".to_owned(),
            _ => format!("upper bound on the time to detect ({}){why}", self.whose()),
        };
        Fit { upper, turnbull: None, method, label }
    }

    /// Times at their lower ends.
    pub fn lower_ends(&self) -> Vec<Observation> {
        let lower = |i: &Interval| Observation { time_ns: i.lower_ns, event: i.upper_ns.is_some() };
        self.intervals.iter().map(lower).collect()
    }

    /// How often the rule runs, nanoseconds, where that is known.
    pub fn period(&self) -> Option<u64> {
        self.period
    }

    /// Is it chance where in its interval a time lies, and are the intervals short enough to tell?
    pub fn lies_by_chance(&self, upper: &Curve) -> bool {
        let wide = self.coarseness().unwrap_or(0);
        let short = wide <= median(upper).saturating_mul(LONGEST);
        let in_step = self.period.is_some_and(|period| period >= wide / 4);
        short && !in_step && self.dated == 0
    }

    /// Limits of Turnbull's estimate: by blocks where there are enough of them, else by canaries; by so
    /// many resamples, where that many are worth it.
    pub fn ranges(
        &self,
        upper: &Curve,
        blocks: Option<&Blocks>,
        (resamples, confidence): (Option<u32>, f64),
        asked: &[Statistic],
    ) -> Ranges {
        let blocks = blocks.filter(|blocks| blocks.len() >= FEWEST);
        let single = Blocks::single(self.intervals.len());
        let draw = |resamples| {
            let plan = (resamples, SEED, confidence);
            turnbull_intervals(&self.intervals, blocks.unwrap_or(&single), plan, asked)
        };
        match resamples.filter(|_| self.lies_by_chance(upper)).and_then(draw) {
            Some(found) => Ranges {
                resamples: found.iter().map(|(low, _)| low.used).max().unwrap_or(0),
                limits: found.iter().map(|(low, high)| (low.lower, high.upper)).collect(),
                in_blocks: blocks.is_some(),
            },
            None => {
                let mut limits = self.between_ends(upper, confidence, asked);
                let drawn = affordable(2 * self.intervals.len()).zip(blocks);
                if let Some((resamples, blocks)) = drawn {
                    self.widen(&mut limits, blocks, (resamples, SEED, confidence), asked);
                }
                Ranges { limits, resamples: 0, in_blocks: drawn.is_some() }
            }
        }
    }

    /// No narrower than limits by blocks of the ends.
    fn widen(
        &self,
        limits: &mut [(f64, f64)],
        blocks: &Blocks,
        plan: (u32, u64, f64),
        asked: &[Statistic],
    ) {
        let of = |ends: &[Observation]| curve_intervals(ends, blocks, plan, asked);
        let found = of(&self.lower_ends()).into_iter().zip(of(&self.observations));
        for (limits, (low, high)) in limits.iter_mut().zip(found) {
            limits.0 = low.map_or(limits.0, |low| low.lower.min(limits.0));
            limits.1 = high.map_or(limits.1, |high| high.upper.max(limits.1));
        }
    }

    /// Whatever the polls left open, the time lies between the ends: so do the limits on it lie between
    /// those on the lower ends and those on the upper ends.
    fn between_ends(&self, upper: &Curve, confidence: f64, asked: &[Statistic]) -> Vec<(f64, f64)> {
        let lower = Curve::fit(&self.lower_ends());
        let z = z_two_sided(confidence);
        let limits = |curve: &Curve, statistic: &Statistic| match statistic {
            Statistic::Quantile(p) => {
                let found = curve.quantile(*p, Band::LogLog, confidence);
                let time = |end: Option<u64>| end.map_or(f64::INFINITY, |ns| ns as f64);
                (time(found.lower.ns()), time(found.upper.ns()))
            }
            Statistic::RestrictedMean(tau_ns) => {
                let (mean, se) = curve.restricted_mean(*tau_ns);
                ((mean - z * se).max(0.0), mean + z * se)
            }
        };
        asked.iter().map(|s| (limits(&lower, s).0, limits(upper, s).1)).collect()
    }

    /// How closely times are known: nine of ten detections lie in intervals of at most this length, in
    /// nanoseconds; what our own clock stamped counts as 0. `None` without a detection.
    fn coarseness(&self) -> Option<u64> {
        let events = self.detections();
        let rank = (events * 9).div_ceil(10).checked_sub(1)?;
        let mut widths = [self.widths.as_slice(), &self.late].concat();
        widths.sort_unstable();
        let own = events.saturating_sub(widths.len());
        Some(rank.checked_sub(own).and_then(|at| widths.get(at)).copied().unwrap_or(0))
    }
}

/// How closely the times of both sides are known, nanoseconds, where that is clearly different: one less
/// closely by half, and by more than what makes polling coarse. A test on the upper ends may then see that.
pub(super) fn polled_apart(a: (&Sample, &Curve), b: (&Sample, &Curve)) -> Option<(u64, u64)> {
    let (left, right) = (a.0.coarseness()?, b.0.coarseness()?);
    let (narrow, wide) = (left.min(right) as f64, left.max(right) as f64);
    let median = median(a.1).min(median(b.1)) as f64;
    (wide > APART * narrow && wide - narrow > COARSE * median).then_some((left, right))
}

/// The median time of all, or of the detected ones where fewer than half are.
fn median(curve: &Curve) -> u64 {
    let all = curve.estimate(0.5).ns();
    let detected = || curve.steps().get(curve.steps().len() / 2).map_or(0, |s| s.time_ns);
    all.unwrap_or_else(detected)
}

/// Both edges of Turnbull's curve: inside a cell the data do not say where it falls.
pub(super) fn edges(estimate: &Turnbull) -> Vec<CurvePoint> {
    let mut points = Vec::new();
    let mut before = 1.0f64;
    for (cell, mass) in estimate.masses() {
        let Some(upper_ns) = cell.upper_ns else { continue };
        let after = (before - mass).max(0.0);
        let point = |time_ns, undetected| CurvePoint {
            time_ns,
            undetected,
            lower: Some(after),
            upper: Some(undetected),
        };
        // A logarithmic axis has no place for submission itself.
        if cell.lower_ns < upper_ns && cell.lower_ns > 0 {
            points.push(point(cell.lower_ns, before));
        }
        points.push(point(upper_ns, after));
        before = after;
    }
    points
}
