//! What `tests/bench/survival` measures: reads records of 8 bytes of nanoseconds, a byte for the event
//! and a byte for the group, and prints as JSON how long each estimator took on them, in seconds, and
//! what it found, so that the other side can be held against it.
//!
//! `cargo run --release --example survival_speed -- FILE BOOTSTRAPPED`

use std::error::Error;
use std::time::Instant;

use dwell::stats::bootstrap::{Blocks, Statistic, curve_intervals};
use dwell::stats::logrank::{Weight, logrank};
use dwell::stats::survival::{Curve, Observation};

const RECORD: usize = 10;
const RESAMPLES: u32 = 1_000;
const RUNS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: survival_speed FILE BOOTSTRAPPED")?;
    let bootstrapped: usize = arguments.next().ok_or("how many are bootstrapped?")?.parse()?;
    let bytes = std::fs::read(file)?;
    let mut groups = vec![Vec::new(), Vec::new()];
    let mut all = Vec::new();
    for record in bytes.chunks_exact(RECORD) {
        let (time, rest) = record.split_at(8);
        let time_ns = u64::from_le_bytes(time.try_into()?);
        let observation = Observation { time_ns, event: rest[0] == 1 };
        groups[usize::from(rest[1] == 1)].push(observation);
        all.push(observation);
    }

    let (fitted, curve) = timed(|| Curve::fit(&all));
    let last = curve.steps().last().ok_or("no event")?;

    let strata = [groups];
    let (compared, test) = timed(|| logrank(&strata, Weight::LogRank));
    let test = test.ok_or("nothing to compare")?;

    let some = &all[..bootstrapped.min(all.len())];
    let (blocks, settings) = (Blocks::single(some.len()), (RESAMPLES, 42, 0.95));
    let (resampled, limits) =
        timed(|| curve_intervals(some, &blocks, settings, &[Statistic::Quantile(0.5)]));
    if limits.iter().any(Option::is_none) {
        return Err("no interval".into());
    }

    println!(
        "{{\"fit\": {fitted}, \"logrank\": {compared}, \"bootstrap\": {resampled}, \"steps\": {}, \
         \"last\": {:?}, \"middle\": {:?}, \"chi2\": {:?}}}",
        curve.steps().len(),
        last.survival,
        curve.steps()[curve.steps().len() / 2].survival,
        test.chi2
    );
    Ok(())
}

/// The middle of several runs, of which the first touch fresh memory, as the other side's do not.
fn timed<T>(work: impl Fn() -> T) -> (f64, T) {
    let mut seconds = Vec::new();
    loop {
        let begun = Instant::now();
        let found = work();
        seconds.push(begun.elapsed().as_secs_f64());
        if seconds.len() == RUNS {
            seconds.sort_by(f64::total_cmp);
            return (seconds[RUNS / 2], found);
        }
    }
}
