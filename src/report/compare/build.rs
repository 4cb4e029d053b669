//! From two assessments to a comparison.

use std::collections::BTreeMap;

use super::differently;
use super::effects::{Sureness, effects, polls};
use super::measured::{Plan, times};
use super::model::{Comparison, Drawn, Effect, Numbers, Pair, SideReport, Test};
use crate::dispatch::outcome::{Assessment, CanaryView, Delivery, Outcome, RouteView, Verdict};
use crate::ledger::ExpectationPlan;
use crate::report::blocks::{self, Length};
use crate::report::build::instant;
use crate::report::model::{HONEST_LIMIT, Method, Share};
use crate::report::sample::{Fit, Sample, edges, polled_apart};
use crate::report::schedule;
use crate::report::times::points;
use crate::report::words::{duration, percent};
use crate::stats::bootstrap::{Blocks, affordable_turnbull};
use crate::stats::difference::{fisher, holm, newcombe};
use crate::stats::logrank::{LogRank, Weight, logrank};
use crate::stats::proportion::clopper_pearson;
use crate::stats::survival::Observation;

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
            let sample = Sample::new(&decided);
            let fit = sample.fit();
            let cut = assessment.cut;
            let found = schedule::find(&decided, plan, &assessment.watchers);
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
    routes.iter_mut().for_each(|pair| judge(pair, margins));
    let unpaired = |side: &[Series<'_>], other: &[Series<'_>], name: &str| {
        side.iter()
            .filter(|s| !other.iter().any(|o| key(o) == key(s)))
            .map(|s| format!("{} / {} (only in {name})", s.name, s.plan.name))
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

fn test(t: LogRank) -> Test {
    Test { chi2: t.chi2, p: t.p, p_holm: t.p }
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
    let of = |s: &Series<'_>| numbers(s, until, within, confidence);
    let (left, right) = (of(a), of(b));
    let asked = Length { ns: margins.block_ns, why: "--block".to_owned() };
    let block = asked.or_longer(a.block.clone()).or_longer(b.block.clone());
    let missed = |s: &Share| (s.n - s.x, s.n);
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
        mean_difference_ns: found.map(|e| e.difference),
        mean_ratio: found.map(|e| e.mean_ratio),
        median_ratio: found.map(|e| e.median_ratio),
        upper_ends: a.sample.polled() || b.sample.polled(),
        polled_apart_ns: apart,
        block_ns: block.ns,
        block_why: block.why,
        blocks: (both.0.len() as u32, both.1.len() as u32),
        resamples: found.map_or(0, |e| e.resamples),
        drawn: found.map(|e| e.drawn),
        not_resampled: effects.err(),
        within_ns: within,
        missed_left_out: newcombe(missed(&left.left_out), missed(&right.left_out), confidence),
        missed_counted: newcombe(missed(&left.counted), missed(&right.counted), confidence),
        missed_p_holm: fisher(missed(&left.counted), missed(&right.counted)),
        a: left,
        b: right,
        state: String::new(),
        words: String::new(),
    }
}

/// Shares within a common time, so that two deadlines do not make a difference of their own.
pub(super) fn shares(
    decided: &[(&CanaryView, &Verdict)],
    (plan, cut): (&ExpectationPlan, i64),
    (within, confidence): (u64, f64),
) -> (Share, Share) {
    let latest = cut.saturating_sub_unsigned(plan.deadline_ns);
    let (mut x, mut n, mut sure_x, mut sure_n) = (0, 0, 0, 0);
    for (canary, verdict) in decided.iter().filter(|(c, _)| c.submitted <= latest) {
        let in_time = verdict.ttd.is_some_and(|t| t.upper_ns <= within);
        let straddles = verdict.ttd.is_some_and(|t| t.lower_ns <= within && t.upper_ns > within);
        let sure = matches!(canary.delivery, Delivery::Proven | Delivery::Rejected)
            && !matches!(verdict.outcome, Outcome::Indeterminate | Outcome::Pending)
            && !straddles;
        n += 1;
        x += u64::from(in_time);
        sure_n += u64::from(sure);
        sure_x += u64::from(sure && in_time);
    }
    let share = |x, n| Share { x, n, interval: clopper_pearson(x, n, confidence) };
    (share(sure_x, sure_n), share(x, n))
}

fn numbers(series: &Series<'_>, until: u64, within: u64, confidence: f64) -> Numbers {
    let Series { sample, fit, .. } = series;
    let (left_out, counted) =
        shares(&series.decided, (series.plan, series.cut), (within, confidence));
    // Blocks as long as those of the report, whatever the other side needs: the same canaries, the same
    // limits.
    let blocks = Blocks::by_time(&sample.submitted, series.block.ns);
    let resamples = affordable_turnbull(series.n());
    let plan = Plan { blocks: Some(&blocks), resamples, confidence };
    Numbers {
        times: times(sample, fit, Some(until), &plan),
        followed_ns: sample.observations.iter().map(|o| o.time_ns).max().unwrap_or(0),
        left_out,
        counted,
        curve: match &fit.turnbull {
            Some(estimate) => edges(estimate),
            None => points(&fit.upper, confidence),
        },
    }
}

