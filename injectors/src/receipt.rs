//! What an injector gives back: a receipt with a stated strength, or one of three errors.
//!
//! The strength says how much the acknowledgement proves. A route names the strength that it
//! counts as delivery (`proof`); anything weaker leaves the canary *uncertain* until somebody
//! sees it. The three errors differ in what is known, not in what went wrong: `Rejected` means
//! that the event is certainly nowhere, `Unknown` that it may be somewhere, `Fatal` that it may
//! be somewhere *and* the injector must be rebuilt before it is used again.
//!
//! A rejection also says whose fault it is, because a pipeline that takes nothing in is a finding about
//! it, and a wrong password in our configuration is not. In doubt it is the target's: then the share
//! of an objective can only look worse than it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stamp::Stamp;

/// How much an acknowledgement proves; ordered from weakest to strongest.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// Handed to a local queue or the network with no answer (UDP, a plain TCP stream, HEC).
    Queued,
    /// In the operating system's page cache of the target file: survives our death, not power loss.
    Written,
    /// On the target's disk, after fsync.
    Synced,
    /// One remote service said yes.
    RemoteAccepted,
    /// All in-sync replicas said yes.
    Replicated,
}

/// Proof that one event was handed over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// Read immediately before the first byte left.
    pub submitted_at: Stamp,
    /// Read when the acknowledgement arrived; `None` where the transport gives none.
    pub accepted_at: Option<Stamp>,
    /// What the acknowledgement proves.
    pub strength: Strength,
    /// Where the event now lies, in the transport's own words: `file:offset`, `topic/partition@offset`.
    pub place: Option<String>,
}

/// Whose fault a rejection is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Ours: our configuration, credentials, rights or process.
    Ours,
    /// The target's: it refuses, is full, or cannot be reached.
    Target,
}

/// Why an event has no receipt. Texts are lower-case fragments that read after "failed to deliver: ".
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// Certainly not delivered.
    #[error("rejected: {reason}")]
    Rejected {
        /// What the target said, and the next step.
        reason: String,
        /// Whose fault it is.
        cause: Cause,
    },
    /// May or may not have been delivered.
    #[error("outcome unknown: {reason}")]
    Unknown {
        /// What happened, and the next step.
        reason: String,
    },
    /// May or may not have been delivered, and this injector cannot be used again until rebuilt.
    #[error("fatal: {reason}")]
    Fatal {
        /// What happened, and the next step.
        reason: String,
    },
}

impl InjectError {
    /// A certain rejection by the target.
    pub fn rejected(reason: impl Into<String>) -> InjectError {
        InjectError::Rejected { reason: reason.into(), cause: Cause::Target }
    }

    /// A certain rejection that is our own fault.
    pub fn ours(reason: impl Into<String>) -> InjectError {
        InjectError::Rejected { reason: reason.into(), cause: Cause::Ours }
    }

    /// An outcome that nobody can know.
    pub fn unknown(reason: impl Into<String>) -> InjectError {
        InjectError::Unknown { reason: reason.into() }
    }

    /// An outcome that nobody can know, from an injector that must be rebuilt.
    pub fn fatal(reason: impl Into<String>) -> InjectError {
        InjectError::Fatal { reason: reason.into() }
    }
}
