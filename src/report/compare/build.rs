//! From two assessments to a comparison.

use std::collections::BTreeMap;

use super::differently;
use super::effects::{Sureness, effects};
use super::judge::{adjust, judge, verdict};
use super::measured::{Plan, times};
use super::model::{Comparison, Numbers, Pair, SideReport, Test, Unpaired};
use crate::dispatch::outcome::{Assessment, CanaryView, Outcome, RouteView, Verdict};
use crate::ledger::ExpectationPlan;
use crate::report::blocks::{self, Length};
use crate::report::build::instant;
use crate::report::model::{HONEST_LIMIT, Share};
use crate::report::sample::{Fit, Sample, edges, polled_apart};
use crate::report::schedule;
use crate::report::share::known;
use crate::report::times::points;
use crate::stats::bootstrap::{Blocks, affordable_turnbull};
use crate::stats::difference::{fisher, newcombe, thinned};
use crate::stats::lag::{Lag, lag};
use crate::stats::logrank::{LogRank, Weight, logrank};
use crate::stats::proportion::clopper_pearson;
use crate::stats::survival::Observation;
use crate::stats::together::together;

/// Seed of the resampling: the same ledgers, the same comparison.
pub(super) const SEED: u64 = 0x0d_3e11;

/// One side: an assessment reduced to the canaries that were asked for.
#[derive(Clone, Debug)]
pub struct Side {
    /// As it was asked for.
    pub label: String,
    /// Its canaries and runs.
    pub assessment: Assessment,
    /// How the choice was made, where that needs saying.
    pub note: Option<String>,
}

/// What counts as worse.
#[derive(Clone, Copy, Debug)]
pub struct Margins {
    /// Ratio of medians.
    pub ratio: f64,
    /// Difference of shares not in time.
    pub share: f64,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Length of a block of submission time, nanoseconds.
    pub block_ns: u64,
}

/// One expectation of one route with its canaries.
pub(super) struct Series<'a> {
    /// The route's name; with its runs where some of the side's canaries mean something else by it.
    pub name: String,
    pub route: &'a RouteView,
    pub plan: &'a ExpectationPlan,
    pub decided: Vec<(&'a CanaryView, &'a Verdict)>,
    pub sample: Sample,
    /// The estimate that the report has of it.
    pub fit: Fit,
    pub cut: i64,
    /// How long a block of submission time is at least.
    pub block: Length,
}

impl Series<'_> {
    /// Canaries that enter the estimate.
    pub fn n(&self) -> usize {
        self.sample.observations.len()
    }

    /// How far the curve is known: without end where it has reached zero.
    pub fn known_until(&self) -> u64 {
        known_until(&self.sample, &self.fit)
    }
}

/// Every expectation of a side. Of a route of which the campaign's runs meant different things, those
/// views that hold canaries of this side; they are paired by name alone where one is left.
pub(super) fn series(assessment: &Assessment) -> Vec<Series<'_>> {
    let mut all = Vec::new();
    let used = |route: &&RouteView| !route.is_apart() || !route.canaries.is_empty();
    let mut views: BTreeMap<&str, u32> = BTreeMap::new();
    for route in assessment.routes.iter().filter(used) {
        *views.entry(&route.plan.name).or_insert(0) += 1;
    }
    for route in assessment.routes.iter().filter(used) {
        let name = match views.get(route.plan.name.as_str()) {
            Some(2..) => route.label(),
            _ => route.plan.name.clone(),
        };
        for (index, plan) in route.plan.expectations.iter().enumerate() {
            let decided: Vec<(&CanaryView, &Verdict)> =
                route.canaries.iter().filter_map(|c| Some((c, c.verdicts.get(index)?))).collect();
            let found = schedule::find(&decided, plan, &assessment.watchers);
            let period = blocks::period(plan, found.as_ref());
            let sample = Sample::new(&decided, period);
            let fit = sample.fit();
            let cut = assessment.cut;
            let block = blocks::length(plan, &assessment.watchers, found.as_ref());
            let name = name.clone();
            all.push(Series { name, route, plan, decided, sample, fit, cut, block });
        }
    }
    all
}

