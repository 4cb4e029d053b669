//! How a run stands, and when it is over.

use std::time::Instant;

use super::{Run, Status, TICK};
use crate::dispatch::outcome::{Assessment, RouteView};
use crate::dispatch::watching::Watching;
use crate::exit::Failure;

impl Run<'_> {
    pub(super) fn assessment(&self, run: u32) -> Option<Assessment> {
        let now = self.fold.place(&self.shared.clock.now());
        let mut assessment =
            self.fold.assess_at(Some(&self.parts.row.campaign), now.max(self.fold.cut()))?;
        for route in &mut assessment.routes {
            route.canaries.retain(|c| c.run == run);
            route.withdrawn.retain(|w| w.run == run);
        }
        Some(assessment)
    }

    pub(super) fn status(&self) -> Status {
        let mut status = Status {
            planned: self.parts.row.routes.iter().map(|r| u64::from(r.planned)).sum(),
            injecting: self.next < self.parts.planned.len(),
            ..Status::default()
        };
        let Some(assessment) = self.assessment(self.parts.row.run) else { return status };
        let mut latest = assessment.cut;
        if let Some(last) = self.parts.planned.last() {
            latest = latest.max(self.fold.place(&self.due(last)));
        }
        let longest = self
            .parts
            .row
            .routes
            .iter()
            .flat_map(|r| &r.expectations)
            .map(|e| if self.parts.until_horizon { e.horizon_ns } else { e.deadline_ns });
        status.decided_by_ns = latest.saturating_add_unsigned(longest.max().unwrap_or(0));
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
        match self.assessment(self.parts.row.run) {
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
