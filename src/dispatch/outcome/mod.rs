//! Outcomes: a pure function of the ledger's rows and a cut.
//!
//! [`Fold`] takes rows in commit order and forgets nothing that matters; [`Fold::assess`] looks at
//! one campaign at one cut. The same rows and the same cut give the same assessment, byte for byte:
//! nothing here reads a clock.
//!
//! # Invariants
//!
//! - Every canary with an intent, unless withdrawn, has exactly one [`Outcome`] per expectation.
//! - planned = withdrawn + not yet due + injected; injected = detected + late + missed +
//!   undelivered + indeterminate + pending.
//! - Each canary is judged by the plan of its own run, and numbers are made of canaries for which the
//!   plan meant the same: [`RouteView`].
//! - Blind is not missed: a miss needs every required watcher to be proven, to have covered the time
//!   from submission to the deadline without a break, and to have begun a look after the deadline.
//! - A time to detect is an interval `[lower, upper]` in nanoseconds; the upper end is what our own
//!   clock saw, the lower end what the last look that did not show it allows (`sight`).
//!
//! # One axis
//!
//! Stamps are laid on one axis: boot time plus that boot's wall offset, taken from the first stamp
//! of the boot in the ledger. Differences within one boot are therefore exact whatever the wall
//! clock does; differences across a reboot rest on the wall clock and are flagged.
//!
//! Not promised: that an outcome never changes. `Missed`, `Indeterminate` and `Pending` are
//! provisional until the horizon.

mod canary;
mod coverage;
mod dated;
mod decide;
mod fold;
mod lean;
mod replays;
mod sight;
#[cfg(test)]
mod tests;
mod views;

pub use coverage::{BlindSpan, Coverage};
pub use fold::Fold;
pub use lean::Name;
pub(super) use sight::patience_ns;

pub use crate::ledger::AxisNs;

use std::collections::BTreeMap;

use dwell_injectors::token::TokenId;
use serde::Serialize;

use crate::ledger::{
    ClaimRow, ClockStep, Control, ExpectationPlan, RoutePlan, RunStarted, Stage, StrayClass,
};
use crate::ledger::{Opened, WatcherPlan};

/// A time to detect with both its bounds, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Interval {
    /// Not before this.
    pub lower_ns: u64,
    /// Not after this.
    pub upper_ns: u64,
}

impl Interval {
    /// How much it leaves open.
    pub fn width_ns(&self) -> u64 {
        self.upper_ns.saturating_sub(self.lower_ns)
    }
}

/// How a canary and one of its expectations ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Seen within the deadline. Final.
    Detected,
    /// Seen after the deadline and before the horizon. Final.
    Late,
    /// Not seen, by watchers that could see. Provisional until the horizon.
    Missed,
    /// Certainly never delivered.
    Undelivered,
    /// Nobody can say.
    Indeterminate,
    /// Not decided yet.
    Pending,
}

impl Outcome {
    /// The outcome's name as reports spell it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Detected => "detected",
            Outcome::Late => "late",
            Outcome::Missed => "missed",
            Outcome::Undelivered => "undelivered",
            Outcome::Indeterminate => "indeterminate",
            Outcome::Pending => "pending",
        }
    }
}

/// What is known about a canary's delivery without the help of any sighting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Every event accepted at the route's proof strength or better.
    Proven,
    /// Accepted, but more weakly than the route demands as proof.
    Weak,
    /// At least one event's result is unknown.
    Unknown,
    /// Some events of a burst accepted, then a rejection or a stop.
    Partial,
    /// Rejected for certain.
    Rejected,
    /// The intent is committed, nothing more is known yet.
    InFlight,
}

/// Why an outcome is what it is, beyond its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Reason {
    /// The interval of the sighting straddles the deadline.
    Straddles,
    /// Delivery was never proven and nobody saw it.
    DeliveryUnproven,
    /// The watcher never read a real record under this configuration.
    NeverProven {
        /// Which watcher.
        watcher: Name,
    },
    /// Coverage was broken.
    Blind {
        /// Which watcher.
        watcher: Name,
        /// True when the fault is ours, false when the target was unavailable.
        ours: bool,
        /// In words; foreign text.
        detail: Name,
    },
    /// Overdue; the deadline has passed and every required watcher looked afterwards.
    Overdue {
        /// True once the horizon has passed too.
        horizon_passed: bool,
        /// True when only push watchers were asked and none of them delivered anything since.
        silence_unproven: bool,
    },
    /// Rejected at hand-over.
    Rejected {
        /// In the target's words; foreign text.
        detail: Name,
        /// True when the fault is ours: then it is left out of shares.
        ours: bool,
    },
    /// The deadline lies ahead, or the look after it is still to come.
    Waiting,
}

/// Where the ends of a time come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dated {
    /// Our own sightings.
    BySight,
    /// What the record says of its creation, widened by the bound on the clocks.
    ByRecord,
    /// Our own sightings, because what the record says cannot be true within that bound.
    Contradicted,
}

