//! The numbers of one expectation, as the model holds them: the distribution of its times with all
//! that qualifies it, and the share in time.

use schemars::JsonSchema;
use serde::Serialize;

use crate::stats::proportion::ShareInterval;
use crate::stats::survival::{Quantile, Reach};

/// The distribution of the time to detect.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TtdReport {
    /// Canaries that enter the estimate.
    pub n: u64,
    /// Detections among them.
    pub events: u64,
    /// The longest time for which any of them was followed, nanoseconds: where the curve ends.
    pub followed_ns: u64,
    /// What the numbers are: the time to detect, or an upper bound on it where it is polled; with the
    /// estimate where that is not Kaplan-Meier.
    pub label: String,
    /// The estimate used.
    pub method: Method,
    /// Quantiles with 95 % intervals.
    pub quantiles: Vec<QuantileReport>,
    /// The curve of canaries not yet detected: Kaplan-Meier, or both edges of Turnbull's estimate; of
    /// more than 2,000 steps every k-th, and the first and the last 100.
    pub curve: Vec<CurvePoint>,
    /// Mean time up to the deadline, with that time and its standard error; never a bare mean.
    pub mean: Option<MeanReport>,
    /// Blocks of submission time that were drawn for intervals by bootstrap.
    pub blocks: BlockReport,
    /// The last detection after submission, nanoseconds.
    pub last_detection_ns: Option<u64>,
    /// What the canaries that nobody could see may have hidden; only where there are such.
    pub extremes: Option<ExtremesReport>,
}

/// The median at both ends of what blindness leaves open. `null` means not reached.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct ExtremesReport {
    /// Canaries on which both rest, those included that nobody followed at all.
    pub n: u64,
    /// Indeterminate ones among them.
    pub blind: u64,
    /// If each indeterminate one had been detected when blindness began, nanoseconds.
    pub early_ns: Option<u64>,
    /// If none of them was ever detected.
    pub never_ns: Option<u64>,
}

/// Where the ends of times come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct DatedReport {
    /// Canaries with a time.
    pub of: u64,
    /// Of these, whose time is what the alert says of its own creation, widened on both sides by the
    /// bound and by how finely it is told.
    pub by_record: u64,
    /// Of these, whose alert says what our own looks contradict within that bound: made before the canary
    /// was submitted or after we saw it. Their times are our own.
    pub contradicted: u64,
    /// The configured bound on the difference of the clocks, nanoseconds; 0 on the same machine.
    pub bound_ns: u64,
}

/// The time from the submission of the event with which a burst's condition is met.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CompletingReport {
    /// Canaries that enter the estimate.
    pub n: u64,
    /// Detections among them.
    pub events: u64,
    /// Detected before that event was sent; they count as 0.
    pub before: u64,
    /// Seen, but not that event; they are left out.
    pub left_out: u64,
    /// What the number is, as for the time from the first event.
    pub label: String,
    /// The median with its 95 % interval.
    pub p50: QuantileReport,
}

/// Which estimate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Kaplan-Meier, with log-log intervals.
    KaplanMeier,
    /// The same on the upper ends of intervals: an upper bound.
    KaplanMeierUpperEnds,
    /// Turnbull's estimate on the intervals, with bootstrap intervals; beyond what can be resampled,
    /// from the lower limit on lower ends to the upper limit on upper ends.
    Turnbull,
}

/// A mean that says what it is restricted to.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct MeanReport {
    /// Times beyond this, and canaries not seen, count as this; nanoseconds.
    pub up_to_ns: u64,
    /// The restricted mean, nanoseconds.
    pub mean_ns: u64,
    /// Its standard error, nanoseconds.
    pub standard_error_ns: u64,
}

/// How submission time was cut for the block bootstrap.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BlockReport {
    /// Length of a block, nanoseconds.
    pub length_ns: u64,
    /// Why that long.
    pub why: String,
    /// Blocks with canaries in them.
    pub number: u32,
    /// Resamples drawn; 0 where none were.
    pub resamples: u32,
    /// Why no interval by blocks was computed.
    pub not_computed: Option<String>,
}

