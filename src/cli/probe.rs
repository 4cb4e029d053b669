//! `dwell probe ROUTE`: one canary, followed live stage by stage. It answers for this canary alone:
//! earlier probes, and how many a claim would need, are the report's business.

use dwell_injectors::receipt::Strength;
use dwell_injectors::token::{Carrier, KeyRing};
use serde_json::json;

use super::{Global, signals};
use crate::config;
use crate::dispatch::limits::refuse_stopped;
use crate::dispatch::outcome::{Assessment, CanaryView, Interval, Outcome, Verdict};
use crate::dispatch::plan::{Plan, Request};
use crate::dispatch::run::{Observer, Orders};
use crate::dispatch::session::Session;
use crate::exit::{Exit, Failure, printable};
use crate::ledger::{EventResult, ExpectationPlan, ReceiptRow, Row};
use crate::report::escape::terminal;
use crate::report::words::duration;

/// Arguments of `dwell probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The route.
    pub route: String,
    /// Go on until the horizon has passed.
    #[arg(long)]
    pub until_horizon: bool,
}

/// Runs `dwell probe`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load(&global.config).map_err(|e| Failure::User(e.to_string()))?;
    let mut session = Session::prepare(config)?;
    let request = Request { routes: vec![args.route], probe: true, ..Request::default() };
    refuse_stopped(&session.config)?;
    refuse_withheld(&session.plan(&request)?, session.clock.now().wall_ns)?;
    // Once the lock is ours the plan is made anew: caps count what was injected until now.
    session.open("probe")?;
    let plan = session.plan(&request)?;
    let orders = Orders::default();
    signals::install(session.runtime.handle(), &orders, signals::STOPS)
        .map_err(|e| Failure::Environment(format!("cannot handle signals: {e}")))?;
    if let Some(route) = plan.row.routes.first() {
        eprintln!("{} -> {}", terminal(&route.recipe), terminal(&route.target));
    }
    let keys = std::sync::Arc::clone(&session.keys);
    let mut observer = Followed { keys: &keys, submitted: None };
    let assessment = session.run(plan, args.until_horizon, &orders, &mut observer);
    let closed = session.close();
    let assessment = assessment?;
    closed?;
    conclude(&assessment, &keys, global)
}

/// A canary that would be withdrawn shows nothing.
fn refuse_withheld(plan: &Plan, now_wall_ns: i64) -> Result<(), Failure> {
    let ahead = plan.foresee(now_wall_ns);
    match ahead.leaving() {
        0 => Err(Failure::User(format!("nothing was injected: {}", ahead.in_words().join("; ")))),
        _ => Ok(()),
    }
}

/// Says how this run's canary ended, per expectation.
fn conclude(assessment: &Assessment, keys: &KeyRing, global: &Global) -> Result<Exit, Failure> {
    let found = assessment
        .routes
        .iter()
        .find_map(|route| Some((route.canaries.first()?, route.expectations())));
    let Some((canary, expectations)) = found else {
        let reason = assessment.routes.iter().flat_map(|r| &r.withdrawn).next();
        let reason = reason.map_or("for no recorded reason", |w| w.reason.as_str());
        if global.json {
            super::put_json(&json!({ "canary": null, "withdrawn": reason }))?;
        } else {
            super::put(format!("withdrawn: {}\n", terminal(reason)).as_bytes())?;
        }
        return Ok(Exit::Undecided);
    };
    let verdicts = || {
        let plan = |v: &Verdict| expectations.get(v.expectation);
        canary.verdicts.iter().filter_map(move |v| Some((plan(v)?, v)))
    };
    if global.json {
        let verdicts = verdicts().map(|(plan, verdict)| verdict_json(canary, plan, verdict));
        super::put_json(&json!({
            "canary": canary.id.to_string(),
            "token": keys.text_of(canary.id, Carrier::Text),
            "last_stage": canary.last_stage.name(),
            "expectations": verdicts.collect::<Vec<_>>(),
        }))?;
    } else {
        let mut text: String =
            verdicts().map(|(plan, verdict)| verdict_text(canary, plan, verdict)).collect();
        text.push_str(&format!("its whole story: dwell explain {}\n", canary.id));
        super::put(printable(&text).as_bytes())?;
    }
    Ok(canary.verdicts.iter().fold(Exit::Met, |exit, v| exit.worst(exit_of(v.outcome))))
}

