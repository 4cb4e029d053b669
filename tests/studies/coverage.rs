//! How often an interval of a quantile holds the true quantile.

use std::sync::OnceLock;

use dwell::stats::survival::{Band, Curve, Observation};

use super::campaign::Draws;

const RUNS: u64 = 2_000;
const N: usize = 100;
const BANDS: [Band; 3] = [Band::LogLog, Band::Log, Band::Plain];

/// Coverage of one quantile under one censoring.
pub struct Cell {
    pub p: f64,
    pub censored: f64,
    pub covered: [f64; 3],
}

impl Cell {
    pub fn row(&self) -> String {
        let [loglog, log, plain] = self.covered.map(|c| format!("{:.1} %", c * 100.0));
        let censored = self.censored * 100.0;
        format!("| {censored:.0} % | p{:.0} | {loglog} | {log} | {plain} |\n", self.p * 100.0)
    }
}

/// All cells; the last censoring time `c` leaves (1 - e^-c) / c of the sample censored.
pub fn cells() -> &'static [Cell] {
    static CELLS: OnceLock<Vec<Cell>> = OnceLock::new();
    CELLS.get_or_init(|| [8.33, 4.97, 3.2].iter().flat_map(|c| censoring(*c)).collect())
}

fn censoring(last: f64) -> Vec<Cell> {
    let ps = [0.5f64, 0.9, 0.95];
    let (mut covered, mut censored) = ([[0u64; 3]; 3], 0);
    for seed in 0..RUNS {
        let mut draws = Draws::new((last * 100.0) as u64, seed);
        let sample: Vec<Observation> = (0..N)
            .map(|_| {
                let (event, end) = (-draws.uniform().ln(), last * draws.uniform());
                Observation { time_ns: (event.min(end) * 1e9) as u64, event: event <= end }
            })
            .collect();
        censored += sample.iter().filter(|o| !o.event).count();
        let curve = Curve::fit(&sample);
        for (p, row) in ps.iter().zip(&mut covered) {
            let truth = (-(1.0 - p).ln() * 1e9) as u64;
            for (band, count) in BANDS.iter().zip(row) {
                let found = curve.quantile(*p, *band, 0.95);
                let above = found.lower.ns().is_none_or(|lower| lower <= truth);
                let below = found.upper.ns().is_none_or(|upper| truth <= upper);
                *count += u64::from(above && below);
            }
        }
    }
    let share = |count: u64| count as f64 / RUNS as f64;
    let censored = censored as f64 / (RUNS * N as u64) as f64;
    ps.iter()
        .zip(covered)
        .map(|(p, row)| Cell { p: *p, censored, covered: row.map(share) })
        .collect()
}

#[test]
fn the_log_log_interval_of_the_median_covers_what_it_claims() {
    for cell in cells() {
        assert!((0.11..0.31).contains(&cell.censored), "censored {}", cell.censored);
        let [loglog, _, plain] = cell.covered;
        if cell.p == 0.5 {
            assert!((0.935..=0.965).contains(&loglog), "{}", cell.row());
        } else {
            // Why it is the default: high up, the plain band covers less.
            assert!(loglog > 0.935 && loglog >= plain - 0.005, "{}", cell.row());
        }
    }
}
