//! The rows of the ledger: every fact that dwell may later be asked about, and nothing derived.
//!
//! Outcomes, times to detect and verdicts are *not* rows. They are a pure function of these rows
//! and a cut (`dispatch::outcome`), which is what makes a report reproducible.
//!
//! On disk a row is one JSON object with a `k` field that names its kind. Field names are short
//! where a ledger holds millions of them. Adding an optional field or a kind keeps the format version
//! (an older dwell stops at a kind that it does not know, it never skips one); anything else raises it.

use dwell_injectors::receipt::{Cause, Strength};
use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::TokenId;
use serde::{Deserialize, Serialize};

use super::{RunStarted, Stage};

/// One fact. See the module's text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "kebab-case")]
pub enum Row {
    /// A writer opened the ledger.
    Opened(Opened),
    /// A run began: its whole plan and resolved configuration.
    Run(Box<RunStarted>),
    /// A canary is about to leave; committed before it does.
    Intent(Intent),
    /// What became of one event of a canary.
    Receipt(ReceiptRow),
    /// A planned canary that was never handed over.
    Withdrawn(Withdrawn),
    /// A watcher saw one of our tokens.
    Sighting(SightingRow),
    /// A watcher looked.
    Look(Look),
    /// A span in which a watcher could not look.
    Blind(Blind),
    /// A watcher read its first real record through its dialect under this configuration.
    Proven(Proven),
    /// Sightings that are none of ours, counted.
    Stray(Stray),
    /// Injection stopped, paused or went on.
    Control(Control),
    /// The wall clock stepped against boot time.
    Clock(ClockStep),
    /// Somebody asked whether a text is ours.
    Verify(VerifyRow),
    /// A run ended.
    Ended(Ended),
    /// What will be claimed, and from how many canaries, was fixed.
    Claim(ClaimRow),
    /// An injector made a file; older versions made them and did not say so.
    Made(MadeRow),
}

/// A writer opened the ledger.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// When.
    pub at: Stamp,
    /// This program's version.
    pub version: String,
    /// The verb that opened it: `run`, `watch`, `verify`.
    pub verb: String,
    /// Operating system process id.
    pub pid: u32,
    /// Offset and error of the wall clock if the system reports them: `synchronised`, `unsynchronised`, `unknown`.
    pub clock_sync: String,
}

/// A canary is about to leave.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Which canary.
    #[serde(rename = "c")]
    pub canary: TokenId,
    /// The run.
    #[serde(rename = "r")]
    pub run: u32,
    /// Index into the run's routes.
    #[serde(rename = "w")]
    pub route: u32,
    /// Slot within the route.
    #[serde(rename = "s")]
    pub slot: u32,
    /// The planned instant of its first event.
    #[serde(rename = "p")]
    pub intended: Stamp,
    /// SHA-256 of each event's body, first 16 bytes, hex.
    #[serde(rename = "d")]
    pub digests: Vec<String>,
    /// Index of the completing event.
    #[serde(rename = "e")]
    pub completing: u32,
}

/// What became of one event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReceiptRow {
    /// Which canary.
    #[serde(rename = "c")]
    pub canary: TokenId,
    /// Which of its events.
    #[serde(rename = "e")]
    pub event: u32,
    /// Read immediately before the first byte left; for a crash, the intended instant.
    #[serde(rename = "t")]
    pub submitted_at: Stamp,
    /// How late the hand-over began against its planned instant, nanoseconds.
    #[serde(rename = "l")]
    pub late_ns: i64,
    /// What is known.
    #[serde(rename = "o")]
    pub result: EventResult,
}

