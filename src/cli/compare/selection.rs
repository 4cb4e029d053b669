//! `[LEDGER#][CAMPAIGN][@FROM..TO][%KEY=VALUE]`: which canaries are meant.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::dispatch::outcome::{Assessment, CanaryView, Fold, RouteView, Verdict};
use crate::exit::Failure;
use crate::ledger::{Reader, RunStarted};
use crate::report::compare::Side;

/// One side, as it was written.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Selection {
    text: String,
    ledger: Option<PathBuf>,
    campaign: Option<String>,
    from_ns: Option<i64>,
    to_ns: Option<i64>,
    filter: Option<(String, String)>,
}

impl Selection {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Selection, Failure> {
        let wrong = |why: String| Failure::User(format!("{text:?}: {why}"));
        let (ledger, rest) = match text.split_once('#') {
            Some((ledger, rest)) => (Some(PathBuf::from(ledger)), rest),
            None => (None, text),
        };
        let (rest, filter) = match rest.rsplit_once('%') {
            Some((rest, filter)) => (rest, Some(filter)),
            None => (rest, None),
        };
        let (campaign, span) = match rest.rsplit_once('@') {
            Some((campaign, span)) => (campaign, Some(span)),
            None => (rest, None),
        };
        let filter = match filter.map(|f| f.split_once('=')) {
            None => None,
            Some(Some((key @ ("run" | "config" | "recipe" | "rule"), value)))
                if !value.is_empty() =>
            {
                Some((key.to_owned(), value.to_owned()))
            }
            Some(_) => {
                return Err(wrong(
                    "after % comes run=, config=, recipe= or rule= and a value".into(),
                ));
            }
        };
        let (from, to) = match span.map(|s| s.split_once("..")) {
            None => (None, None),
            Some(Some(ends)) => (Some(ends.0), Some(ends.1)),
            Some(None) => {
                return Err(wrong("after @ come two times, like 2026-01-01..2026-02-01".into()));
            }
        };
        let instant = |end: Option<&str>| match end {
            None | Some("") => Ok(None),
            Some(end) => when(end).map(Some).map_err(&wrong),
        };
        let (from_ns, to_ns) = (instant(from)?, instant(to)?);
        if let (Some(from), Some(to)) = (from_ns, to_ns)
            && from >= to
        {
            return Err(wrong("the first time is not before the second".into()));
        }
        let campaign = (!campaign.is_empty()).then(|| campaign.to_owned());
        Ok(Selection { text: text.to_owned(), ledger, campaign, from_ns, to_ns, filter })
    }

    /// Reads the ledger and keeps what is meant.
    pub fn side(&self, default: &dyn Fn() -> Result<PathBuf, Failure>) -> Result<Side, Failure> {
        let path = match &self.ledger {
            Some(path) => path.clone(),
            None => default()?,
        };
        if !path.exists() {
            return Err(Failure::User(format!(
                "there is no ledger {} yet; `dwell run` makes it",
                path.display()
            )));
        }
        let mut fold = Fold::new(None);
        Reader::open(&path)?.rows(|_, row| {
            fold.apply(&row);
            ControlFlow::Continue(())
        })?;
        let mut assessment = fold.into_assessment(self.campaign.as_deref()).ok_or_else(|| {
            Failure::User(match &self.campaign {
                Some(name) => format!(
                    "{} holds no campaign {name:?}; `dwell ledger show` lists what it holds",
                    path.display()
                ),
                None => format!("{} holds no run yet; start one with `dwell run`", path.display()),
            })
        })?;
        let note = self.keep(&mut assessment);
        let kept: usize = assessment.routes.iter().map(|r| r.canaries.len()).sum();
        if kept == 0 {
            return Err(Failure::User(format!("{:?} leaves no canary; widen it", self.text)));
        }
        let label = match self.text.as_str() {
            "" => assessment.campaign.clone(),
            text => text.to_owned(),
        };
        Ok(Side { label, assessment, note })
    }

