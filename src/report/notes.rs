//! What must be known beside an expectation's numbers, in words that every format prints.

use super::model::*;
use super::sample::how;
use super::text::{limits, quantile};
use super::words::{self, duration, percent};

/// The notes on one expectation, in the order of the numbers they belong to.
pub(super) fn of(report: &ExpectationReport) -> Vec<String> {
    let mut notes = Vec::new();
    let ttd = &report.ttd;
    if ttd.method == Method::Turnbull {
        notes.push(cells(ttd));
    }
    notes.extend(blocks(ttd));
    if let Some(mean) = ttd.mean {
        notes.push(format!(
            "mean up to {}: {}, standard error {}; what is not seen by then counts as {0}",
            duration(mean.up_to_ns),
            duration(mean.mean_ns),
            duration(mean.standard_error_ns),
        ));
    }
    notes.extend(report.share_by_batches.as_ref().filter(|share| share.differs).map(batches));
    notes.extend(ttd.extremes.as_ref().map(extremes));
    notes.extend(report.completing.as_ref().map(completing));
    if report.by_other_rule > 0 {
        notes.push(format!(
            "{} of {} were alerted by a rule that the expectation does not name, which satisfies nothing",
            report.by_other_rule,
            report.outcomes.values().sum::<u64>()
        ));
    }
    notes.extend(report.competing.as_ref().map(first_alert));
    if report.by_created_time > 0 {
        notes.push(format!(
            "{} counted as in time by the alert's own creation time plus the configured bound on the \
             clocks' difference, though we saw it later",
            report.by_created_time
        ));
    }
    notes.extend(report.dated.as_ref().filter(|dated| dated.of > 0).map(dated));
    if report.across_reboot > 0 {
        notes
            .push(format!("{} times rest on the wall clock across a reboot", report.across_reboot));
    }
    notes
}

fn dated(dated: &DatedReport) -> String {
    let DatedReport { of, by_record, contradicted, bound_ns } = dated;
    let bound = match bound_ns {
        0 => "the configuration says that it shares our clock".to_owned(),
        ns => format!("the configuration bounds the clocks' difference to {}", duration(*ns)),
    };
    let mut words = format!(
        "{by_record} of {of} times are the alert's own creation time, as finely as it is told, not our \
         sighting of it: {bound}"
    );
    if *contradicted > 0 {
        words.push_str(&format!(
            "; {contradicted} alerts say that they were made before the canary or after we saw them, so that \
             bound does not hold; their times are our own"
        ));
    }
    words
}

fn batches(share: &BatchShareReport) -> String {
    format!(
        "the interval of the share takes each canary as independent; in {} of {} ({}), which one run of the \
         rule may catch or miss together, the 95 % interval of the share in time is {} to {}",
        words::batches(share.batches),
        duration(share.batch_ns),
        share.why,
        percent(share.interval.lower),
        percent(share.interval.upper)
    )
}

fn extremes(extremes: &ExtremesReport) -> String {
    let end = |ns: Option<u64>| ns.map_or("not reached".to_owned(), duration);
    format!(
        "{} of {} were out of sight: median if each of them had been detected when blindness began: \
         {}; if none ever was: {}",
        extremes.blind,
        extremes.n,
        end(extremes.early_ns),
        end(extremes.never_ns)
    )
}

fn completing(completing: &CompletingReport) -> String {
    let CompletingReport { n, events, before, left_out, label, p50 } = completing;
    let mut words =
        format!("from the completing event: {label}, p50 {} (n {n}, {events} seen)", quantile(p50));
    if *before > 0 {
        words.push_str(&format!("; {before} were detected before that event and count as 0 s"));
    }
    if *left_out > 0 {
        words.push_str(&format!("; left out are {left_out} whose completing event was not seen"));
    }
    words
}

fn cells(ttd: &TtdReport) -> String {
    let parts: Vec<String> = ttd
        .quantiles
        .iter()
        .filter_map(|q| {
            let within = q.within?;
            Some(format!("p{} {}", q.p * 100.0, limits(within.lower, within.upper)))
        })
        .collect();
    let mut words = "coarse times: Turnbull's estimate, interval-censored".to_owned();
    if !parts.is_empty() {
        let how = how(ttd.blocks.resamples, ttd.blocks.not_computed.is_none());
        words.push_str(&format!(
            "; intervals {how}; what the polls leave open of the estimates: {}",
            parts.join(", ")
        ));
    }
    words
}

/// Which alert came first, in shares with limits.
fn first_alert(ends: &CompetingReport) -> String {
    let share = |end: &IncidenceReport| match (end.lower, end.upper) {
        (Some(lower), Some(upper)) => {
            let (lower, upper) = (percent(lower), percent(upper));
            format!("{} (95 % interval {lower} to {upper})", percent(end.share))
        }
        _ => format!("{} (without limits)", percent(end.share)),
    };
    let named = ends.named_rule.as_ref().map_or_else(|| "none".to_owned(), share);
    let how = if ends.censored { "cumulative incidence" } else { "Clopper-Pearson" };
    format!(
        "the first alert within {}: by another rule {}, by a named rule {named}, n {} ({how})",
        duration(ends.by_ns),
        share(&ends.other_rule),
        ends.n
    )
}

fn blocks(ttd: &TtdReport) -> Option<String> {
    let b = &ttd.blocks;
    let differing: Vec<String> = ttd
        .quantiles
        .iter()
        .filter(|q| q.blocks_differ)
        .filter_map(|q| {
            let by = q.by_blocks?;
            Some(format!("p{} {}", q.p * 100.0, limits(by.lower, by.upper)))
        })
        .collect();
    match &b.not_computed {
        None if differing.is_empty() => None,
        None => Some(format!(
            "canaries sent close together are not independent; by {} blocks of {} ({}) the 95 % \
             interval is: {}",
            b.number,
            duration(b.length_ns),
            b.why,
            differing.join(", ")
        )),
        Some(_) => None,
    }
}

/// What holds for the report as a whole.
pub(super) fn of_all(routes: &[RouteReport]) -> Vec<String> {
    let shown = |e: &&ExpectationReport| {
        e.ttd.method != Method::Turnbull && e.ttd.quantiles.iter().any(|q| q.value.is_some())
    };
    let all: Vec<&ExpectationReport> =
        routes.iter().flat_map(|r| &r.expectations).filter(shown).collect();
    let without: Vec<&BlockReport> =
        all.iter().map(|e| &e.ttd.blocks).filter(|b| b.not_computed.is_some()).collect();
    let Some(first) = without.first() else { return Vec::new() };
    vec![format!(
        "Canaries sent close together may not be independent, and the intervals may be too narrow: for \
         {} of {} expectations none could be computed from blocks of submission time ({} and more: {}).",
        without.len(),
        all.len(),
        duration(first.length_ns),
        first.not_computed.as_deref().unwrap_or_default()
    )]
}
