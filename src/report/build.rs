//! From an assessment to the model: which canaries enter which number, and what may be said.
//!
//! - The survival estimate holds every canary whose delivery is proven by its receipts alone; the
//!   deadline never enters. Unproven ones are counted and shown apart.
//! - The share's denominator is every canary submitted at or before cut − deadline.
//! - An objective is met only if the worse end of the range meets it.

use std::collections::{BTreeMap, BTreeSet};

use dwell_injectors::token::KeyRing;

use super::model::*;
use super::rows;
use super::words::duration;
use super::{anatomy, expectation, misses, notes, schedule, total};
use crate::dispatch::outcome::{
    Assessment, CanaryView, Delivery, Outcome, Reason, RouteView, Verdict,
};
use crate::ledger::Stage;
use crate::stats::histogram::StageHistogram;

/// What the assessment does not hold.
#[derive(Clone, Default)]
pub struct Beside<'a> {
    /// Heads of the ledger's chains, in words.
    pub heads: Vec<String>,
    /// The keys, so that tokens can be printed; without them the column stays empty.
    pub keys: Option<&'a KeyRing>,
}

impl ReportModel {
    /// The same with a row for every canary and expectation: for ledgers that are known to be small.
    pub fn with_rows(assessment: &Assessment, beside: &Beside<'_>) -> ReportModel {
        let mut model = ReportModel::build(assessment, beside);
        // Nothing in memory refuses a row.
        let _ = rows::each(assessment, beside, &mut |row| {
            model.canaries.push(row);
            Ok(())
        });
        model
    }

    /// Builds the model. Pure: the same assessment gives the same model.
    pub fn build(assessment: &Assessment, beside: &Beside<'_>) -> ReportModel {
        let routes: Vec<RouteReport> =
            assessment.routes.iter().map(|r| route(r, assessment)).collect();
        let expectations: Vec<(&RouteReport, &ExpectationReport)> =
            routes.iter().flat_map(|r| r.expectations.iter().map(move |e| (r, e))).collect();
        let met = expectations.iter().filter(|(_, e)| e.objective == "met").count() as u32;
        let mut verdict = verdict(&expectations, met);
        if schedule::fixed(assessment) {
            verdict.push(schedule::FIXED.to_owned());
        }
        let number = expectations.len() as u32;
        let misses = misses::of(assessment);
        let sampled = hours(assessment);
        ReportModel {
            format: FORMAT.to_owned(),
            campaign: assessment.campaign.clone(),
            cut: instant(assessment.cut),
            verdict,
            met,
            expectations: number,
            total: total::of(&routes),
            notes: [apart(assessment), notes::of_all(&routes)].concat(),
            misses: misses.listed,
            misses_total: misses.total,
            miss_kinds: misses.kinds,
            misses_of_other_kinds: misses.of_other_kinds,
            watchers: watchers(assessment),
            strays: strays(assessment),
            controls: assessment
                .controls
                .iter()
                .map(|c| format!("{} {} ({})", rfc3339(c.at.wall_ns), c.action, c.reason))
                .collect(),
            floor: super::floor::report(assessment, &routes),
            lateness: lateness(assessment),
            hours_never_sampled: (0..24).filter(|hour| !sampled.contains(hour)).collect(),
            hours_sampled: sampled,
            quiet_hours: quiet_hours(assessment),
            definitions: definitions(),
            limit: HONEST_LIMIT.to_owned(),
            inventory: NO_INVENTORY.to_owned(),
            evidence: evidence(assessment, beside),
            histograms: histograms(assessment),
            canaries: Vec::new(),
            routes,
        }
    }
}

/// Says which routes have several lines because runs meant different things by them.
fn apart(assessment: &Assessment) -> Vec<String> {
    let names: BTreeSet<&str> = assessment
        .routes
        .iter()
        .filter(|view| view.is_apart())
        .map(|view| view.plan.name.as_str())
        .collect();
    let note = |name: &str| {
        format!(
            "What route {name} sends or expects was changed between runs of this campaign: its runs \
             are kept apart, and no number mixes them."
        )
    };
    names.into_iter().map(note).collect()
}