    fn keep(&self, assessment: &mut Assessment) -> Option<String> {
        let (mut from, mut to) = (self.from_ns, self.to_ns);
        let mut note = None;
        if let Some((key, value)) = &self.filter {
            let expected = |r: &RunStarted| {
                r.routes.iter().flat_map(|p| &p.expectations).any(|e| e.rules.contains(value))
            };
            let wanted = |r: &RunStarted| match key.as_str() {
                "run" => r.run.to_string() == *value,
                "config" => r.config_digest.starts_with(value.as_str()),
                "recipe" => r.recipes.values().any(|d| d.starts_with(value.as_str())),
                _ => expected(r),
            };
            if key == "rule" && !assessment.runs.iter().any(expected) {
                // No run names it: from its first alert on, with all that it missed.
                let (first, next) = reign(assessment, value).unwrap_or((i64::MAX, None));
                let until = next.as_ref().map_or("the end".to_owned(), |(_, rule)| {
                    format!("the first alert of rule {rule}, which followed")
                });
                note = Some(format!(
                    "from the first alert of rule {value} to {until}, misses included"
                ));
                from = from.max(Some(first));
                to = next.map(|(at, _)| at).into_iter().chain(to).min();
            } else {
                assessment.runs.retain(wanted);
            }
        }
        let runs: Vec<u32> = assessment.runs.iter().map(|r| r.run).collect();
        for route in &mut assessment.routes {
            route.canaries.retain(|c| {
                runs.contains(&c.run)
                    && from.is_none_or(|from| c.submitted_wall_ns >= from)
                    && to.is_none_or(|to| c.submitted_wall_ns < to)
            });
        }
        let used: BTreeSet<u32> =
            assessment.routes.iter().flat_map(|r| &r.canaries).map(|c| c.run).collect();
        assessment.runs.retain(|r| used.contains(&r.run));
        note
    }
}

/// When a rule began, and when which other one followed it, by submission of what they caught.
///
/// Its last alert is no end: whoever ends there cuts off the silence of a rule that broke. The one that
/// followed is the first to fire afterwards on a route where this one fired, and not in between: what fires
/// beside it follows nothing.
fn reign(assessment: &Assessment, rule: &str) -> Option<(i64, Option<(i64, String)>)> {
    let of = |route: &RouteView| -> Vec<(i64, String)> {
        let caught = |c: &CanaryView| -> Vec<(i64, String)> {
            let at = |v: &Verdict| Some((c.submitted_wall_ns, v.rule.as_deref()?.to_owned()));
            c.verdicts.iter().filter_map(at).collect()
        };
        route.canaries.iter().flat_map(caught).collect()
    };
    // By name: a route whose runs meant different things has several views.
    let mut routes: BTreeMap<&str, Vec<(i64, String)>> = BTreeMap::new();
    for route in &assessment.routes {
        routes.entry(&route.plan.name).or_default().extend(of(route));
    }
    let mine = |caught: &Vec<(i64, String)>| caught.iter().any(|(_, name)| name == rule);
    let caught: Vec<(i64, String)> = routes.into_values().filter(mine).flatten().collect();
    let times = || caught.iter().filter(|(_, name)| name == rule).map(|(at, _)| *at);
    let (first, last) = (times().min()?, times().max()?);
    let beside: BTreeSet<&String> =
        caught.iter().filter(|(at, _)| (first..=last).contains(at)).map(|(_, name)| name).collect();
    let next = caught.iter().filter(|(at, name)| *at > last && !beside.contains(name)).min();
    Some((first, next.cloned()))
}

/// An instant, or the midnight (UTC) that begins a date.
fn when(text: &str) -> Result<i64, String> {
    let found = text.parse::<jiff::Timestamp>().or_else(|_| {
        let date: jiff::civil::Date = text.parse()?;
        jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0))
    });
    found
        .ok()
        .and_then(|t| i64::try_from(t.as_nanosecond()).ok())
        .ok_or_else(|| format!("{text:?} is no time; write 2026-01-31 or 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_may_be_left_out() {
        let all =
            Selection::parse("x/old.db#q3@2026-01-01..2026-02-01T12:00:00Z%rule=5710").unwrap();
        assert_eq!(all.ledger, Some(PathBuf::from("x/old.db")));
        assert_eq!(all.campaign.as_deref(), Some("q3"));
        assert_eq!(all.from_ns, Some(1_767_225_600_000_000_000));
        assert!(all.to_ns > all.from_ns);
        assert_eq!(all.filter, Some(("rule".into(), "5710".into())));
        let open = Selection::parse("@2026-01-01..").unwrap();
        assert_eq!((open.campaign, open.to_ns), (None, None));
        assert_eq!(Selection::parse("").unwrap().campaign, None);
        for wrong in ["q@2026", "q@x..y", "q@2026-02-01..2026-01-01", "q%colour=red", "q%run="] {
            assert!(Selection::parse(wrong).is_err(), "{wrong}");
        }
    }
}