/// Compares two sides.
pub fn compare(a: &Side, b: &Side, margins: &Margins) -> Comparison {
    let (left, right) = (series(&a.assessment), series(&b.assessment));
    let key = |s: &Series<'_>| (s.name.clone(), s.plan.name.clone());
    let both: Vec<(&Series<'_>, &Series<'_>)> = left
        .iter()
        .filter_map(|one| Some((one, right.iter().find(|s| key(s) == key(one))?)))
        .collect();
    let mut warnings = differently::of_campaigns(&a.assessment, &b.assessment);
    let mut routes = Vec::new();
    for (one, other) in &both {
        warnings.extend(differently::of_routes(one, other, (&a.assessment, &b.assessment)));
        let pair = pair(one, other, margins, both.len());
        warnings.extend(pair.polled_apart_ns.map(|apart| differently::of_polls(one, apart)));
        routes.push(pair);
    }
    adjust(&mut routes);
    routes.iter_mut().for_each(|pair| judge(pair, margins, both.len()));
    let unpaired = |side: &[Series<'_>], other: &[Series<'_>], name: &str| {
        side.iter()
            .filter(|s| !other.iter().any(|o| key(o) == key(s)))
            .map(|s| Unpaired {
                route: s.name.clone(),
                expectation: s.plan.name.clone(),
                only_in: name.to_owned(),
            })
            .collect::<Vec<_>>()
    };
    let latest = latest(&both);
    let strata: Vec<Vec<Vec<Observation>>> = latest.iter().map(|(a, b)| groups(a, b)).collect();
    let mut model = Comparison {
        format: "dwell-compare/1".to_owned(),
        a: side(a),
        b: side(b),
        margin_ratio: margins.ratio,
        margin_share: margins.share,
        confidence: margins.confidence,
        overall: logrank(&strata, Weight::LogRank).map(test),
        overall_upper_ends: latest.iter().any(|(a, b)| a.sample.polled() || b.sample.polled()),
        overall_of: latest.iter().map(|(s, _)| format!("{} / {}", s.name, s.plan.name)).collect(),
        unpaired: [unpaired(&left, &right, "A"), unpaired(&right, &left, "B")].concat(),
        routes,
        warnings,
        verdict: Vec::new(),
        limit: HONEST_LIMIT.to_owned(),
    };
    model.verdict = verdict(&model);
    model
}

/// One expectation a route, its latest stage: a canary counts once in the overall test.
fn latest<'s, 'a>(
    both: &[(&'s Series<'a>, &'s Series<'a>)],
) -> Vec<(&'s Series<'a>, &'s Series<'a>)> {
    let mut strata: Vec<(&Series<'_>, &Series<'_>)> = Vec::new();
    for (one, other) in both {
        match strata.iter_mut().find(|(s, _)| s.name == one.name) {
            Some(known) if one.plan.stage > known.0.plan.stage => *known = (one, other),
            Some(_) => {}
            None => strata.push((one, other)),
        }
    }
    strata
}

/// What a log-rank test compares: times, polled ones at their upper ends.
fn groups(a: &Series<'_>, b: &Series<'_>) -> Vec<Vec<Observation>> {
    vec![a.sample.observations.clone(), b.sample.observations.clone()]
}

/// Is B behind A anywhere, with its times divided by the margin? What the polls alone could have made is
/// left out: where they are clearly different, B's times are those that it has at least.
fn behind(a: &Series<'_>, b: &Series<'_>, apart: bool, ratio: f64) -> Option<Lag> {
    let mut new = match apart {
        true => b.sample.lower_ends(),
        false => b.sample.observations.clone(),
    };
    new.iter_mut().for_each(|o| o.time_ns = (o.time_ns as f64 / ratio).round() as u64);
    lag(&a.sample.observations, &new)
}

fn test(t: LogRank) -> Test {
    let b_slower = t.observed.get(1) < t.expected.get(1);
    Test { chi2: t.chi2, p: t.p, b_slower, p_holm: t.p }
}

fn side(side: &Side) -> SideReport {
    let a = &side.assessment;
    SideReport {
        label: side.label.clone(),
        campaign: a.campaign.clone(),
        cut: instant(a.cut),
        runs: a.runs.iter().map(|r| r.run).collect(),
        canaries: a.routes.iter().map(|r| r.canaries.len() as u64).sum(),
        note: side.note.clone(),
    }
}

/// How far a curve is known: without end where it has reached zero.
pub(super) fn known_until(sample: &Sample, fit: &Fit) -> u64 {
    match fit.upper.steps().last() {
        Some(step) if step.survival <= 0.0 => u64::MAX,
        _ => sample.observations.iter().map(|o| o.time_ns).max().unwrap_or(0),
    }
}