/// Wall nanoseconds as RFC 3339 in UTC, to the millisecond.
pub(super) fn rfc3339(wall_ns: i64) -> String {
    in_utc(wall_ns, 3)
}

/// The same to the nanosecond: a cut, which gives the same report when it is asked for again. To the
/// millisecond it would lie before the last rows.
pub(super) fn instant(wall_ns: i64) -> String {
    in_utc(wall_ns, 9)
}

fn in_utc(wall_ns: i64, digits: usize) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(wall_ns))
        .map(|t| format!("{t:.digits$}"))
        .unwrap_or_else(|_| "beyond the calendar".to_owned())
}

fn route(view: &RouteView, assessment: &Assessment) -> RouteReport {
    let context = (assessment.cut, assessment.watchers.as_slice());
    let mut withdrawn = BTreeMap::new();
    for entry in &view.withdrawn {
        *withdrawn.entry(entry.reason.clone()).or_insert(0) += u64::from(entry.slots);
    }
    let count = |test: &dyn Fn(&CanaryView) -> bool| {
        view.canaries.iter().filter(|c| test(c)).count() as u64
    };
    RouteReport {
        name: view.label(),
        runs: view.runs.clone(),
        recipe: view.plan.recipe.clone(),
        attack: view.plan.attack.clone(),
        enters_at: view.plan.enters_at.clone(),
        owner: view.plan.owner.clone(),
        supplier: view.plan.supplier,
        target: view.plan.target.clone(),
        planned: view.planned,
        withdrawn,
        not_yet_due: view.not_yet_due(),
        injected: view.canaries.len() as u64,
        delivery_unproven: count(&|c| {
            matches!(c.delivery, Delivery::Weak | Delivery::Unknown | Delivery::Partial)
        }),
        receipt_contradicted: count(&|c| c.receipt_contradicted),
        stages_from: match view.is_burst() {
            true => StagesFrom::CompletingEvent,
            false => StagesFrom::Submission,
        },
        stages: stages(view),
        anatomy: anatomy::steps(view),
        expectations: view
            .plan
            .expectations
            .iter()
            .enumerate()
            .map(|(index, plan)| expectation::report(view, index, plan, context))
            .collect(),
    }
}

/// The same times as in [`stages`].
fn by_stage(view: &RouteView) -> BTreeMap<Stage, StageHistogram> {
    let mut by_stage: BTreeMap<Stage, StageHistogram> = BTreeMap::new();
    for time in view.canaries.iter().flat_map(|c| &c.stages) {
        if let Some(since) = time.since_completing {
            by_stage.entry(time.stage).or_default().record(since.upper_ns);
        }
    }
    by_stage
}

fn histograms(assessment: &Assessment) -> HistogramLog {
    let began_ns = assessment.runs.first().map_or(assessment.cut, |run| run.at.wall_ns);
    let entry = |name: String, histogram: &StageHistogram| {
        Some((name, histogram.max_ns()?, histogram.encoded()?))
    };
    let mut entries = Vec::new();
    for view in &assessment.routes {
        for (stage, histogram) in by_stage(view) {
            entries.extend(entry(format!("{}/{}", view.label(), stage.name()), &histogram));
        }
    }
    entries.extend(entry("lateness".to_owned(), &late(assessment)));
    HistogramLog {
        began_ns,
        length_ns: assessment.cut.saturating_sub(began_ns).max(0).unsigned_abs(),
        entries,
    }
}

/// By exact times, not by histogram, so that the median is the very one that the estimate gives where
/// nothing is polled and nobody is missed.
fn stages(view: &RouteView) -> Vec<StageReport> {
    let mut by_stage: BTreeMap<Stage, (Vec<u64>, bool)> = BTreeMap::new();
    for time in view.canaries.iter().flat_map(|c| &c.stages) {
        let Some(since) = time.since_completing else { continue };
        let (times, polled) = by_stage.entry(time.stage).or_default();
        times.push(since.upper_ns);
        *polled |= time.polled;
    }
    let report = |(stage, (mut times, upper_bound)): (Stage, (Vec<u64>, bool))| {
        times.sort_unstable();
        let spread = Spread {
            n: times.len() as u64,
            p50_ns: quantile(&times, 50)?,
            p90_ns: quantile(&times, 90).filter(|_| carries(times.len() as u64, 0.9)),
            p99_ns: quantile(&times, 99).filter(|_| carries(times.len() as u64, 0.99)),
            max_ns: *times.last()?,
            beyond: 0,
        };
        Some(StageReport { stage: stage.name().to_owned(), upper_bound, spread })
    };
    by_stage.into_iter().filter_map(report).collect()
}

