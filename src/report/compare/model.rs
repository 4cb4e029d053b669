//! The model of a comparison: plain data, foreign text still raw.

use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::report::model::{BlockLimits, CurvePoint, Method, Share};
use crate::stats::difference::Difference;
use crate::stats::lag::Lag;
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
    /// Polled times entered that test with their upper ends: it may see the polling and not the SIEM.
    pub overall_upper_ends: bool,
    /// Its strata: of each route the expectation of the latest stage that is on both sides.
    pub overall_of: Vec<String>,
    /// Routes and expectations that are in both.
    pub routes: Vec<Pair>,
    /// Routes and expectations that are in one of them only. What is gone from B cannot be told.
    pub unpaired: Vec<Unpaired>,
    /// What was measured differently: the difference may come from there.
    pub warnings: Vec<String>,
    /// The verdict in words.
    pub verdict: Vec<String>,
    /// What the numbers do not say.
    pub limit: String,
}

/// A route and expectation without its like on the other side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Unpaired {
    /// The route.
    pub route: String,
    /// The expectation.
    pub expectation: String,
    /// `A`: it is gone from B. `B`: it is new there.
    pub only_in: String,
}

impl Unpaired {
    /// Was it in A alone?
    pub fn gone(&self) -> bool {
        self.only_in == "A"
    }

    /// In words; foreign text still raw.
    pub(super) fn words(&self) -> String {
        let why = if self.gone() { "gone from B: nobody can tell" } else { "only in B" };
        format!("{} / {} ({why})", self.route, self.expectation)
    }
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
    /// B had fewer detections than if both sides were alike: the test points to slower.
    pub b_slower: bool,
    /// The same, to hold beside all other routes.
    pub p_holm: f64,
}

/// From one end to the other; an absent end is not reached.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, JsonSchema)]
pub struct Range {
    /// Lower end.
    pub lower: Option<f64>,
    /// Upper end.
    pub upper: Option<f64>,
}

impl Range {
    /// What is not finite is not reached.
    pub(super) fn of((lower, upper): (f64, f64)) -> Range {
        let end = |value: f64| value.is_finite().then_some(value);
        Range { lower: end(lower), upper: end(upper) }
    }
}

/// A ratio B / A or a difference B - A with a block-bootstrap interval; an absent estimate or upper limit is
/// not reached.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Effect {
    /// The estimate: of what the sides show, for coarsely polled times of the right ends.
    pub estimate: Option<f64>,
    /// All in here fits the polls of both sides equally well; `null` where they leave nothing open. How far
    /// the true one may be is what the limits say.
    pub within: Option<Range>,
    /// Lower limit; `null` where it is not reached either (`lower_not_reached`), or where no resample had one.
    pub lower: Option<f64>,
    /// Even the lower limit lies beyond all that was followed: B's quantile is not reached.
    pub lower_not_reached: bool,
    /// The lower limit at the confidence that holds beside all other routes (Bonferroni).
    pub lower_beside: Option<f64>,
    /// The same of `lower_beside`.
    pub lower_beside_not_reached: bool,
    /// Upper limit.
    pub upper: Option<f64>,
}

/// A ratio of another quantile than the median.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct QuantileRatio {
    /// Which: the highest of 0.25 and 0.1 that A reached.
    pub p: f64,
    /// The ratio.
    pub ratio: Effect,
}

