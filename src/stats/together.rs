//! Misses that come together: how many canaries say as much as one.
//!
//! In an outage every canary is missed, and a hundred of them are one event. A formula for shares that counts
//! each canary finds two weeks different whenever an outage happened to fall into one of them. So their number
//! is divided by how much the share varies over time beyond what independent canaries would (the design
//! effect of Kish 1965; for a series in time the integrated autocorrelation). Two estimates of it are
//! made, in order of submission, and the larger one counts:
//!
//! - from runs: misses in a row have a mean length, weighted by themselves, `sum r² / sum r`. Independent misses
//!   with share `p` have `(1 + p) / (1 - p)`; the quotient is the inflation of a chain with two states;
//! - from blocks of 2, 4, 8, ... canaries, as long as there are twenty blocks: the variance of their sums over
//!   the binomial one. This sees outages in which some canaries come through.
//!
//! What one run of a rule takes together is another question: its period is known beforehand, so that claims
//! count windows of that length (`report::batches`) and need no outcome. Outages have no period.
//!
//! A side that misses all or none does not vary and says nothing: its factor is 1. Not promised: that outages
//! are seen whose like happened only once in a series, or that last longer than it.

/// Fewer blocks than this have a variance that is mostly chance.
const FEWEST: usize = 20;

/// How many canaries count as one, at least 1: of these, in order of submission, which were missed.
pub fn together(missed: &[bool]) -> f64 {
    let n = missed.len() as f64;
    let share = missed.iter().filter(|m| **m).count() as f64 / n;
    if !(share > 0.0 && share < 1.0) {
        return 1.0;
    }
    by_runs(missed, share).max(by_blocks(missed, share)).max(1.0)
}

fn by_runs(missed: &[bool], share: f64) -> f64 {
    let runs = missed.chunk_by(|a, b| a == b).filter(|run| run.first() == Some(&true));
    let (sum, squares) = runs.fold((0.0, 0.0), |(sum, squares), run| {
        let length = run.len() as f64;
        (sum + length, squares + length * length)
    });
    squares / sum * (1.0 - share) / (1.0 + share)
}

fn by_blocks(missed: &[bool], share: f64) -> f64 {
    let binomial = missed.len() as f64 * share * (1.0 - share);
    let of = |length: usize| {
        let blocks = missed.len().div_ceil(length) as f64;
        let squares: f64 = missed
            .chunks(length)
            .map(|block| {
                let found = block.iter().filter(|m| **m).count() as f64;
                (found - share * block.len() as f64).powi(2)
            })
            .sum();
        squares / binomial * blocks / (blocks - 1.0)
    };
    std::iter::successors(Some(2usize), |length| length.checked_mul(2))
        .take_while(|length| missed.len() / length >= FEWEST)
        .map(of)
        .fold(1.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between 0 and 1: splitmix64.
    fn uniform(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn numbers_by_hand() {
        let of = |pattern: &str| together(&pattern.bytes().map(|b| b == b'x').collect::<Vec<_>>());
        for alike in ["", "x", "xxxx", "....", ".x.x.x.x"] {
            assert_eq!(of(alike), 1.0, "{alike:?}");
        }
        // One run of four among eight: 16 / 4 · (1/2) / (3/2).
        assert!((of("..xxxx..") - 4.0 / 3.0).abs() < 1e-12, "{}", of("..xxxx.."));
        // Runs of 3 and 1 among sixteen: 10 / 4 · (3/4) / (5/4).
        assert!((of("xxx......x......") - 1.5).abs() < 1e-12);
        // An outage of which every second canary comes through has runs of one: 20 blocks of 4 see it, and
        // their sums are 2 in five of them and 0 in the others: (5 · 1.5² + 15 · 0.5²) / 8.75 · 20 / 19.
        let partly = format!("{}{}", "x.".repeat(10), ".".repeat(60));
        assert!((of(&partly) - 15.0 / 8.75 * 20.0 / 19.0).abs() < 1e-12, "{}", of(&partly));
    }

    /// 200 pairs of weeks of one truth: an outage of four hours about once a day, a canary every ten minutes.
    #[test]
    fn outages_at_the_same_rate_are_seldom_more_missed() {
        use crate::stats::difference::{fisher, newcombe, thinned};
        let mut state = 1;
        let mut week = || -> Vec<bool> {
            let mut wait = |mean: f64| -mean * (1.0 - uniform(&mut state)).ln();
            let (mut until, mut missed) = (wait(144.0), vec![false; 700]);
            while until < 700.0 {
                let ends = (until as usize + 24).min(700);
                missed[until as usize..ends].fill(true);
                until += 24.0 + wait(144.0);
            }
            missed
        };
        let mut alarms = [0, 0];
        for _ in 0..200 {
            let (a, b) = (week(), week());
            let count = |side: &[bool]| (side.iter().filter(|m| **m).count() as u64, 700);
            for (alarms, each) in alarms.iter_mut().zip([1.0, together(&a).max(together(&b))]) {
                let (a, b) = (count(&a), count(&b));
                let beyond = newcombe(a, b, each, 0.95).unwrap().lower > 0.05;
                let holds = fisher(thinned(a, each), thinned(b, each)) <= 0.05;
                *alarms += u32::from(beyond && holds);
            }
        }
        assert!(alarms[0] >= 20, "each canary counted: {alarms:?}");
        assert!(alarms[1] <= 10, "as many as say something: {alarms:?}");
    }

    #[test]
    fn independent_misses_count_about_each() {
        let mut state = 1;
        for share in [0.05, 0.3, 0.7] {
            let of: Vec<f64> = (0..50)
                .map(|_| {
                    let missed: Vec<bool> = (0..400).map(|_| uniform(&mut state) < share).collect();
                    together(&missed)
                })
                .collect();
            let mean = of.iter().sum::<f64>() / 50.0;
            assert!((1.0..1.5).contains(&mean), "{share}: {mean}");
        }
    }
}