/// Holm over routes, for both families of tests.
fn adjust(pairs: &mut [Pair]) {
    let speed = holm(&pairs.iter().map(|p| p.log_rank.map_or(1.0, |t| t.p)).collect::<Vec<_>>());
    let missed = holm(&pairs.iter().map(|p| p.missed_p_holm).collect::<Vec<_>>());
    for ((pair, speed), missed) in pairs.iter_mut().zip(speed).zip(missed) {
        if let Some(test) = &mut pair.log_rank {
            test.p_holm = speed;
        }
        pair.missed_p_holm = missed;
    }
}

fn judge(pair: &mut Pair, margins: &Margins) {
    let level = 1.0 - margins.confidence;
    let (effect, named) = match pair.a.times.median.and_then(|m| m.estimate.ns()) {
        Some(_) => (pair.median_ratio, "ratio of medians"),
        None => (pair.mean_ratio, "ratio of restricted means (A's median is not reached)"),
    };
    let differs = pair.log_rank.is_some_and(|t| t.p_holm <= level);
    let beyond = |lower: Option<f64>| lower.is_some_and(|l| l > margins.ratio);
    let slower = match pair.polled_apart_ns {
        // The test may have seen how often was looked. The interval knows that, and must hold alone.
        Some(_) => beyond(effect.and_then(|e| e.lower_beside)),
        None => differs && beyond(effect.and_then(|e| e.lower)),
    };
    let not_slower = effect.and_then(|e| e.upper).is_some_and(|u| u <= margins.ratio);
    let ends = [pair.missed_left_out, pair.missed_counted];
    let more = pair.missed_p_holm <= level
        && ends.iter().all(|d| d.is_some_and(|d| d.lower > margins.share));
    let not_more = ends.iter().all(|d| d.is_some_and(|d| d.upper <= margins.share));
    pair.state = match (slower, more) {
        (true, true) => "slower and more missed",
        (true, false) => "slower",
        (false, true) => "more missed",
        (false, false) if not_slower && not_more => "no worse",
        (false, false) => "cannot tell",
    }
    .to_owned();
    let number = |v: Option<f64>| v.map_or("not reached".to_owned(), |v| format!("{v:.2}"));
    let speed = match effect {
        Some(e) => format!(
            "{named} B / A {} ({} to {}), margin {}",
            number(e.estimate),
            number(e.lower.filter(|v| *v < f64::MAX)),
            number(e.upper),
            margins.ratio
        ),
        None => format!(
            "{} and {} blocks of submission time of {} ({}) carry no interval: {}",
            pair.blocks.0,
            pair.blocks.1,
            duration(pair.block_ns),
            pair.block_why,
            pair.not_resampled.as_deref().unwrap_or_default()
        ),
    };
    let share = match pair.missed_counted {
        Some(d) => format!(
            "not within {}: {} more ({} to {}), margin {}",
            duration(pair.within_ns),
            in_points(d.estimate),
            in_points(d.lower),
            in_points(d.upper),
            percent(margins.share)
        ),
        None => "none old enough to be judged on a side".to_owned(),
    };
    pair.words = format!("{speed}; {share}{}", polled(pair, effect));
}

/// How polled times entered.
fn polled(pair: &Pair, effect: Option<Effect>) -> String {
    let name = |side: &Numbers, name| (side.times.method == Method::Turnbull).then_some(name);
    let coarse: Vec<&str> =
        [name(&pair.a, "A"), name(&pair.b, "B")].into_iter().flatten().collect();
    let mut words = match (pair.upper_ends, coarse.is_empty()) {
        (false, _) => return String::new(),
        (true, true) => "; polled times enter with their upper ends".to_owned(),
        (true, false) => format!(
            "; coarsely polled times of {} by Turnbull's estimate, which leaves ranges; in the log-rank test \
             polled times enter with their upper ends",
            coarse.join(" and ")
        ),
    };
    let ends = pair.drawn.is_some_and(|(a, b)| [a, b].contains(&Drawn::BothEnds));
    if ends {
        words.push_str(
            "; the limits are wide: they run from lower ends to upper ends of polled times, where there are too \
             many to be resampled otherwise or the other side was polled otherwise",
        );
    }
    if let Some(apart) = pair.polled_apart_ns {
        let alone = effect.and_then(|e| e.lower_beside).filter(|v| *v < f64::MAX);
        words.push_str(&format!(
            "; {}, which that test may see instead of the SIEM: it decides nothing, the interval alone does \
             (its lower end beside all other routes is {})",
            polls(apart),
            alone.map_or("not reached".to_owned(), |v| format!("{v:.2}"))
        ));
    }
    words
}

/// A difference of shares in percentage points.
fn in_points(share: f64) -> String {
    format!("{:.1} points", share * 100.0)
}

fn verdict(model: &Comparison) -> Vec<String> {
    let number = |state: &str| model.routes.iter().filter(|p| p.state == state).count();
    let worse = model.routes.len() - number("no worse") - number("cannot tell");
    let mut words = vec![format!(
        "B is worse than A on {worse} of {} expectations, no worse on {}, cannot tell on {}.",
        model.routes.len(),
        number("no worse"),
        number("cannot tell")
    )];
    for pair in model.routes.iter().filter(|p| p.state != "no worse") {
        words.push(format!(
            "{} / {}: {}: {}.",
            pair.route, pair.expectation, pair.state, pair.words
        ));
    }
    words
}
