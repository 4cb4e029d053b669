//! What a watcher has provably looked at: covered spans on the common axis.
//!
//! A complete look covers the time from its beginning to its end, and when it is *unbroken* also
//! everything since the previous complete look. A blind span that could not be made good is cut out
//! again. Catching up is not blind: a recovered span stays covered.
//!
//! A complete look proves sight. It therefore ends every span that was still open when it began,
//! also one whose writer never came to close it: blindness lasts as long as nobody sees, not for ever.

use serde::Serialize;

use super::{AxisNs, Name};

/// A span in which a watcher could not look and which nothing made good.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BlindSpan {
    /// First instant not covered.
    pub from: AxisNs,
    /// First instant covered again, or `None` while it lasts.
    pub to: Option<AxisNs>,
    /// What happened; foreign text.
    pub reason: Name,
    /// True when the fault is ours.
    pub ours: bool,
    /// Made good afterwards: nobody was blind.
    pub recovered: bool,
}

/// Coverage of one watcher.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Coverage {
    /// Disjoint covered spans in order, `[from, to]`.
    pub spans: Vec<(AxisNs, AxisNs)>,
    /// All blind spans as recorded, recovered or not.
    pub blind: Vec<BlindSpan>,
    /// Complete looks seen.
    pub looks: u64,
    /// Records read in them.
    pub records: u64,
    last_look_start: Option<AxisNs>,
    last_complete_end: Option<AxisNs>,
    /// True while one of the blind spans has no end.
    #[serde(skip)]
    open: bool,
}

impl Coverage {
    /// Adds a look.
    pub fn look(&mut self, from: AxisNs, to: AxisNs, complete: bool, unbroken: bool, records: u64) {
        self.records += records;
        if !complete {
            return;
        }
        self.looks += 1;
        self.sees(from);
        let begin = match (unbroken, self.last_complete_end) {
            (true, Some(end)) => end.min(from),
            _ => from,
        };
        self.last_complete_end = Some(self.last_complete_end.map_or(to, |end| end.max(to)));
        self.cover(begin, to);
        self.last_look_start = Some(self.last_look_start.map_or(from, |last| last.max(from)));
    }

