//! From two assessments to a comparison.

use std::collections::BTreeSet;

use super::model::{Comparison, Effect, Numbers, Pair, SideReport, Test};
use crate::dispatch::outcome::{Assessment, CanaryView, Delivery, Outcome, RouteView, Verdict};
use crate::ledger::ExpectationPlan;
use crate::report::blocks::{self, FEWEST, Length};
use crate::report::build::rfc3339;
use crate::report::expectation::observation;
use crate::report::model::{HONEST_LIMIT, Share};
use crate::report::schedule;
use crate::report::times::{needed, points};
use crate::report::words::{duration, percent};
use crate::stats::bootstrap::{Blocks, affordable, for_each_resample};
use crate::stats::difference::{fisher, holm, newcombe};
use crate::stats::logrank::{Weight, logrank};
use crate::stats::proportion::clopper_pearson;
use crate::stats::survival::{Band, Curve, Observation, Quantile};

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
pub(super) struct Sample<'a> {
    pub route: &'a RouteView,
    pub plan: &'a ExpectationPlan,
    pub decided: Vec<(&'a CanaryView, &'a Verdict)>,
    pub submitted: Vec<i64>,
    pub observations: Vec<Observation>,
    pub cut: i64,
    /// How long a block of submission time is at least.
    pub block: Length,
}

/// Every expectation of a side.
pub(super) fn samples(assessment: &Assessment) -> Vec<Sample<'_>> {
    let mut samples = Vec::new();
    for route in &assessment.routes {
        for (index, plan) in route.plan.expectations.iter().enumerate() {
            let decided: Vec<(&CanaryView, &Verdict)> =
                route.canaries.iter().filter_map(|c| Some((c, c.verdicts.get(index)?))).collect();
            let (submitted, observations) =
                decided.iter().filter_map(|(c, v)| Some((c.submitted, observation(c, v)?))).unzip();
            let cut = assessment.cut;
            let found = schedule::find(&decided);
            let block = blocks::length(plan, &assessment.watchers, found.as_ref());
            samples.push(Sample { route, plan, decided, submitted, observations, cut, block });
        }
    }
    samples
}

