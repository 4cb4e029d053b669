//! What `tests/bench/survival` measures: reads records of 8 bytes of nanoseconds, a byte for the event
//! and a byte for the group, and prints as JSON how long each estimator took on them, in seconds, and
//! what it found, so that the other side can be held against it.
//!
//! `cargo run --release --example survival_speed -- FILE BOOTSTRAPPED`

use std::error::Error;
use std::time::Instant;

use dwell::stats::bootstrap::{Blocks, Statistic, curve_intervals};
use dwell::stats::intervals::{Interval, Turnbull};
use dwell::stats::logrank::{Weight, logrank};
use dwell::stats::survival::{Curve, Observation};

const RECORD: usize = 10;
const RESAMPLES: u32 = 1_000;
/// As many as the other side takes; memory is no longer fresh in the middle one, here as there.
const RUNS: usize = 7;
/// Of Turnbull's estimate: polled times on as many looks as cells are wanted.
const POLLED: u64 = 10_000;
const LOOKS: u64 = 100;

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

    let (few, polled) = polled();
    let (exact, _) = timed(|| Curve::fit(&few));
    let (turnbull, estimate) = timed(|| Turnbull::fit(&polled));
    if !estimate.converged() {
        return Err("Turnbull's estimate was not reached".into());
    }

    println!(
        "{{\"fit\": {fitted}, \"logrank\": {compared}, \"bootstrap\": {resampled}, \
         \"exact\": {exact}, \"turnbull\": {turnbull}, \"cells\": {}, \"steps\": {}, \
         \"last\": {:?}, \"middle\": {:?}, \"chi2\": {:?}}}",
        estimate.masses().len(),
        curve.steps().len(),
        last.survival,
        curve.steps()[curve.steps().len() / 2].survival,
        test.chi2
    );
    Ok(())
}

/// Times that are all different, and what looks of unlike spacing leave of them; a third is never seen.
fn polled() -> (Vec<Observation>, Vec<Interval>) {
    const SECOND: u64 = 1_000_000_000;
    (0..POLLED)
        .map(|i| {
            // Odd steps around a ring meet each place once: spread out, and the same in each run.
            let time_ns = (i * 7_919 % POLLED) * LOOKS * SECOND / POLLED;
            let spacing = (1 + i % 5) * SECOND;
            let lower_ns = time_ns / spacing * spacing;
            let event = i % 3 != 0;
            let upper_ns = event.then_some((lower_ns + spacing).min(LOOKS * SECOND));
            (Observation { time_ns, event }, Interval { lower_ns, upper_ns })
        })
        .unzip()
}

/// The middle of several runs.
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