/// The time by which so many per cent were seen; where that falls between two, their middle, as a
/// survival curve has it that runs level there.
fn quantile(sorted: &[u64], per_cent: usize) -> Option<u64> {
    let hundredths = sorted.len() * per_cent;
    let at = sorted.get(hundredths.div_ceil(100).max(1) - 1).copied()?;
    let next = sorted.get(hundredths / 100).filter(|_| hundredths.is_multiple_of(100));
    Some(next.map_or(at, |next| u64::midpoint(at, *next)))
}

/// With fewer, the largest is not surely beyond the quantile, and there is nothing to show for it.
fn carries(n: u64, p: f64) -> bool {
    n >= super::times::needed(p)
}

pub(super) fn spread(histogram: &StageHistogram) -> Option<Spread> {
    Some(Spread {
        n: histogram.len(),
        p50_ns: histogram.quantile_ns(0.5)?,
        p90_ns: histogram.quantile_ns(0.9).filter(|_| carries(histogram.len(), 0.9)),
        p99_ns: histogram.quantile_ns(0.99).filter(|_| carries(histogram.len(), 0.99)),
        max_ns: histogram.max_ns()?,
        beyond: histogram.beyond(),
    })
}

fn lateness(assessment: &Assessment) -> Option<Spread> {
    spread(&late(assessment))
}

fn late(assessment: &Assessment) -> StageHistogram {
    let mut histogram = StageHistogram::new();
    for canary in assessment.routes.iter().flat_map(|r| &r.canaries) {
        if let Some(late) = canary.late_ns {
            histogram.record(late.max(0).unsigned_abs());
        }
    }
    histogram
}

fn hours(assessment: &Assessment) -> Vec<u8> {
    let hours: BTreeSet<u8> = assessment
        .routes
        .iter()
        .flat_map(|r| &r.canaries)
        .map(|c| (c.submitted_wall_ns.div_euclid(3_600_000_000_000).rem_euclid(24)) as u8)
        .collect();
    hours.into_iter().collect()
}

/// Quiet hours of all runs, each once.
fn quiet_hours(assessment: &Assessment) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for span in assessment.runs.iter().flat_map(|run| &run.quiet_hours) {
        if !all.contains(span) {
            all.push(span.clone());
        }
    }
    all
}

/// Why a verdict is what it is, in words. May hold foreign text.
pub fn reason(verdict: &Verdict) -> String {
    let mut words = match &verdict.reason {
        None => String::new(),
        Some(Reason::Straddles) => "its interval straddles the deadline".to_owned(),
        Some(Reason::DeliveryUnproven) => "delivery unproven, and nobody saw it".to_owned(),
        Some(Reason::NeverProven { watcher }) => {
            format!("watcher {watcher} never proved that it can see")
        }
        Some(Reason::Blind { watcher, ours, detail }) => {
            let whose = if *ours { "ours" } else { "the target was unavailable" };
            format!("watcher {watcher} was blind ({whose}): {detail}")
        }
        Some(Reason::Overdue { horizon_passed, silence_unproven }) => {
            let state = match horizon_passed {
                true => "horizon passed",
                false => "overdue, still watched",
            };
            let silence = if *silence_unproven { ", silence unproven" } else { "" };
            format!("{state}{silence}")
        }
        Some(Reason::Rejected { detail, ours: false }) => {
            format!("rejected at hand-over: {detail}")
        }
        Some(Reason::Rejected { detail, ours: true }) => {
            format!("rejected at hand-over, by a fault of ours: {detail}")
        }
        Some(Reason::Waiting) => "its deadline, or the look after it, is still to come".to_owned(),
    };
    if verdict.outcome == Outcome::Late {
        words = "seen after its deadline".to_owned();
    }
    if let Some(other) = &verdict.other_rule {
        let joint = if words.is_empty() { "" } else { "; " };
        words = format!("{words}{joint}alerted by another rule: {other}");
    }
    words
}