/// What was resampled of a side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Drawn {
    /// Times that our own clock stamped.
    Times,
    /// The upper ends of polled intervals.
    UpperEnds,
    /// The intervals, with Turnbull's estimate of each resample.
    Turnbull,
    /// The lower ends for what bounds from below, the upper ends for what bounds from above.
    BothEnds,
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
    /// Is B behind A anywhere, with its times divided by the margin? Where that holds B is not called no
    /// worse. Of polled times A enters with upper ends, and B too unless the polls are clearly different: then
    /// with lower ends.
    pub behind_beyond_margin: Option<Lag>,
    /// Difference of restricted means, nanoseconds; `null` where a side has no detection.
    pub mean_difference_ns: Option<Effect>,
    /// Ratio of restricted means; likewise.
    pub mean_ratio: Option<Effect>,
    /// Ratio of medians.
    pub median_ratio: Option<Effect>,
    /// Where A's median is not reached: the ratio of the highest quantile that is.
    pub quantile_ratio: Option<QuantileRatio>,
    /// Times of a side were polled: the log-rank test takes their upper ends, and what else does says so
    /// in its `method`.
    pub upper_ends: bool,
    /// How closely the times of A and of B are known, nanoseconds, where that is clearly different (nine of
    /// ten detections lie in intervals of at most this; 0 for what our own clock stamped). The log-rank test
    /// may then see the polling and not the SIEM: it decides nothing, and `lower_beside` of the ratio does.
    pub polled_apart_ns: Option<(u64, u64)>,
    /// Length of a block of submission time: what was asked for, or the longer of both sides, nanoseconds.
    pub block_ns: u64,
    /// Why that long.
    pub block_why: String,
    /// Blocks of submission time on each side.
    pub blocks: (u32, u32),
    /// Resamples of the bootstrap.
    pub resamples: u32,
    /// What was resampled of A and of B.
    pub drawn: Option<(Drawn, Drawn)>,
    /// Why nothing was.
    pub not_resampled: Option<String>,
    /// Time within which shares are counted: the shorter of both deadlines, nanoseconds.
    pub within_ns: u64,
    /// So many canaries count as one in the intervals and the test of the difference of shares, because misses
    /// come together as in an outage; 1: each counts. The larger of both sides.
    pub missed_together: f64,
    /// Share not in time, B - A, indeterminate ones left out.
    pub missed_left_out: Option<Difference>,
    /// The same with indeterminate ones counted as failed.
    pub missed_counted: Option<Difference>,
    /// Fisher's exact test of the shares of so many fewer canaries, adjusted to hold beside all other routes.
    pub missed_p_holm: f64,
    /// `slower`, `more missed`, `slower and more missed`, `no worse` or `cannot tell`.
    pub state: String,
    /// The same in words.
    pub words: String,
}

/// The times of one side, or of a stretch of a trend, in numbers.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Times {
    /// Canaries that enter the estimate.
    pub n: u64,
    /// Detections among them.
    pub events: u64,
    /// Which estimate, as in the report.
    pub method: Method,
    /// What the numbers are: the time to detect, or an upper bound on it.
    pub label: String,
    /// The median with its interval; for Turnbull's estimate the right end of `median_within`; `null` with
    /// too few canaries.
    pub median: Option<Quantile>,
    /// Turnbull's estimate: all medians in here fit the polls equally well.
    pub median_within: Option<BlockLimits>,
    /// Restricted mean, nanoseconds; for Turnbull's estimate the upper end of `mean_within_ns`; `null` where
    /// nobody was followed for so long, with too few canaries for a median and without any detection.
    pub mean_ns: Option<f64>,
    /// Its standard error, by Greenwood's formula; `null` for Turnbull's estimate, which has none.
    pub mean_se_ns: Option<f64>,
    /// Turnbull's estimate: the same of the mean.
    pub mean_within_ns: Option<Range>,
    /// Turnbull's estimate: limits of the mean.
    pub mean_interval_ns: Option<Range>,
    /// Where the limits of the median, and of the mean where it has any, come from.
    pub limits: String,
}

/// One side of a pair.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Numbers {
    /// Its times.
    #[serde(flatten)]
    pub times: Times,
    /// Longest time followed, nanoseconds.
    pub followed_ns: u64,
    /// In time, indeterminate ones left out.
    pub left_out: Share,
    /// In time, indeterminate ones counted as failed.
    pub counted: Share,
    /// So many canaries count as one, by how its misses come together; 1: each counts.
    pub together: f64,
    /// The curve of those not yet detected: Kaplan-Meier with its band, or both edges of Turnbull's
    /// estimate.
    pub curve: Vec<CurvePoint>,
}

impl Comparison {
    /// 1 where anything is worse, else 4 where anything cannot be told or is gone from B, else 0.
    pub fn exit(&self) -> Exit {
        let states = || self.routes.iter().map(|pair| pair.state.as_str());
        let gone = self.unpaired.iter().any(Unpaired::gone);
        if states().any(|s| s != "no worse" && s != "cannot tell") {
            Exit::Missed
        } else if self.routes.is_empty() || gone || states().any(|s| s == "cannot tell") {
            Exit::Undecided
        } else {
            Exit::Met
        }
    }
}
