//! How a run stands, and when it is over.

use std::time::Instant;

use super::{PlannedCanary, Run, Status, TICK};
use crate::dispatch::outcome::{Assessment, RouteView, patience_ns};
use crate::dispatch::watching::Watching;
use crate::exit::Failure;
use crate::ledger::{ExpectationPlan, RoutePlan};

impl Run<'_> {
    /// How this run stands now.
    pub(super) fn assessment(&self) -> Option<Assessment> {
        let now = self.fold.place(&self.shared.clock.now());
        self.fold.assess_run(self.parts.row.run, now.max(self.fold.cut()))
    }

    pub(super) fn status(&self) -> Status {
        let mut status = Status {
            planned: self.parts.row.routes.iter().map(|r| u64::from(r.planned)).sum(),
            injecting: self.next < self.parts.planned.len(),
            ..Status::default()
        };
        let Some(assessment) = self.assessment() else { return status };
        status.decided_by_ns = self.decided_by(&assessment);
        status.pending = assessment.pending();
        for route in &assessment.routes {
            status.withdrawn += route.withdrawn_total();
            status.injected += route.canaries.len() as u64;
            for (index, _) in route.expectations().iter().enumerate() {
                for (outcome, number) in route.counts(index) {
                    *status.outcomes.entry(outcome).or_insert(0) += number;
                }
            }
        }
        status
    }

    /// The latest instant by which the run can still be undecided, on the axis: the last deadline (or
    /// horizon, where that is awaited) of what was injected and of what is still to come, and then as long
    /// as the look that decides is waited for. It moves only with what is injected, not with the clock.
    fn decided_by(&self, assessment: &Assessment) -> i64 {
        let awaited = |plan: &RoutePlan| {
            let wait = |e: &ExpectationPlan| match self.parts.until_horizon {
                true => e.horizon_ns,
                false => e.deadline_ns,
            };
            plan.expectations.iter().map(wait).max().unwrap_or(0)
        };
        let injected = assessment.routes.iter().filter_map(|route| {
            let last = route.canaries.iter().map(|c| c.submitted).max()?;
            Some(last.saturating_add_unsigned(awaited(&route.plan)))
        });
        let planned = match self.orders.stop.is_ordered() {
            true => &[],
            false => self.parts.planned.as_slice(),
        };
        let due = |planned: &PlannedCanary| self.fold.place(&self.due(planned));
        let ahead = planned.get(planned.partition_point(|p| due(p) <= assessment.cut)..);
        let ahead = ahead.unwrap_or_default().iter().filter_map(|planned| {
            let plan = self.parts.row.routes.get(planned.route as usize)?;
            Some(due(planned).saturating_add_unsigned(awaited(plan)))
        });
        let last = injected.chain(ahead).max();
        last.map_or(assessment.cut, |last| last.saturating_add(self.patience_ns()))
    }

    /// For how long the look that decides is waited for, at most: by the slowest watcher that is asked.
    fn patience_ns(&self) -> i64 {
        let row = &self.parts.row;
        let asked = row.routes.iter().flat_map(|r| &r.expectations).flat_map(|e| &e.watchers);
        let plan = |name: &String| row.watchers.iter().find(|w| w.name == *name);
        asked.map(|name| patience_ns(plan(name))).max().unwrap_or(0)
    }

    pub(super) fn wait_decided(&mut self, watching: &mut Watching) -> Result<(), Failure> {
        let mut ask_again = Instant::now();
        loop {
            self.attend(watching)?;
            if self.orders.leave.is_ordered() {
                return Ok(());
            }
            let begin = Instant::now();
            if begin >= ask_again {
                if self.decided() {
                    let status = self.status();
                    self.observer.status(&status);
                    return Ok(());
                }
                // Assessing is O(canaries): however many rows arrive, it takes a tenth of the time.
                ask_again = Instant::now() + TICK.max(begin.elapsed() * 10);
            }
            if let Ok(rows) = self.committed.recv_timeout(TICK) {
                for row in rows.iter() {
                    self.fold.apply(row);
                }
                self.observer.rows(&rows);
            }
        }
    }

    fn decided(&self) -> bool {
        match self.assessment() {
            // The horizon may pass before the look that decides.
            Some(assessment) if self.parts.until_horizon => {
                assessment.outstanding().0 == 0 && assessment.pending() == 0
            }
            // Not before the last deadline: stopping once enough was seen would choose the
            // denominator of the share by its outcome.
            Some(assessment) => {
                assessment.pending() == 0 && assessment.cut >= self.last_deadline(&assessment)
            }
            None => true,
        }
    }

    /// When the last deadline of what was injected passes, on the axis.
    fn last_deadline(&self, assessment: &Assessment) -> i64 {
        let last_of = |route: &RouteView| {
            let deadline = route.plan.expectations.iter().map(|e| e.deadline_ns).max();
            let submitted = route.canaries.iter().map(|c| c.submitted).max();
            submitted.map(|at| at.saturating_add_unsigned(deadline.unwrap_or(0)))
        };
        assessment.routes.iter().filter_map(last_of).max().unwrap_or(i64::MIN)
    }

    pub(super) fn reason(&self) -> String {
        if self.orders.leave.is_ordered() {
            "left".to_owned()
        } else if self.orders.stop.is_ordered() {
            format!("stopped: {}", self.orders.stop.reason())
        } else if self.parts.until_horizon {
            "horizon".to_owned()
        } else {
            "decided".to_owned()
        }
    }
}