fn pair(a: &Series<'_>, b: &Series<'_>, margins: &Margins, routes: usize) -> Pair {
    let confidence = margins.confidence;
    let until = [a, b].iter().map(|s| s.plan.horizon_ns.min(s.known_until())).min().unwrap_or(0);
    let within = a.plan.deadline_ns.min(b.plan.deadline_ns);
    let same = a.plan.deadline_ns == b.plan.deadline_ns;
    let within_of = Within { ns: within, of_verdict: same };
    let of = |s: &Series<'_>| numbers(s, until, within_of, confidence);
    let (left, right) = (of(a), of(b));
    let asked = Length { ns: margins.block_ns, why: "--block".to_owned() };
    let block = asked.or_longer(a.block.clone()).or_longer(b.block.clone());
    let missed = |s: &Share| (s.n - s.x, s.n);
    let as_one = left.together.max(right.together);
    let difference = |a: &Share, b: &Share| newcombe(missed(a), missed(b), as_one, confidence);
    let blocks_of = |s: &Series<'_>| Blocks::by_time(&s.sample.submitted, block.ns);
    let both = (blocks_of(a), blocks_of(b));
    let apart = polled_apart((&a.sample, &a.fit.upper), (&b.sample, &b.fit.upper));
    let sure = Sureness { confidence, routes };
    let effects = effects((a, b), &both, (until, apart.is_some()), sure);
    let found = effects.as_ref().ok();
    Pair {
        route: a.name.clone(),
        expectation: a.plan.name.clone(),
        stage: a.plan.stage.name().to_owned(),
        mean_until_ns: until,
        log_rank: logrank(&[groups(a, b)], Weight::LogRank).map(test),
        behind_beyond_margin: behind(a, b, apart.is_some(), margins.ratio),
        mean_difference_ns: found.and_then(|e| e.difference),
        mean_ratio: found.and_then(|e| e.mean_ratio),
        median_ratio: found.map(|e| e.median_ratio),
        quantile_ratio: found.and_then(|e| e.quantile_ratio),
        upper_ends: a.sample.polled() || b.sample.polled(),
        polled_apart_ns: apart,
        block_ns: block.ns,
        block_why: block.why,
        blocks: (both.0.len() as u32, both.1.len() as u32),
        resamples: found.map_or(0, |e| e.resamples),
        drawn: found.map(|e| e.drawn),
        not_resampled: effects.err(),
        within_ns: within,
        missed_together: as_one,
        missed_left_out: difference(&left.left_out, &right.left_out),
        missed_counted: difference(&left.counted, &right.counted),
        missed_p_holm: fisher(
            thinned(missed(&left.counted), as_one),
            thinned(missed(&right.counted), as_one),
        ),
        a: left,
        b: right,
        state: String::new(),
        words: String::new(),
    }
}

/// The time within which a share is counted.
#[derive(Clone, Copy)]
pub(super) struct Within {
    pub ns: u64,
    /// It is the deadline that the verdicts were given by: they know more than the times, such as what the
    /// alert's own creation time says.
    pub of_verdict: bool,
}

/// In time, those that nobody can tell of left out and counted as failed.
pub(super) struct Shares {
    pub left_out: Share,
    pub counted: Share,
    /// So many canaries count as one.
    pub together: f64,
}

/// Shares within a common time, so that two deadlines do not make a difference of their own; of the same
/// canaries as in the report.
pub(super) fn shares(
    decided: &[(&CanaryView, &Verdict)],
    (plan, cut): (&ExpectationPlan, i64),
    (within, confidence): (Within, f64),
) -> Shares {
    let latest = cut.saturating_sub_unsigned(plan.deadline_ns);
    let mut all: Vec<(i64, bool, bool)> = Vec::new();
    for (canary, verdict) in
        decided.iter().filter(|(c, v)| c.submitted <= latest && !v.rejected_by_us())
    {
        let (in_time, straddles) = match (within.of_verdict, verdict.ttd) {
            (true, _) => (verdict.outcome == Outcome::Detected, false),
            (false, Some(t)) => {
                (t.upper_ns <= within.ns, t.lower_ns <= within.ns && t.upper_ns > within.ns)
            }
            (false, None) => (false, false),
        };
        let sure = known(canary, verdict) && !straddles;
        all.push((canary.submitted, in_time, sure));
    }
    all.sort_unstable();
    let share = |of: &dyn Fn(bool) -> bool| {
        let missed: Vec<bool> = all.iter().filter(|c| of(c.2)).map(|c| !c.1).collect();
        let n = missed.len() as u64;
        let x = missed.iter().filter(|missed| !**missed).count() as u64;
        (Share { x, n, interval: clopper_pearson(x, n, confidence) }, together(&missed))
    };
    let (left_out, counted) = (share(&|sure| sure), share(&|_| true));
    Shares { together: left_out.1.max(counted.1), left_out: left_out.0, counted: counted.0 }
}

fn numbers(series: &Series<'_>, until: u64, within: Within, confidence: f64) -> Numbers {
    let Series { sample, fit, .. } = series;
    let Shares { left_out, counted, together } =
        shares(&series.decided, (series.plan, series.cut), (within, confidence));
    // Blocks as long as those of the report, whatever the other side needs: the same canaries, the same
    // limits.
    let blocks = Blocks::by_time(&sample.submitted, series.block.ns);
    let resamples = affordable_turnbull(series.n());
    let plan = Plan { blocks: Some(&blocks), resamples, confidence };
    Numbers {
        times: times(sample, fit, Some(until).filter(|until| *until > 0), &plan),
        followed_ns: sample.observations.iter().map(|o| o.time_ns).max().unwrap_or(0),
        left_out,
        counted,
        together,
        curve: match &fit.turnbull {
            Some(estimate) => edges(estimate),
            None => points(&fit.upper, confidence),
        },
    }
}