/// The verdict on one canary and one expectation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Verdict {
    /// Which expectation: its index in the plan of the view that holds the canary.
    pub expectation: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where that needs saying.
    pub reason: Option<Reason>,
    /// Time to detect from the first event, where there is one.
    pub ttd: Option<Interval>,
    /// The same from the completing event: a second, labelled number. `None` where that event was not
    /// sent or, at `ingested`, not seen, and where the deciding sighting came before it.
    pub ttd_completing: Option<Interval>,
    /// The watcher of the deciding sighting.
    pub watcher: Option<Name>,
    /// The rule of the deciding sighting; foreign text.
    pub rule: Option<Name>,
    /// In time by the alert's own creation time alone, within a stated clock bound.
    pub by_created_time: bool,
    /// Where the ends of the time come from.
    pub dated: Dated,
    /// Seen by a rule that the expectation does not name; foreign text.
    pub other_rule: Option<Name>,
    /// From submission of the first event to that sighting, at most.
    pub other_rule_ns: Option<u64>,
    /// For survival: observed without detection for this long (min of horizon, cut, first uncovered
    /// instant). `None` where the canary was detected or must not enter.
    pub censored_at_ns: Option<u64>,
    /// The sighting came from a polled source: its upper end is an upper bound.
    pub polled: bool,
    /// The sighting came from another source and was found late (by a start, behind a blind span, after a
    /// stall): its upper end is an upper bound.
    pub caught_up: bool,
}

impl Verdict {
    /// Rejected at hand-over by a fault of ours: that says nothing about anybody's detection.
    pub fn rejected_by_us(&self) -> bool {
        matches!(self.reason, Some(Reason::Rejected { ours: true, .. }))
    }
}

/// When a stage was reached.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StageTime {
    /// Which stage.
    pub stage: Stage,
    /// From submission of the first event.
    pub since_submission: Interval,
    /// From submission of the completing event to the sighting with which the rule's condition was
    /// met: of a burst's events that one with which as many were seen as complete it. `None` where
    /// that event was not sent, or not seen, or where this came before it.
    pub since_completing: Option<Interval>,
    /// Seen by polling, or found late: the upper end is an upper bound.
    pub polled: bool,
    /// Who saw it.
    pub watcher: Name,
}

/// One canary with all that was decided about it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct CanaryView {
    /// Which canary.
    pub id: TokenId,
    /// The run it belongs to.
    pub run: u32,
    /// Its slot.
    pub slot: u32,
    /// The planned instant, on the axis.
    pub intended: AxisNs,
    /// Submission of the first event, on the axis; the planned instant while in flight.
    pub submitted: AxisNs,
    /// Submission as wall nanoseconds, for people.
    pub submitted_wall_ns: i64,
    /// Lateness of the first event against its plan, nanoseconds.
    pub late_ns: Option<i64>,
    /// Submission of the completing event after the first, nanoseconds; `None` where it was not sent.
    pub completing_after_ns: Option<u64>,
    /// What is known about delivery without any sighting.
    pub delivery: Delivery,
    /// Rejected for certain, and seen all the same.
    pub receipt_contradicted: bool,
    /// The latest stage that it provably reached.
    pub last_stage: Stage,
    /// First time at each stage by a sighting that counts there, in stage order.
    pub stages: Vec<StageTime>,
    /// One per expectation, in the order of the plan of the view that holds the canary.
    pub verdicts: Vec<Verdict>,
    /// Its times span a reboot: they rest on the wall clock.
    pub across_reboot: bool,
    /// A wall clock step was recorded between submission and the deciding sighting.
    pub clock_stepped: bool,
    /// Sightings by `scan`: found in an archive, not a point in time.
    pub retrospective: u32,
    /// Sightings before submission or after the horizon: recorded, without effect.
    pub outside: u32,
    /// Different events seen beyond those that were sent, at most: see [`StrayClass::Replayed`].
    pub excess: u32,
}

impl CanaryView {
    /// The latest horizon, on the axis, among its expectations that may still change after `cut`.
    fn open_until(&self, expectations: &[ExpectationPlan], cut: AxisNs) -> Option<AxisNs> {
        let open = |v: &&Verdict| {
            matches!(v.outcome, Outcome::Pending | Outcome::Missed | Outcome::Indeterminate)
        };
        self.verdicts
            .iter()
            .filter(open)
            .filter_map(|v| expectations.get(v.expectation))
            .map(|e| self.submitted.saturating_add_unsigned(e.horizon_ns))
            .filter(|end| *end > cut)
            .max()
    }
}

/// Canaries never handed over, by reason.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WithdrawnView {
    /// The run.
    pub run: u32,
    /// First slot.
    pub slot_from: u32,
    /// Number of slots.
    pub slots: u32,
    /// Why.
    pub reason: String,
}