/// Two limits in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct BlockLimits {
    /// Lower limit.
    pub lower: Reach,
    /// Upper limit.
    pub upper: Reach,
}

/// One quantile.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QuantileReport {
    /// 0.5, 0.9, 0.95.
    pub p: f64,
    /// The estimate with its interval (95 %): log-log, or by bootstrap for Turnbull's estimate, where
    /// the estimate is the right end of `within`. `None` when refused.
    pub value: Option<Quantile>,
    /// How many more canaries would be needed before it is shown.
    pub needs_more: u64,
    /// Turnbull's estimate: all between these fit the polls equally well. How far the true quantile may be
    /// from it is what the interval says.
    pub within: Option<BlockLimits>,
    /// Interval (95 %, percentile) by blocks of submission time, beside the log-log one.
    pub by_blocks: Option<BlockLimits>,
    /// The two intervals differ by more than a fifth in width.
    pub blocks_differ: bool,
}

/// One step of the curve.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct CurvePoint {
    /// Nanoseconds since submission.
    pub time_ns: u64,
    /// Share not yet detected after it.
    pub undetected: f64,
    /// Lower 95 % limit, log-log, `None` where undefined; for Turnbull's estimate its lower edge.
    pub lower: Option<f64>,
    /// Upper 95 % limit; for Turnbull's estimate its upper edge.
    pub upper: Option<f64>,
}

/// The share in time, as a range.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct ShareReport {
    /// Canaries old enough at the cut for their deadline to have passed.
    pub eligible: u64,
    /// As old, but rejected at hand-over by a fault of ours: in neither share.
    pub rejected_by_us: u64,
    /// Indeterminate and unproven ones left out.
    pub left_out: Share,
    /// The same, counted as failed.
    pub counted_as_failed: Share,
}

/// The share in time as batches tell it: canaries that one run of the rule may catch, or miss, together.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BatchShareReport {
    /// Batches of the canaries that are old enough.
    pub batches: u64,
    /// How long a batch is, nanoseconds.
    pub batch_ns: u64,
    /// Why that long.
    pub why: String,
    /// From the lower 95 % limit of batches all of whose canaries are in time, indeterminate ones counted as
    /// failed, to the upper one of those that hold one in time, indeterminate ones left out.
    pub interval: ShareInterval,
    /// It is wider than that of single canaries by more than a fifth.
    pub differs: bool,
}

/// x of n with a 95 % Clopper-Pearson interval.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Share {
    /// In time.
    pub x: u64,
    /// Of so many.
    pub n: u64,
    /// The interval.
    pub interval: ShareInterval,
}

impl Share {
    /// x / n; `None` for n = 0.
    pub fn point(&self) -> Option<f64> {
        (self.n > 0).then(|| self.x as f64 / self.n as f64)
    }
}

/// A share that had ended in one way by an instant: a plain share where everybody was followed so far, else by
/// Aalen and Johansen.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IncidenceReport {
    /// The cumulative incidence, from 0 to 1.
    pub share: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Lower 95 % limit: Clopper-Pearson, or on the scale of ln(-ln F), where a share of 1 has none.
    pub lower: Option<f64>,
    /// Upper 95 % limit.
    pub upper: Option<f64>,
}

/// Which alert came first, among the canaries of the distribution.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CompetingReport {
    /// Canaries that entered.
    pub n: u64,
    /// The instant after submission that the shares are about, nanoseconds: the deadline.
    pub by_ns: u64,
    /// True where some were followed for less than that, so that the shares are estimates.
    pub censored: bool,
    /// A named rule alerted, and no other before it. Absent: never by then.
    pub named_rule: Option<IncidenceReport>,
    /// Another rule alerted, and no named one before it.
    pub other_rule: IncidenceReport,
}