/// Compares two sides.
pub fn compare(a: &Side, b: &Side, margins: &Margins) -> Comparison {
    let (left, right) = (samples(&a.assessment), samples(&b.assessment));
    let key = |s: &Sample<'_>| (s.route.plan.name.clone(), s.plan.name.clone());
    let mut routes = Vec::new();
    let mut strata: Vec<(&Sample<'_>, Vec<Vec<Observation>>)> = Vec::new();
    let mut warnings = of_campaigns(&a.assessment, &b.assessment);
    for one in &left {
        let Some(other) = right.iter().find(|s| key(s) == key(one)) else { continue };
        let groups = || vec![one.observations.clone(), other.observations.clone()];
        // One expectation a route, its latest stage: a canary counts once.
        match strata.iter_mut().find(|(s, _)| s.route.plan.name == one.route.plan.name) {
            Some(known) if one.plan.stage > known.0.plan.stage => *known = (one, groups()),
            Some(_) => {}
            None => strata.push((one, groups())),
        }
        warnings.extend(of_routes(one, other, (&a.assessment, &b.assessment)));
        routes.push(pair(one, other, margins));
    }
    adjust(&mut routes);
    routes.iter_mut().for_each(|pair| judge(pair, margins));
    let unpaired = |side: &[Sample<'_>], other: &[Sample<'_>], name: &str| {
        side.iter()
            .filter(|s| !other.iter().any(|o| key(o) == key(s)))
            .map(|s| format!("{} / {} (only in {name})", s.route.plan.name, s.plan.name))
            .collect::<Vec<_>>()
    };
    let test = |t: crate::stats::logrank::LogRank| Test { chi2: t.chi2, p: t.p, p_holm: t.p };
    let overall_of =
        strata.iter().map(|(s, _)| format!("{} / {}", s.route.plan.name, s.plan.name)).collect();
    let strata: Vec<Vec<Vec<Observation>>> = strata.into_iter().map(|s| s.1).collect();
    let mut model = Comparison {
        format: "dwell-compare/1".to_owned(),
        a: side(a),
        b: side(b),
        margin_ratio: margins.ratio,
        margin_share: margins.share,
        confidence: margins.confidence,
        overall: logrank(&strata, Weight::LogRank).map(test),
        overall_of,
        unpaired: [unpaired(&left, &right, "A"), unpaired(&right, &left, "B")].concat(),
        routes,
        warnings,
        verdict: Vec::new(),
        limit: HONEST_LIMIT.to_owned(),
    };
    model.verdict = verdict(&model);
    model
}

fn side(side: &Side) -> SideReport {
    let a = &side.assessment;
    SideReport {
        label: side.label.clone(),
        campaign: a.campaign.clone(),
        cut: rfc3339(a.cut),
        runs: a.runs.iter().map(|r| r.run).collect(),
        canaries: a.routes.iter().map(|r| r.canaries.len() as u64).sum(),
        note: side.note.clone(),
    }
}

/// How far a curve is known: without end where it has reached zero.
pub(super) fn known_until(observations: &[Observation]) -> u64 {
    let curve = Curve::fit(observations);
    match curve.steps().last() {
        Some(step) if step.survival <= 0.0 => u64::MAX,
        _ => observations.iter().map(|o| o.time_ns).max().unwrap_or(0),
    }
}

fn pair(a: &Sample<'_>, b: &Sample<'_>, margins: &Margins) -> Pair {
    let until = [a, b]
        .iter()
        .map(|s| s.plan.horizon_ns.min(known_until(&s.observations)))
        .min()
        .unwrap_or(0);
    let within = a.plan.deadline_ns.min(b.plan.deadline_ns);
    let of = |s: &Sample<'_>| numbers(s, until, within, margins.confidence);
    let (left, right) = (of(a), of(b));
    let asked = Length { ns: margins.block_ns, why: "--block".to_owned() };
    let block = asked.or_longer(a.block.clone()).or_longer(b.block.clone());
    let groups = vec![vec![a.observations.clone(), b.observations.clone()]];
    let log_rank =
        logrank(&groups, Weight::LogRank).map(|t| Test { chi2: t.chi2, p: t.p, p_holm: t.p });
    let missed = |s: &Share| (s.n - s.x, s.n);
    let both = (Blocks::by_time(&a.submitted, block.ns), Blocks::by_time(&b.submitted, block.ns));
    let effects = effects(a, b, &both, until, margins.confidence);
    let confidence = margins.confidence;
    Pair {
        route: a.route.plan.name.clone(),
        expectation: a.plan.name.clone(),
        stage: a.plan.stage.name().to_owned(),
        mean_until_ns: until,
        log_rank,
        mean_difference_ns: effects.as_ref().map(|e| e.difference),
        mean_ratio: effects.as_ref().map(|e| e.mean_ratio),
        median_ratio: effects.as_ref().map(|e| e.median_ratio),
        upper_ends: [a, b]
            .iter()
            .any(|s| s.decided.iter().any(|(_, v)| v.ttd.is_some() && v.polled)),
        block_ns: block.ns,
        block_why: block.why,
        blocks: (both.0.len() as u32, both.1.len() as u32),
        resamples: effects.as_ref().map_or(0, |e| e.resamples),
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
pub(super) fn shares(sample: &Sample<'_>, within: u64, confidence: f64) -> (Share, Share) {
    let latest = sample.cut.saturating_sub_unsigned(sample.plan.deadline_ns);
    let (mut x, mut n, mut sure_x, mut sure_n) = (0, 0, 0, 0);
    for (canary, verdict) in sample.decided.iter().filter(|(c, _)| c.submitted <= latest) {
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

fn numbers(sample: &Sample<'_>, until: u64, within: u64, confidence: f64) -> Numbers {
    let curve = Curve::fit(&sample.observations);
    let (mean_ns, mean_se_ns) = curve.restricted_mean(until);
    let (left_out, counted) = shares(sample, within, confidence);
    Numbers {
        n: curve.subjects(),
        events: curve.events(),
        followed_ns: sample.observations.iter().map(|o| o.time_ns).max().unwrap_or(0),
        median: median(&curve, confidence),
        mean_ns,
        mean_se_ns,
        left_out,
        counted,
        curve: points(&curve, confidence),
    }
}

/// The median with its interval; refused where so few canaries carry none.
pub(super) fn median(curve: &Curve, confidence: f64) -> Option<Quantile> {
    (curve.subjects() >= needed(0.5)).then(|| curve.quantile(0.5, Band::LogLog, confidence))
}

struct Effects {
    difference: Effect,
    mean_ratio: Effect,
    median_ratio: Effect,
    resamples: u32,
}

/// Median (infinite where not reached) and restricted mean.
fn both(observations: &[Observation], until: u64) -> (f64, f64) {
    let curve = Curve::fit(observations);
    let median = curve.quantile(0.5, Band::LogLog, 0.95).estimate.ns();
    (median.map_or(f64::INFINITY, |ns| ns as f64), curve.restricted_mean(until).0)
}

/// Both sides are resampled on their own; replicate k of one is paired with replicate k of the other.
fn effects(
    a: &Sample<'_>,
    b: &Sample<'_>,
    blocks: &(Blocks, Blocks),
    until: u64,
    confidence: f64,
) -> Option<Effects> {
    if blocks.0.len().min(blocks.1.len()) < FEWEST {
        return None;
    }
    let resamples = affordable(a.observations.len() + b.observations.len())?;
    let draw = |s: &Sample<'_>, blocks: &Blocks, seed: u64| {
        let mut drawn: Vec<(f64, f64)> = Vec::with_capacity(resamples as usize);
        let mut picked = Vec::new();
        for_each_resample(blocks, resamples, seed, |indices| {
            picked.clear();
            picked.extend(indices.iter().map(|i| s.observations[*i]));
            drawn.push(both(&picked, until));
        });
        drawn
    };
    let (left, right) = (draw(a, &blocks.0, SEED), draw(b, &blocks.1, SEED + 1));
    let (old, new) = (both(&a.observations, until), both(&b.observations, until));
    let effect = |of: &dyn Fn((f64, f64), (f64, f64)) -> f64| {
        let drawn = left.iter().zip(&right).map(|(l, r)| of(*l, *r)).collect();
        limits(of(old, new), drawn, confidence)
    };
    Some(Effects {
        difference: effect(&|l, r| r.1 - l.1),
        mean_ratio: effect(&|l, r| r.1 / l.1),
        median_ratio: effect(&|l, r| r.0 / l.0),
        resamples,
    })
}

/// Percentile interval; what is not finite is no number that could be shown.
fn limits(estimate: f64, mut drawn: Vec<f64>, confidence: f64) -> Effect {
    // Neither median reached: nothing is known about their ratio in that resample.
    drawn.retain(|v| !v.is_nan());
    drawn.sort_by(f64::total_cmp);
    let at = |p: f64| {
        let rank = (p * drawn.len() as f64).ceil() as usize;
        drawn.get(rank.clamp(1, drawn.len().max(1)) - 1).copied()
    };
    let tail = (1.0 - confidence) / 2.0;
    let shown = |v: f64| v.is_finite().then_some(v);
    Effect {
        estimate: shown(estimate),
        lower: at(tail).map(|v| v.min(f64::MAX)),
        upper: at(1.0 - tail).and_then(shown),
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
    let (effect, named) = match pair.a.median.and_then(|m| m.estimate.ns()) {
        Some(_) => (pair.median_ratio, "ratio of medians"),
        None => (pair.mean_ratio, "ratio of restricted means (A's median is not reached)"),
    };
    let differs = pair.log_rank.is_some_and(|t| t.p_holm <= level);
    let slower = differs && effect.and_then(|e| e.lower).is_some_and(|l| l > margins.ratio);
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
            "{} and {} blocks of submission time of {} ({}) carry no interval: {FEWEST} on each side are \
             needed, by sending over a longer time; `--block` states a length",
            pair.blocks.0,
            pair.blocks.1,
            duration(pair.block_ns),
            pair.block_why
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
    let polled = match pair.upper_ends {
        true => "; polled times enter with their upper ends, on both sides",
        false => "",
    };
    pair.words = format!("{speed}; {share}{polled}");
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

/// Differences that concern all routes.
fn of_campaigns(a: &Assessment, b: &Assessment) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut differ = |what: &str, a: BTreeSet<String>, b: BTreeSet<String>| {
        if a != b {
            let list = |s: BTreeSet<String>| s.into_iter().collect::<Vec<_>>().join(", ");
            warnings.push(format!("{what} differ: A {}; B {}", list(a), list(b)));
        }
    };
    let arrivals = |x: &Assessment| x.runs.iter().map(|r| r.arrivals.clone()).collect();
    differ("arrivals", arrivals(a), arrivals(b));
    let quiet = |x: &Assessment| x.runs.iter().flat_map(|r| r.quiet_hours.clone()).collect();
    differ("quiet hours", quiet(a), quiet(b));
    let hour = |c: &CanaryView| c.submitted_wall_ns.div_euclid(3_600_000_000_000).rem_euclid(24);
    let hours = |x: &Assessment| -> BTreeSet<i64> {
        x.routes.iter().flat_map(|r| &r.canaries).map(hour).collect()
    };
    let (ours, theirs) = (hours(a), hours(b));
    let only = ours.symmetric_difference(&theirs).count();
    if only > 0 {
        warnings.push(format!("{only} hours of the day (UTC) were sampled on one side only"));
    }
    warnings
}

/// Differences on one route and expectation.
fn of_routes(a: &Sample<'_>, b: &Sample<'_>, sides: (&Assessment, &Assessment)) -> Vec<String> {
    let whose = format!("{} / {}", a.route.plan.name, a.plan.name);
    let mut warnings = Vec::new();
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            warnings.push(format!("{whose}: {what} differs: A {a}; B {b}"));
        }
    };
    let (p, q) = (&a.route.plan, &b.route.plan);
    differ("enters_at", p.enters_at.clone(), q.enters_at.clone());
    differ("recipe", p.recipe.clone(), q.recipe.clone());
    let digest = |x: &Assessment, recipe: &str| {
        let all: BTreeSet<&str> =
            x.runs.iter().filter_map(|r| r.recipes.get(recipe)).map(String::as_str).collect();
        all.into_iter()
            .map(|d| d.chars().take(12).collect::<String>())
            .collect::<Vec<_>>()
            .join(", ")
    };
    differ("recipe digest", digest(sides.0, &p.recipe), digest(sides.1, &q.recipe));
    differ("deadline", duration(a.plan.deadline_ns), duration(b.plan.deadline_ns));
    differ("horizon", duration(a.plan.horizon_ns), duration(b.plan.horizon_ns));
    differ("rules", a.plan.rules.join(", "), b.plan.rules.join(", "));
    let watching = |x: &Assessment, plan: &ExpectationPlan| {
        let of = |name: &String| {
            let w = x.watchers.iter().find(|w| w.name == *name);
            w.map_or(name.clone(), |w| format!("{} every {}", w.kind, duration(w.resolution_ns)))
        };
        plan.watchers.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    differ("watching", watching(sides.0, a.plan), watching(sides.1, b.plan));
    warnings
}
