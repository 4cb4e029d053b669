//! The model of a comparison: plain data, foreign text still raw.

use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::report::model::{CurvePoint, Share};
use crate::stats::difference::Difference;
use crate::stats::survival::Quantile;

/// A whole comparison.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Comparison {
    /// Always `dwell-compare/1`.
    pub format: String,
    /// What was.
    pub a: SideReport,
    /// What is.
    pub b: SideReport,
    /// Ratio of medians beyond which B is slower.
    pub margin_ratio: f64,
    /// Difference of shares beyond which more is missed.
    pub margin_share: f64,
    /// Confidence of every interval.
    pub confidence: f64,
    /// Log-rank test over all routes, stratified: each canary counts once.
    pub overall: Option<Test>,
    /// Its strata: of each route the expectation of the latest stage that is on both sides.
    pub overall_of: Vec<String>,
    /// Routes and expectations that are in both.
    pub routes: Vec<Pair>,
    /// Routes and expectations that are in one of them only.
    pub unpaired: Vec<String>,
    /// What was measured differently: the difference may come from there.
    pub warnings: Vec<String>,
    /// The verdict in words.
    pub verdict: Vec<String>,
    /// What the numbers do not say.
    pub limit: String,
}

/// One side.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SideReport {
    /// As it was asked for.
    pub label: String,
    /// The campaign.
    pub campaign: String,
    /// Its cut, RFC 3339.
    pub cut: String,
    /// Runs that were taken.
    pub runs: Vec<u32>,
    /// Canaries that were taken.
    pub canaries: u64,
    /// How the choice was made, where that needs saying.
    pub note: Option<String>,
}

/// A test.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Test {
    /// Log-rank chi-square, one degree of freedom.
    pub chi2: f64,
    /// Its p.
    pub p: f64,
    /// The same, to hold beside all other routes.
    pub p_holm: f64,
}

/// A ratio B / A or a difference B - A with a block-bootstrap interval; an absent limit is not reached.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Effect {
    /// The estimate.
    pub estimate: Option<f64>,
    /// Lower limit.
    pub lower: Option<f64>,
    /// Upper limit.
    pub upper: Option<f64>,
}

/// One route and expectation on both sides.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Pair {
    /// The route.
    pub route: String,
    /// The expectation.
    pub expectation: String,
    /// The stage.
    pub stage: String,
    /// Side A.
    pub a: Numbers,
    /// Side B.
    pub b: Numbers,
    /// Up to this time the means are taken, nanoseconds: the shorter of what was followed.
    pub mean_until_ns: u64,
    /// Log-rank test.
    pub log_rank: Option<Test>,
    /// Difference of restricted means, nanoseconds.
    pub mean_difference_ns: Option<Effect>,
    /// Ratio of restricted means.
    pub mean_ratio: Option<Effect>,
    /// Ratio of medians.
    pub median_ratio: Option<Effect>,
    /// Times of a side were polled: they enter with their upper ends, on both sides.
    pub upper_ends: bool,
    /// Length of a block of submission time: what was asked for, or the longer of both sides, nanoseconds.
    pub block_ns: u64,
    /// Why that long.
    pub block_why: String,
    /// Blocks of submission time on each side.
    pub blocks: (u32, u32),
    /// Resamples of the bootstrap.
    pub resamples: u32,
    /// Time within which shares are counted: the shorter of both deadlines, nanoseconds.
    pub within_ns: u64,
    /// Share not in time, B - A, indeterminate ones left out.
    pub missed_left_out: Option<Difference>,
    /// The same with indeterminate ones counted as failed.
    pub missed_counted: Option<Difference>,
    /// Fisher's exact test of the shares, adjusted to hold beside all other routes.
    pub missed_p_holm: f64,
    /// `slower`, `more missed`, `slower and more missed`, `no worse` or `cannot tell`.
    pub state: String,
    /// The same in words.
    pub words: String,
}

/// One side of a pair.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Numbers {
    /// Canaries that enter the curve.
    pub n: u64,
    /// Detections among them.
    pub events: u64,
    /// Longest time followed, nanoseconds.
    pub followed_ns: u64,
    /// Median with its log-log interval.
    pub median: Option<Quantile>,
    /// Restricted mean, nanoseconds.
    pub mean_ns: f64,
    /// Its standard error.
    pub mean_se_ns: f64,
    /// In time, indeterminate ones left out.
    pub left_out: Share,
    /// In time, indeterminate ones counted as failed.
    pub counted: Share,
    /// The curve of those not yet detected.
    pub curve: Vec<CurvePoint>,
}

impl Comparison {
    /// 1 where anything is worse, else 4 where anything cannot be told, else 0.
    pub fn exit(&self) -> Exit {
        let states = || self.routes.iter().map(|pair| pair.state.as_str());
        if states().any(|s| s != "no worse" && s != "cannot tell") {
            Exit::Missed
        } else if self.routes.is_empty() || states().any(|s| s == "cannot tell") {
            Exit::Undecided
        } else {
            Exit::Met
        }
    }
}