/// What is known about one event's delivery.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventResult {
    /// Acknowledged.
    Accepted {
        /// When, if the transport says so.
        at: Option<Stamp>,
        /// How strongly.
        strength: Strength,
        /// Where it lies now.
        place: Option<String>,
    },
    /// Certainly not delivered.
    Rejected {
        /// In the target's words; foreign text.
        reason: String,
        /// Whose fault it is; rows of older versions do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// May or may not be delivered; also a crash between hand-over and receipt.
    Unknown {
        /// What happened; foreign text.
        reason: String,
    },
    /// Not sent, because an earlier event of the burst failed or injection was stopped.
    NotSent {
        /// Why.
        reason: String,
    },
}

/// A planned canary that was never handed over.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Withdrawn {
    /// When this was decided.
    pub at: Stamp,
    /// The run.
    pub run: u32,
    /// Index into the run's routes.
    pub route: u32,
    /// First slot of a contiguous range.
    pub slot_from: u32,
    /// Number of slots in the range.
    pub slots: u32,
    /// The canary, where an intent had already been committed.
    pub canary: Option<TokenId>,
    /// One of the schedule's reasons ([`crate::schedule::is_beforehand`]), or what stopped the run:
    /// `kill switch`, `signal`, `stop`, `crash`.
    pub reason: String,
}

/// A watcher saw one of our tokens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SightingRow {
    /// Which canary.
    #[serde(rename = "c")]
    pub canary: TokenId,
    /// The watcher's name, or `scan`.
    #[serde(rename = "w")]
    pub watcher: String,
    /// The stage it reaches.
    #[serde(rename = "g")]
    pub stage: Stage,
    /// When the bytes arrived, before any queue.
    #[serde(rename = "t")]
    pub observed: Stamp,
    /// Not there before this, as far as the watcher knows: the lower bound. For a poll the start of the
    /// last complete look that did not show it, `None` in the first look of all. Others give it where it
    /// lies further back than their resolution: the start of the last complete look, or the beginning of
    /// a stall of our own, where the record was found by a start, behind a blind span, after a stop, in a
    /// backlog or without being notified. `None` there means: at most the resolution before `observed`.
    /// What a webhook is told after a span in which nobody listened is bounded by the blind spans alone.
    #[serde(rename = "b")]
    pub not_before: Option<Stamp>,
    /// The product's id of the alert or document, or a digest of the record; de-duplicates.
    #[serde(rename = "i")]
    pub native_id: String,
    /// The rule, as the product names it (id first, else name); foreign text.
    #[serde(rename = "u")]
    pub rule: Option<String>,
    /// Every name under which the rule could be listed in an expectation (id, name, title).
    #[serde(rename = "n", default, skip_serializing_if = "Vec::is_empty")]
    pub rule_names: Vec<String>,
    /// The event's own time as the product reports it, wall nanoseconds.
    #[serde(rename = "et")]
    pub event_time_ns: Option<i64>,
    /// The alert's creation time as the product reports it, wall nanoseconds.
    #[serde(rename = "at")]
    pub created_time_ns: Option<i64>,
    /// `exact`, `identity` or `window`.
    #[serde(rename = "m")]
    pub grade: Grade,
    /// True for a token found by `dwell scan`: never a point in time.
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub retrospective: bool,
    /// Start of the record, cut; foreign text.
    #[serde(rename = "q", default)]
    pub excerpt: String,
}

/// How a sighting was tied to its canary; strongest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// The token itself.
    Exact,
    /// A leased identity.
    Identity,
    /// A field in a time window.
    Window,
}

/// A watcher looked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Look {
    /// The watcher's name.
    #[serde(rename = "w")]
    pub watcher: String,
    /// When the look began.
    #[serde(rename = "f")]
    pub from: Stamp,
    /// When its answer had been read whole. For a tail watcher a look covers `from..to` continuously.
    #[serde(rename = "t")]
    pub to: Stamp,
    /// True when all pages or bytes available were read.
    #[serde(rename = "c")]
    pub complete: bool,
    /// True when the look also covers everything since the previous complete look (tail, cursor,
    /// overlap): nothing that appeared in between can have been lost.
    #[serde(rename = "u")]
    pub unbroken: bool,
    /// Durable position, in the watcher's own words.
    #[serde(rename = "p")]
    pub position: String,
    /// Records read.
    #[serde(rename = "n")]
    pub records: u64,
}