/// A claim as the ledger holds it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FixedClaim {
    /// The row.
    pub row: ClaimRow,
    /// True when no canary of its campaign and route had left before it was written.
    pub beforehand: bool,
}

/// One route of the campaign, over all its runs that meant the same by it. Where they did not, a route
/// has several views, and no canary is in two: what a meaning is stands at the head of `views.rs`.
#[derive(Clone, Debug, Serialize)]
pub struct RouteView {
    /// The route as the latest of these runs planned it.
    pub plan: RoutePlan,
    /// Canaries planned over these runs.
    pub planned: u64,
    /// These runs, in order.
    pub runs: Vec<u32>,
    /// Number of runs that planned the route, whatever they meant by it.
    pub runs_in_all: u32,
    /// Claims that were fixed for its expectations, in order.
    pub claims: Vec<FixedClaim>,
    /// Canaries never handed over.
    pub withdrawn: Vec<WithdrawnView>,
    /// The injected canaries, by submission.
    pub canaries: Vec<CanaryView>,
}

impl RouteView {
    /// True where other runs of the campaign meant something else by this route.
    pub fn is_apart(&self) -> bool {
        (self.runs.len() as u32) < self.runs_in_all
    }

    /// The route's name, with the runs where it has several views: no two views share a label.
    pub fn label(&self) -> String {
        match self.is_apart() {
            true => format!("{} ({})", self.plan.name, self.runs_in_words()),
            false => self.plan.name.clone(),
        }
    }

    /// `run 3`, `runs 1 to 4, 6`.
    pub fn runs_in_words(&self) -> String {
        views::in_words(&self.runs)
    }

    /// Number of canaries never handed over.
    pub fn withdrawn_total(&self) -> u64 {
        self.withdrawn.iter().map(|w| u64::from(w.slots)).sum()
    }

    /// Number of canaries that at the cut were neither withdrawn nor handed over.
    pub fn not_yet_due(&self) -> u64 {
        self.planned.saturating_sub(self.withdrawn_total() + self.canaries.len() as u64)
    }

    /// True where canaries are bursts: they have a completing event other than the first.
    pub fn is_burst(&self) -> bool {
        self.canaries.iter().any(|c| c.completing_after_ns != Some(0))
    }

    /// The expectations of the route.
    pub fn expectations(&self) -> &[ExpectationPlan] {
        &self.plan.expectations
    }

    /// Counts per outcome for one expectation.
    pub fn counts(&self, expectation: usize) -> BTreeMap<Outcome, u64> {
        let mut counts = BTreeMap::new();
        for verdict in self.canaries.iter().filter_map(|c| c.verdicts.get(expectation)) {
            *counts.entry(verdict.outcome).or_insert(0) += 1;
        }
        counts
    }
}

/// One campaign at one cut.
#[derive(Clone, Debug, Serialize)]
pub struct Assessment {
    /// The campaign's name.
    pub campaign: String,
    /// This campaign is number `.0` of `.1` in the ledger.
    pub campaign_of: (u32, u32),
    /// The cut, on the axis (wall nanoseconds).
    pub cut: AxisNs,
    /// Its runs, in order.
    pub runs: Vec<RunStarted>,
    /// Runs that have ended, by number.
    pub ended: BTreeMap<u32, String>,
    /// Its routes, in the order of the latest run.
    pub routes: Vec<RouteView>,
    /// Coverage per watcher.
    pub coverage: BTreeMap<String, Coverage>,
    /// The watchers as the latest run had them.
    pub watchers: Vec<WatcherPlan>,
    /// Watchers that have read a real record under the latest configuration.
    pub proven: Vec<String>,
    /// Strays by watcher and class, with the replays among the recorded sightings.
    pub strays: BTreeMap<String, BTreeMap<StrayClass, u64>>,
    /// Stops and pauses.
    pub controls: Vec<Control>,
    /// Wall clock steps.
    pub clock_steps: Vec<ClockStep>,
    /// Processes that opened the ledger.
    pub opened: Vec<Opened>,
    /// Number of verify questions by answer.
    pub verifies: BTreeMap<String, u64>,
}

impl Assessment {
    /// Canaries with an expectation that is not decided yet, and the axis instant by which alerts
    /// may still come (the latest horizon among them).
    pub fn outstanding(&self) -> (u64, Option<AxisNs>) {
        let mut number = 0;
        let mut until: Option<AxisNs> = None;
        for route in &self.routes {
            for canary in &route.canaries {
                let end = canary.open_until(&route.plan.expectations, self.cut);
                number += u64::from(end.is_some());
                until = until.max(end);
            }
        }
        (number, until)
    }

    /// Canaries with an expectation that is still pending.
    pub fn pending(&self) -> u64 {
        self.routes
            .iter()
            .flat_map(|r| &r.canaries)
            .filter(|c| c.verdicts.iter().any(|v| v.outcome == Outcome::Pending))
            .count() as u64
    }
}