fn exit_of(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Detected => Exit::Met,
        Outcome::Late | Outcome::Missed => Exit::Missed,
        Outcome::Undelivered => Exit::Environment,
        Outcome::Indeterminate | Outcome::Pending => Exit::Undecided,
    }
}

fn verdict_json(
    canary: &CanaryView,
    plan: &ExpectationPlan,
    verdict: &Verdict,
) -> serde_json::Value {
    json!({
        "expectation": plan.name,
        "stage": plan.stage.name(),
        "deadline_ns": plan.deadline_ns,
        "outcome": verdict.outcome.name(),
        "reason": crate::report::reason(verdict),
        "ttd": verdict.ttd,
        "watcher": verdict.watcher,
        "rule": verdict.rule,
        "last_stage": canary.last_stage.name(),
    })
}

/// `detected: missed within 2 s (horizon passed), last stage delivered`.
fn verdict_text(canary: &CanaryView, plan: &ExpectationPlan, verdict: &Verdict) -> String {
    let mut line = format!(
        "{}: {}",
        terminal(&plan.name),
        match verdict.outcome {
            Outcome::Missed => "missed, not seen",
            other => other.name(),
        }
    );
    if let Some(Interval { lower_ns, upper_ns }) = verdict.ttd {
        let (lower, upper) = (duration(lower_ns), duration(upper_ns));
        line.push_str(&match lower == upper {
            true => format!(" after {upper}"),
            false => format!(" after {lower} to {upper}"),
        });
    }
    line.push_str(&format!("; deadline {}", duration(plan.deadline_ns)));
    if let Some(rule) = &verdict.rule {
        line.push_str(&format!("; rule {}", terminal(rule)));
    }
    let reason = crate::report::reason(verdict);
    if !reason.is_empty() {
        line.push_str(&format!("; {}", terminal(&reason)));
    }
    if verdict.outcome != Outcome::Detected {
        line.push_str(&format!("; last stage {}", canary.last_stage.name()));
    }
    line.push('\n');
    line
}

/// Prints each stage as it is reached.
struct Followed<'a> {
    keys: &'a KeyRing,
    submitted: Option<dwell_injectors::stamp::Stamp>,
}

impl Observer for Followed<'_> {
    fn rows(&mut self, rows: &[Row]) {
        for row in rows {
            match row {
                Row::Intent(intent) => {
                    let token = self.keys.text_of(intent.canary, Carrier::Text).unwrap_or_default();
                    eprintln!("canary {} token {token}", intent.canary);
                }
                Row::Receipt(receipt) => {
                    let submitted = *self.submitted.get_or_insert(receipt.submitted_at);
                    let after = receipt.submitted_at.since(&submitted).ns.max(0).unsigned_abs();
                    eprintln!("{:>10}  {}", duration(after), handed_over(receipt));
                }
                Row::Sighting(sighting) => {
                    let Some(submitted) = self.submitted else { continue };
                    let after = sighting.observed.since(&submitted).ns.max(0).unsigned_abs();
                    let rule = sighting.rule.as_deref().map(terminal);
                    eprintln!(
                        "{:>10}  {} seen by {}{}",
                        duration(after),
                        sighting.stage.name(),
                        terminal(&sighting.watcher),
                        rule.map_or_else(String::new, |rule| format!(", rule {rule}"))
                    );
                }
                _ => {}
            }
        }
    }
}

/// One event's receipt in words; events count from 1.
fn handed_over(receipt: &ReceiptRow) -> String {
    let words = match &receipt.result {
        EventResult::Accepted { strength, place, .. } => {
            let place =
                place.as_deref().map_or_else(String::new, |at| format!(": {}", terminal(at)));
            format!("{}{place}", in_words(*strength))
        }
        EventResult::Rejected { reason, .. } => format!("rejected: {}", terminal(reason)),
        EventResult::Unknown { reason } => format!("unknown: {}", terminal(reason)),
        EventResult::NotSent { reason } => format!("not sent: {}", terminal(reason)),
    };
    format!("event {} {words}", receipt.event.saturating_add(1))
}

/// What a receipt of that strength proves.
fn in_words(strength: Strength) -> &'static str {
    match strength {
        Strength::Queued => "queued, with no answer",
        Strength::Written => "written",
        Strength::Synced => "written and on disk",
        Strength::RemoteAccepted => "accepted by the target",
        Strength::Replicated => "accepted by all replicas",
    }
}
