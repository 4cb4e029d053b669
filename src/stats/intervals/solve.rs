//! EM and the iterative convex minorant in alternation.

use super::Group;

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Allowed excess of `max d_j` over 1.
    pub tolerance: f64,
    /// Most steps.
    pub steps: u32,
}

/// For the estimate itself.
pub(super) const EXACT: Effort = Effort { tolerance: 1e-9, steps: 20_000 };
/// For a resample: its noise is far larger than this.
pub(super) const ROUGH: Effort = Effort { tolerance: 1e-3, steps: 200 };

/// Probability per cell, and whether the optimum was reached.
#[derive(Clone, Debug)]
pub(super) struct Solution {
    pub masses: Vec<f64>,
    pub converged: bool,
    pub steps: u32,
}

/// No probability of an observation is taken to be smaller: at the optimum none is below 1 / n.
const SMALLEST: f64 = 1e-15;

/// The likelihood around one distribution.
struct Around {
    /// Distribution function at the cells' boundaries: `cells + 1` values from 0 to 1.
    below: Vec<f64>,
    /// `d_j`: the gradient per cell, over the number of observations.
    gradient: Vec<f64>,
    /// Curvature at each boundary, over the number of observations.
    curvature: Vec<f64>,
}

impl Around {
    fn new(cells: usize) -> Around {
        Around {
            below: vec![0.0; cells + 1],
            gradient: vec![0.0; cells + 1],
            curvature: vec![0.0; cells + 1],
        }
    }

    /// Gradient and curvature where `below` stands.
    fn look(&mut self, groups: &[Group], total: f64) {
        self.gradient.fill(0.0);
        self.curvature.fill(0.0);
        let one = 1.0 / total;
        for group in groups {
            let probability = (self.below[group.to] - self.below[group.from]).max(SMALLEST);
            // The only division: it is what a step waits for.
            let inverse = 1.0 / probability;
            let pull = group.weight * one * inverse;
            self.gradient[group.from] += pull;
            self.gradient[group.to] -= pull;
            self.curvature[group.from] += pull * inverse;
            self.curvature[group.to] += pull * inverse;
        }
        let mut sum = 0.0;
        for value in &mut self.gradient {
            sum += *value;
            *value = sum;
        }
    }

    fn set_masses(&mut self, masses: &[f64]) {
        let mut sum = 0.0;
        for (slot, mass) in self.below[1..].iter_mut().zip(masses) {
            sum += mass;
            *slot = sum;
        }
    }

    fn worst(&self) -> f64 {
        let cells = self.gradient.len() - 1;
        self.gradient[..cells].iter().fold(0.0, |worst, d| d.max(worst))
    }
}

pub(super) fn solve(groups: &[Group], cells: usize, effort: Effort) -> Solution {
    let groups: Vec<Group> = groups.iter().filter(|g| g.weight > 0.0).copied().collect();
    let total: f64 = groups.iter().map(|g| g.weight).sum();
    if cells == 0 || groups.is_empty() {
        return Solution { masses: vec![0.0; cells], converged: true, steps: 0 };
    }
    let even = 1.0 / cells as f64;
    let mut masses = vec![even; cells];
    let (mut around, mut trial) = (Around::new(cells), Around::new(cells));
    let mut target = vec![0.0; cells + 1];
    let mut known = false;
    for step in 0..effort.steps {
        if !known {
            around.set_masses(&masses);
            around.look(&groups, total);
        }
        if around.worst() <= 1.0 + effort.tolerance {
            return Solution { masses, converged: true, steps: step };
        }
        if step % 2 == 0 {
            em(&mut masses, &around.gradient);
            known = false;
        } else {
            minorant(&around, &mut target);
            known = toward(&mut masses, &mut around, &mut trial, &target, (&groups, total));
        }
    }
    Solution { masses, converged: false, steps: effort.steps }
}

fn em(masses: &mut [f64], gradient: &[f64]) {
    let mut sum = 0.0;
    for (mass, d) in masses.iter_mut().zip(gradient) {
        *mass *= d;
        sum += *mass;
    }
    masses.iter_mut().for_each(|mass| *mass /= sum);
}

/// The next distribution function: a Newton step per boundary, made monotone by weighted pooling of
/// adjacent violators, and kept between 0 and 1.
fn minorant(around: &Around, target: &mut [f64]) {
    let cells = target.len() - 1;
    // (value, weight, boundaries)
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(cells);
    for boundary in 1..cells {
        let weight = around.curvature[boundary].max(SMALLEST);
        // Mass moved over this boundary leaves the cell behind it for the cell before it.
        let slope = around.gradient[boundary - 1] - around.gradient[boundary];
        let mut pool = (around.below[boundary] + slope / weight, weight, 1);
        while let Some(last) = pools.last().filter(|last| last.0 >= pool.0) {
            let weight = last.1 + pool.1;
            pool = ((last.0 * last.1 + pool.0 * pool.1) / weight, weight, last.2 + pool.2);
            pools.pop();
        }
        pools.push(pool);
    }
    let mut at = 1;
    for (value, _, boundaries) in pools {
        target[at..at + boundaries].fill(value.clamp(0.0, 1.0));
        at += boundaries;
    }
    target[cells] = 1.0;
}

/// Goes towards the target as far as the likelihood, which is concave, certainly does not fall. True
/// when it went, and `around` is where it stands now.
fn toward(
    masses: &mut [f64],
    around: &mut Around,
    trial: &mut Around,
    target: &[f64],
    (groups, total): (&[Group], f64),
) -> bool {
    let direction: Vec<f64> =
        masses.iter().zip(target.windows(2)).map(|(mass, ends)| ends[1] - ends[0] - mass).collect();
    let rise =
        |at: &Around| -> f64 { direction.iter().zip(&at.gradient).map(|(step, d)| step * d).sum() };
    let start = rise(around);
    if start <= 0.0 {
        return false;
    }
    let mut length = 1.0;
    for _ in 0..12 {
        let moved: Vec<f64> =
            masses.iter().zip(&direction).map(|(m, s)| (m + length * s).max(0.0)).collect();
        trial.set_masses(&moved);
        trial.look(groups, total);
        let end = rise(trial);
        if end >= 0.0 || end.abs() <= 1e-3 * start {
            masses.copy_from_slice(&moved);
            std::mem::swap(around, trial);
            return true;
        }
        // The secant's zero, and not less than a tenth of the way.
        length *= (start / (start - end)).clamp(0.1, 0.9);
    }
    false
}

pub(super) fn log_likelihood(groups: &[Group], masses: &[f64]) -> f64 {
    let mut around = Around::new(masses.len());
    around.set_masses(masses);
    groups
        .iter()
        .filter(|g| g.weight > 0.0)
        .map(|g| g.weight * (around.below[g.to] - around.below[g.from]).ln())
        .sum()
}
