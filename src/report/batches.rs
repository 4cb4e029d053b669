//! Batches: canaries that may have been caught, or missed, together.
//!
//! Canaries between two runs of a scheduled rule are one look at that rule: fifty of them in one second say
//! no more about its next run than one does. Every statement "with so much confidence" therefore counts
//! batches, windows of submission time as long as the rule's period ([`super::blocks::batch`]), and never
//! canaries:
//!
//! - a batch is as late as its latest canary, and not in time if one of its canaries is not;
//! - for "fewer than", it is in time if one of them is.
//!
//! Both are the safe side, whatever the canaries of a batch have in common. Where each stands alone, as after
//! `min_gap`, a batch is a canary and nothing changes. Shares, quantiles and their intervals count canaries,
//! and say so.
//!
//! How long a batch is stands before any outcome is known, as a claim's n and m do. A comparison also needs
//! to know what no period says, how far an outage takes canaries together, and estimates it from the
//! misses themselves ([`crate::stats::together`]). A claim may not: what its own outcomes say was not fixed.
//!
//! Not promised: that batches are independent of one another. An outage may be longer than a rule's period.

use crate::stats::bootstrap::Blocks;
use crate::stats::survival::Observation;

/// Puts what belongs to one batch together, in order of time.
pub(super) fn split<T: Copy>(
    items: impl IntoIterator<Item = (i64, T)>,
    length_ns: u64,
) -> Vec<Vec<T>> {
    let (submitted, items): (Vec<i64>, Vec<T>) = items.into_iter().unzip();
    let batches = Blocks::by_time(&submitted, length_ns);
    batches.members().iter().map(|batch| batch.iter().map(|at| items[*at]).collect()).collect()
}

/// A batch's observation: the time of its latest canary, which was not seen if one of them was not.
pub(super) fn latest(batch: &[Observation]) -> Observation {
    Observation {
        time_ns: batch.iter().map(|o| o.time_ns).max().unwrap_or(0),
        event: batch.iter().all(|o| o.event),
    }
}

/// In how many batches all, and in how many one at least, is so; of how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Count {
    pub all: u64,
    pub any: u64,
    pub n: u64,
}

impl Count {
    pub(super) fn of(items: impl IntoIterator<Item = (i64, bool)>, length_ns: u64) -> Count {
        let mut count = Count::default();
        for batch in split(items, length_ns) {
            count.n += 1;
            count.all += u64::from(batch.iter().all(|so| *so));
            count.any += u64::from(batch.iter().any(|so| *so));
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_window_of_submission_time() {
        let at = [(100, 'a'), (105, 'b'), (110, 'c'), (99, 'd'), (131, 'e')];
        assert_eq!(split(at, 10), [vec!['a', 'b', 'd'], vec!['c'], vec!['e']]);
        assert_eq!(split(at, 1).len(), 5);
        assert_eq!(split(at, 0).len(), 5, "no length, no company");
        assert!(split(Vec::<(i64, char)>::new(), 10).is_empty());
        // What a plan says that a claim will count.
        let instants = at.map(|(at, _)| at);
        for length in [1, 6, 7, 10, 11, 12, 40] {
            let counted = split(at, length).len() as u64;
            assert_eq!(
                crate::stats::planning::distinct_runs(&instants, length),
                counted,
                "{length}"
            );
        }
    }

    #[test]
    fn a_batch_is_as_late_as_its_latest_and_unseen_if_one_is() {
        let o = |time_ns, event| Observation { time_ns, event };
        assert_eq!(latest(&[o(5, true), o(9, true)]), o(9, true));
        assert_eq!(
            latest(&[o(5, false), o(9, true)]),
            o(9, false),
            "unseen for 9 at least in part"
        );
        let count = Count::of([(0, true), (1, false), (10, true), (20, false)], 10);
        assert_eq!(count, Count { all: 1, any: 2, n: 3 });
    }
}