fn watchers(assessment: &Assessment) -> Vec<WatcherReport> {
    assessment
        .watchers
        .iter()
        .map(|plan| {
            let coverage = assessment.coverage.get(&plan.name);
            let blind = coverage.map(|c| c.blind.as_slice()).unwrap_or_default();
            WatcherReport {
                name: plan.name.clone(),
                stage: plan.stage.name().to_owned(),
                kind: plan.kind.clone(),
                source: plan.source.clone(),
                proven: assessment.proven.contains(&plan.name),
                looks: coverage.map_or(0, |c| c.looks),
                records: coverage.map_or(0, |c| c.records),
                resolution_ns: plan.resolution_ns,
                blind: blind
                    .iter()
                    .filter(|b| !b.recovered)
                    .map(|b| {
                        let to = b.to.map_or("still".to_owned(), rfc3339);
                        let whose = if b.ours { "ours" } else { "target unavailable" };
                        format!("{} to {to} ({whose}): {}", rfc3339(b.from), b.reason)
                    })
                    .collect(),
            }
        })
        .collect()
}

fn strays(assessment: &Assessment) -> BTreeMap<String, BTreeMap<String, u64>> {
    assessment
        .strays
        .iter()
        .map(|(watcher, classes)| {
            let classes = classes
                .iter()
                .map(|(class, n)| (format!("{class:?}").to_lowercase(), *n))
                .collect();
            (watcher.clone(), classes)
        })
        .collect()
}

fn verdict(expectations: &[(&RouteReport, &ExpectationReport)], met: u32) -> Vec<String> {
    let mut words =
        vec![format!("{met} of {} expectations meet their objective.", expectations.len())];
    let rank = |objective: &str| match objective {
        "missed" => 0,
        "undecided" => 1,
        _ => 2,
    };
    let worst = expectations.iter().min_by(|(_, a), (_, b)| {
        let point = |e: &ExpectationReport| e.share.counted_as_failed.point().unwrap_or(0.0);
        rank(&a.objective).cmp(&rank(&b.objective)).then(point(a).total_cmp(&point(b)))
    });
    if let Some((route, expectation)) = worst {
        let label = if met as usize == expectations.len() { "Weakest" } else { "Worst" };
        let which = expectation
            .own_name()
            .map_or_else(String::new, |name| format!(", expectation {name},"));
        words.push(format!(
            "{label}: route {}{which} at stage {}: {}.",
            route.name, expectation.stage, expectation.verdict
        ));
    }
    let idle: Vec<String> = expectations
        .iter()
        .filter(|(route, _)| route.injected == 0)
        .map(|(route, expectation)| format!("{} / {}", route.name, expectation.name))
        .collect();
    if !idle.is_empty() {
        words.push(format!("Never exercised: {}.", idle.join(", ")));
    }
    words
}

fn evidence(assessment: &Assessment, beside: &Beside<'_>) -> Evidence {
    let latest = assessment.runs.last();
    let versions: BTreeSet<String> = assessment.opened.iter().map(|o| o.version.clone()).collect();
    let sync: BTreeSet<&str> = assessment.opened.iter().map(|o| o.clock_sync.as_str()).collect();
    let told = |sync: &str| match sync {
        "synchronised" => "the system says that the wall clock is synchronised".to_owned(),
        "unsynchronised" => "the system says that the wall clock is not synchronised".to_owned(),
        _ => "whether the wall clock is synchronised is not known".to_owned(),
    };
    let mut clock: Vec<String> = sync.into_iter().map(told).collect();
    clock.extend(assessment.clock_steps.iter().map(|step| {
        format!(
            "the wall clock stepped by {}{} at {}",
            if step.step_ns < 0 { "-" } else { "+" },
            duration(step.step_ns.unsigned_abs()),
            rfc3339(step.at.wall_ns)
        )
    }));
    Evidence {
        campaign_number: assessment.campaign_of,
        runs: assessment
            .runs
            .iter()
            .map(|run| RunEvidence {
                run: run.run,
                began: rfc3339(run.at.wall_ns),
                seed: run.seed,
                arrivals: run.arrivals.clone(),
                config_digest: run.config_digest.clone(),
                ended: assessment
                    .ended
                    .get(&run.run)
                    .cloned()
                    .unwrap_or_else(|| "running or interrupted".to_owned()),
            })
            .collect(),
        authorisation: latest.and_then(|r| r.authorisation.clone()),
        recipes: latest.map(|r| r.recipes.clone()).unwrap_or_default(),
        dialects: latest.map(|r| r.dialects.clone()).unwrap_or_default(),
        versions: versions.into_iter().collect(),
        clock,
        heads: beside.heads.clone(),
        never_exercised: assessment
            .routes
            .iter()
            .filter(|r| r.canaries.is_empty())
            .flat_map(|r| r.plan.expectations.iter().map(|e| format!("{} / {}", r.label(), e.name)))
            .collect(),
        verifies: assessment.verifies.clone(),
    }
}