    /// Ends the spans that were open at that instant.
    fn sees(&mut self, at: AxisNs) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        for span in self.blind.iter_mut().filter(|b| b.to.is_none()) {
            if span.from <= at {
                span.to = Some(at);
            } else {
                self.open = true;
            }
        }
    }

    fn cover(&mut self, from: AxisNs, to: AxisNs) {
        match self.spans.last_mut() {
            Some(last) if from <= last.1 => {
                last.0 = last.0.min(from);
                last.1 = last.1.max(to);
            }
            _ => self.spans.push((from, to)),
        }
    }

    /// Adds a blind span; one that was not made good is cut out of the covered spans.
    pub fn blind(&mut self, span: BlindSpan) {
        // A closing record replaces the open one that it ends, and no other: what was lost for good may
        // have begun at the same instant.
        let is_open = |b: &&mut BlindSpan| b.from == span.from && b.to.is_none();
        let ended = if self.open { self.blind.iter_mut().rev().find(is_open) } else { None };
        self.open |= span.to.is_none();
        match ended {
            Some(open) => *open = span,
            None => self.blind.push(span),
        }
    }

    /// First instant at or after `from` that is not covered, once unrecovered blind spans are cut out.
    pub fn first_uncovered(&self, from: AxisNs) -> AxisNs {
        let after = self.spans.partition_point(|(begin, _)| *begin <= from);
        let covered_to = match after.checked_sub(1).and_then(|index| self.spans.get(index)) {
            Some((_, end)) => from.max(*end),
            None => from,
        };
        self.blind
            .iter()
            .filter(|b| !b.recovered && b.from < covered_to && b.to.is_none_or(|to| to > from))
            .map(|b| b.from.max(from))
            .min()
            .unwrap_or(covered_to)
    }

    /// First instant of `[from, to)` at which somebody may have spoken in vain, in a blind span or before
    /// the first look. Nobody who has to be told can make that good, whatever else was recovered.
    pub fn first_unheard(&self, from: AxisNs, to: AxisNs) -> Option<AxisNs> {
        let began_after = self.spans.first().is_some_and(|(begin, _)| *begin > from);
        let blind = self.blind.iter().filter(|b| b.from < to && b.to.is_none_or(|end| end > from));
        let first = blind.map(|b| b.from.max(from)).min();
        if began_after { Some(from) } else { first }
    }

    /// True when `[from, to]` was covered without a break.
    pub fn covers(&self, from: AxisNs, to: AxisNs) -> bool {
        self.first_uncovered(from) >= to
    }

    /// True when a complete look began at or after `instant`.
    pub fn looked_after(&self, instant: AxisNs) -> bool {
        self.last_look_start.is_some_and(|last| last >= instant)
    }

    /// End of the last complete look.
    pub fn last_end(&self) -> Option<AxisNs> {
        self.last_complete_end
    }

    /// The blind span that explains why `instant` is not covered: one that holds it, or the next that was not
    /// made good. Not every look has a row, so that the last one with a row may have ended up to `patience_ns`
    /// before blindness began.
    pub fn why_uncovered(&self, instant: AxisNs, patience_ns: i64) -> Option<&BlindSpan> {
        let holds = |b: &&BlindSpan| {
            b.from <= instant.saturating_add(1) && b.to.is_none_or(|to| to >= instant)
        };
        let held = self.blind.iter().filter(holds).min_by_key(|b| b.recovered);
        held.or_else(|| {
            let until = self.spans.iter().map(|(begin, _)| *begin).find(|begin| *begin > instant);
            let until = until.unwrap_or(AxisNs::MAX).min(instant.saturating_add(patience_ns));
            let follows = |b: &&BlindSpan| !b.recovered && b.from > instant && b.from <= until;
            self.blind.iter().filter(follows).min_by_key(|b| b.from)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    #[test]
    fn unbroken_looks_join_and_broken_ones_do_not() {
        let mut coverage = Coverage::default();
        coverage.look(0, S, true, false, 1);
        coverage.look(5 * S, 6 * S, true, true, 1);
        assert!(coverage.covers(0, 6 * S));
        coverage.look(10 * S, 11 * S, true, false, 0);
        assert_eq!(coverage.first_uncovered(0), 6 * S);
        assert!(coverage.covers(10 * S, 11 * S));
        assert!(coverage.looked_after(10 * S) && !coverage.looked_after(10 * S + 1));
    }

    #[test]
    fn who_spoke_to_nobody_is_unheard() {
        let mut coverage = Coverage::default();
        let span = |from: i64, to: Option<i64>| BlindSpan {
            from: from * S,
            to: to.map(|to| to * S),
            reason: "nobody listened".into(),
            ours: true,
            recovered: false,
        };
        assert_eq!(coverage.first_unheard(0, 9 * S), None, "of no looks nothing is known");
        coverage.look(S, 2 * S, true, false, 0);
        assert_eq!(coverage.first_unheard(0, 9 * S), Some(0), "before the first look");
        coverage.blind(span(5, Some(7)));
        coverage.blind(span(20, None));
        assert_eq!(coverage.first_unheard(2 * S, 5 * S), None, "it was heard before");
        assert_eq!(coverage.first_unheard(2 * S, 9 * S), Some(5 * S));
        assert_eq!(coverage.first_unheard(6 * S, 9 * S), Some(6 * S));
        assert_eq!(coverage.first_unheard(7 * S, 9 * S), None, "submitted when it listened again");
        assert_eq!(coverage.first_unheard(7 * S, 30 * S), Some(20 * S));
    }

    #[test]
    fn an_incomplete_look_covers_nothing() {
        let mut coverage = Coverage::default();
        coverage.look(0, S, false, true, 1);
        assert_eq!(coverage.first_uncovered(0), 0);
        assert!(!coverage.looked_after(0));
    }

    #[test]
    fn blind_cuts_out_unless_recovered() {
        let mut coverage = Coverage::default();
        coverage.look(0, 20 * S, true, false, 1);
        let span = |recovered| BlindSpan {
            from: 5 * S,
            to: Some(7 * S),
            reason: "down".into(),
            ours: true,
            recovered,
        };
        let open = BlindSpan { to: None, ..span(false) };
        coverage.blind(open.clone());
        coverage.blind(span(true));
        assert!(coverage.covers(0, 20 * S));
        assert_eq!(coverage.blind.len(), 1, "it is the same span");
        coverage.blind(span(false));
        assert_eq!(coverage.first_uncovered(0), 5 * S);
        assert_eq!(coverage.first_uncovered(6 * S), 6 * S);
        assert!(coverage.covers(8 * S, 20 * S));
    }

    #[test]
    fn what_is_lost_stays_lost_whatever_began_at_the_same_instant() {
        let span = |to: Option<i64>, recovered| BlindSpan {
            from: 5 * S,
            to: to.map(|to| to * S),
            reason: "gone".into(),
            ours: false,
            recovered,
        };
        let (open, lost, over) = (span(None, false), span(Some(7), false), span(Some(8), true));
        for rows in [[&open, &lost, &over], [&lost, &open, &over], [&open, &over, &lost]] {
            let mut coverage = Coverage::default();
            coverage.look(0, 20 * S, true, false, 1);
            rows.into_iter().for_each(|row| coverage.blind(row.clone()));
            assert_eq!(coverage.first_uncovered(0), 5 * S, "{rows:?}");
            assert!(coverage.covers(7 * S, 20 * S), "{rows:?}");
            assert_eq!(coverage.blind.len(), 2);
        }
    }

    #[test]
    fn a_complete_look_ends_a_span_that_nobody_closed() {
        let mut coverage = Coverage::default();
        let open = BlindSpan {
            from: 2 * S,
            to: None,
            reason: "does not exist".into(),
            ours: false,
            recovered: false,
        };
        coverage.look(0, S, true, false, 1);
        coverage.blind(open.clone());
        // Another process, which began at the present end and saw all the time.
        coverage.look(60 * S, 90 * S, true, false, 1);
        assert!(coverage.covers(61 * S, 89 * S));
        assert_eq!(coverage.blind, [BlindSpan { to: Some(60 * S), ..open }]);
        // What lies before that look stays uncovered, and the span still says why.
        assert_eq!(coverage.first_uncovered(3 * S), 3 * S);
        assert!(coverage.why_uncovered(3 * S, 0).is_some_and(|span| !span.ours));
        // An incomplete look proves nothing.
        coverage.blind(BlindSpan { from: 91 * S, ..coverage.blind[0].clone() });
        coverage.blind.last_mut().unwrap().to = None;
        coverage.open = true;
        coverage.look(95 * S, 96 * S, false, true, 0);
        assert_eq!(coverage.blind[1].to, None);
    }
}
