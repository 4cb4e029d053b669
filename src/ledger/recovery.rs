//! Recovery: what a process that ended without saying goodbye left open, decided at the next open.
//!
//! | found | same boot | another boot |
//! |---|---|---|
//! | intent, no mark, no receipt | `Withdrawn` (`crash`): it never left | `Unknown` receipts |
//! | intent with mark, receipts missing | `Unknown` receipts: it may have left | the same |
//! | some receipts of a burst | `Unknown` receipts for the rest | the same |
//! | planned slot without intent | `Withdrawn` (`crash`), in ranges | the same |
//!
//! Marks of another boot prove nothing (they are plain writes), so there absence proves nothing
//! either. Everything is one transaction: a crash during recovery leaves the same work to the next.
//! Blindness needs nothing here: where no look covers, nobody looked.

use dwell_injectors::stamp::{BootId, Stamp};

use super::marks::Found;
use super::store::{OpenRun, Store, Unfinished};
use super::{EventResult, LedgerError, ReceiptRow, Row, Withdrawn};

const LOST: &str = "crash between hand-over and receipt";

/// Appends what recovery decides, inside the caller's transaction; returns the number of rows.
pub(super) fn recover(
    store: &mut dyn Store,
    found: &Found,
    now: Stamp,
) -> Result<usize, LedgerError> {
    let same_boot = found.boot == Some(now.boot) && now.boot != BootId(0);
    let mut rows = Vec::new();
    for unfinished in store.unfinished()? {
        let begun = unfinished.missing.len() < unfinished.intent.digests.len()
            || found.marks.contains(&unfinished.intent.canary);
        if same_boot && !begun {
            rows.push(never_left(&unfinished, now));
        } else {
            rows.extend(unfinished.missing.iter().map(|event| lost(&unfinished, *event)));
        }
    }
    let runs = store.open_runs()?;
    for run in &runs {
        rows.extend(never_planned(run, now));
    }
    for row in &rows {
        store.append(row)?;
    }
    for run in &runs {
        store.settle_run(run.started.run)?;
    }
    Ok(rows.len())
}

fn never_left(unfinished: &Unfinished, at: Stamp) -> Row {
    let intent = &unfinished.intent;
    Row::Withdrawn(Withdrawn {
        at,
        run: intent.run,
        route: intent.route,
        slot_from: intent.slot,
        slots: 1,
        canary: Some(intent.canary),
        reason: "crash".to_owned(),
    })
}

fn lost(unfinished: &Unfinished, event: u32) -> Row {
    Row::Receipt(ReceiptRow {
        canary: unfinished.intent.canary,
        event,
        submitted_at: unfinished.intent.intended,
        late_ns: 0,
        result: EventResult::Unknown { reason: LOST.to_owned() },
    })
}

/// Slots of an interrupted run that have neither an intent nor a withdrawal, as ranges.
fn never_planned(run: &OpenRun, at: Stamp) -> Vec<Row> {
    let mut rows = Vec::new();
    for (route, plan) in (0u32..).zip(&run.started.routes) {
        let mut next = 0;
        let mut gap = |from: u32, to: u32| {
            if from < to {
                rows.push(Row::Withdrawn(Withdrawn {
                    at,
                    run: run.started.run,
                    route,
                    slot_from: from,
                    slots: to - from,
                    canary: None,
                    reason: "crash".to_owned(),
                }));
            }
        };
        for (_, slot, slots) in run.taken.iter().filter(|(r, _, _)| *r == route) {
            gap(next, (*slot).min(plan.planned));
            next = next.max(slot.saturating_add(*slots));
        }
        gap(next, plan.planned);
    }
    rows
}