fn definitions() -> Vec<Definition> {
    [
        ("time to detect", "From submission of the canary's first event to the first satisfying sighting, on dwell's own clock, as an interval; what was polled, or found late by a watcher that was away, gives an upper bound."),
        ("detected / late", "Seen within the deadline / after it and before the horizon."),
        ("missed", "Not seen by the deadline, by watchers that have proved that they can see, that looked without a break and once more after the deadline."),
        ("undelivered", "Rejected at hand-over for certain. Counts as not met, unless the fault is ours."),
        ("indeterminate", "Nobody can say: a watcher was blind or never proved that it can see, delivery is unproven, or the interval straddles the deadline."),
        ("pending", "Not decided yet at the cut."),
        ("not yet due", "Planned, and at the cut neither handed over nor withdrawn. Planned = withdrawn + not yet due + injected."),
        ("undetected curve", "Kaplan-Meier estimate of the share not yet detected, with a 95 % log-log band. Canaries not seen are censored at the horizon, the cut or the first instant that nobody covered, never dropped."),
        ("p50, p90, p95", "Time by which that share of the canaries is detected, with a 95 % Brookmeyer-Crowley interval; shown only with enough canaries to carry it."),
        ("polled or found late", "Where polls are further apart than 5 % of the median, or a watcher that was away or stopped leaves as much open, Turnbull's estimate on the intervals, with 95 % bootstrap intervals, which are approximate, or, where it is not by chance where in its interval a time lies and beyond what can be resampled, from the lower limit on lower ends to the upper limit on upper ends; an estimate's cell is what fits the polls equally well; how far the true quantile may be from it, its interval says. Where the intervals are narrower, the upper ends: an upper bound."),
        ("by blocks", "The same interval by drawing whole blocks of submission time, since canaries that one run of a rule catches are not independent; printed where the two differ by more than a fifth."),
        ("mean", "Only up to the deadline: later and unseen ones count as the deadline. With its standard error."),
        ("share in time", "Detected within the deadline, of all canaries submitted at least one deadline before the cut; a range: indeterminate ones and those of unproven delivery left out / counted as failed, each with a 95 % Clopper-Pearson interval."),
        ("with 95 % confidence", "Such a sentence counts batches: canaries submitted within one period of the rule, as configured or found, or else within 5 min, since one run of the rule may catch, or miss, them together. It takes batches as independent: where outages last longer than a batch, it is too sure."),
        ("objective met", "Only if the worse end of that range meets it; undecided if the range straddles it."),
        ("schedule of a rule", "Found where the detection instants, laid modulo a number of minutes that divides a day, or the configured `rule_period`, lie closer together than submissions and than chance pairing of submissions and times allows (level 0.01, Holm). Its period is the longest modulo which they do; in a campaign too short to tell it from its parts, the shortest that the spread of the times allows stands beside it. Its mean wait is half its period. Times found by polls further apart than a quarter of a period do not count there."),
        ("from the completing event", "For a burst: from submission of the event with which the rule's condition is met, so that the burst's own length is in no number. At ingested it ends when as many of its events were found as complete it."),
        ("detected only", "Stage times and lateness summarise what was seen; they say nothing about what was not."),
    ]
    .into_iter()
    .map(|(term, meaning)| Definition { term: term.to_owned(), meaning: meaning.to_owned() })
    .collect()
}
