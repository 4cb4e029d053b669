//! One canary as the rows tell it, reduced to what a verdict needs: the fold holds a million of them.

use std::sync::Arc;

use dwell_injectors::receipt::Strength;
use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::TokenId;

use super::AxisNs;
use super::lean::{Few, Name};
use crate::ledger::Stage;

/// One sighting, reduced to what a verdict needs.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub watcher: u32,
    pub stage: Stage,
    pub observed: AxisNs,
    pub observed_stamp: Stamp,
    pub not_before: Option<AxisNs>,
    pub rule: Option<u32>,
    pub rule_names: Arc<[u32]>,
    pub created_wall_ns: Option<i64>,
    pub retrospective: bool,
    /// Tells one event from another; see [`super::replays`].
    pub event: u64,
}

/// One event's receipt, reduced.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub event: u32,
    pub submitted: Stamp,
    pub late_ns: i64,
    pub result: HandedResult,
}

#[derive(Clone, Debug)]
pub(super) enum HandedResult {
    Accepted(Strength),
    /// Why, and whether the fault is ours.
    Rejected(Name, bool),
    Unknown,
    NotSent,
}

/// One canary as the rows tell it.
#[derive(Clone, Debug)]
pub(super) struct Canary {
    pub id: TokenId,
    pub run: u32,
    pub route: u32,
    pub slot: u32,
    pub intended: Stamp,
    pub events: u32,
    pub completing: u32,
    pub handed: Few<Handed>,
    pub seen: Few<Seen>,
    pub withdrawn: bool,
}

impl Canary {
    /// The hand-over of its first event.
    pub(super) fn first(&self) -> Option<&Handed> {
        self.handed.iter().find(|h| h.event == 0)
    }

    /// Submission of its first event; the planned instant while in flight.
    pub(super) fn submitted(&self) -> Stamp {
        self.first().map_or(self.intended, |h| h.submitted)
    }
}