/// A span in which a watcher could not look.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Blind {
    /// The watcher's name.
    pub watcher: String,
    /// First instant not covered.
    pub from: Stamp,
    /// First instant covered again; `None` while it lasts.
    pub to: Option<Stamp>,
    /// What happened; may hold foreign text.
    pub reason: String,
    /// True when the fault is ours, false when the target was unavailable (a finding).
    pub ours: bool,
    /// True when everything that happened meanwhile was read afterwards: then nobody was blind.
    pub recovered: bool,
}

/// A watcher proved that it can see.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Proven {
    /// The watcher's name.
    pub watcher: String,
    /// When.
    pub at: Stamp,
    /// The configuration digest under which it did.
    pub config_digest: String,
}

/// Why a sighting is none of ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrayClass {
    /// The same alert again, within its canary's time.
    Duplicate,
    /// The tag is right, the canary is not in this ledger.
    Unknown,
    /// The tag is wrong.
    Forged,
    /// Our token, but other fields, too many events, or outside its time. Repeats after the horizon are
    /// counted by rows of this class; what lies outside its time under a new id, or is one event too
    /// many, is a recorded sighting and is counted by the assessment.
    Replayed,
    /// The event itself, as it was sent, where only alerts belong: a copy of our own output.
    Echoed,
}

/// Strays, counted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stray {
    /// The watcher's name.
    pub watcher: String,
    /// Why it is none of ours.
    pub class: StrayClass,
    /// When the last of them arrived.
    pub at: Stamp,
    /// How many.
    pub count: u64,
    /// An example, cut; foreign text.
    pub excerpt: String,
}

/// Injection stopped, paused or went on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Control {
    /// When.
    pub at: Stamp,
    /// `stopped`, `paused`, `resumed`.
    pub action: String,
    /// `kill switch`, `signal`, `stop command`.
    pub reason: String,
}

/// The wall clock stepped.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClockStep {
    /// When it was noticed.
    pub at: Stamp,
    /// Size of the step, nanoseconds.
    pub step_ns: i64,
}

/// Somebody asked whether a text is ours.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VerifyRow {
    /// When.
    pub at: Stamp,
    /// `ours`, `expired`, `unknown`, `forged`, `none`.
    pub answer: String,
    /// The canary, where there is one.
    pub canary: Option<TokenId>,
}

/// A run ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Stamp,
    /// The run.
    pub run: u32,
    /// `decided`, `horizon`, `stopped`.
    pub reason: String,
}

/// A claim, fixed before the canaries that will carry it: "`quantile` of the canaries within
/// `within_ns`, with this confidence", judged on the first `n` of which `misses` may be late or missed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClaimRow {
    /// When.
    pub at: Stamp,
    /// The campaign.
    pub campaign: String,
    /// The route's name.
    pub route: String,
    /// The expectation's name.
    pub expectation: String,
    /// Number of canaries on which it is judged: the first so many, by submission.
    pub n: u64,
    /// Of these so many may be late, missed or undecided.
    pub misses: u64,
    /// Share that is claimed, 0 to 1.
    pub quantile: f64,
    /// Time that is claimed, nanoseconds after submission of the first event.
    pub within_ns: u64,
    /// Confidence of the claim, 0 to 1.
    pub confidence: f64,
}

/// An injector made a file where there was none: what `leftovers --remove` may remove.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MadeRow {
    /// When the hand-over began that made it.
    pub at: Stamp,
    /// Its name, in a folder whose links are resolved.
    pub path: String,
    /// The device that it lies on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// When the file system says that it was made, wall nanoseconds; `None` where it does not say.
    pub born_ns: Option<i64>,
}
