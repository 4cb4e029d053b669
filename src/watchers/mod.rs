//! Watchers: the plug-ins that look where detections show.
//!
//! The contract that every watcher signs:
//!
//! 1. It yields sightings of our tokens with `observed` stamped when the bytes arrived, before any
//!    queue, and never decides what a detection is.
//! 2. Its cursor is durable and committed in the same transaction as the sightings that precede it:
//!    a restart repeats at most an overlap and skips nothing.
//! 3. It records a look at least every ten seconds while it can see, and a blind span with its
//!    reason (ours, or the target was unavailable) while it cannot. Silence and blindness are
//!    different values.
//! 4. It states its resolution, so that a report can print the bound, and how long its next look may be
//!    waited for. Whatever may have been there for longer than the resolution before it was read (after a
//!    start, a blind span, a stop, a stall, out of a backlog) carries a lower bound of its own that is true.
//! 5. Input limits (bytes per record, records per page, pages per poll) are explicit, and a breach is
//!    counted, never silent.
//! 6. Foreign text leaves it only inside rows; only the report's escaping opens it.
//!
//! A watcher runs on a thread of its own until [`WatchContext::stop`] is set. Those whose library is
//! asynchronous (webhook, poll) block on the shared runtime handle.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dwell_injectors::stamp::{Clock, Stamp};

use crate::dialects::Dialects;
use crate::ledger::{Ledger, Stage};

mod committer;
mod file;
mod intake;
#[cfg(feature = "kafka")]
mod kafka;
mod poll;
mod probe;
mod pulse;
mod settings;
mod webhook;

pub(crate) use file::{irregular, is_rotated_name};
pub use probe::probe;
pub use pulse::Pulse;
pub use settings::{Period, SettingsError, TlsFiles, WatcherSettings, WebhookAuth};

/// How coarse the times of watchers are that are told or that tail, while they are at the end of their
/// source. The largest delays of webhooks and files on a quiet machine are 4.3 ms (`docs/accuracy.md`, which also
/// says what a busy one does); a stall of up to four milliseconds is not noticed ([`Pulse`]). A longer one of the
/// process is told by a lower bound of its own.
pub const RESOLUTION: Duration = Duration::from_millis(5);

/// How long after it was due a look may still come, before its watcher is taken to be blind.
const PATIENCE: Duration = Duration::from_secs(15);

/// The lower bound of what was read at `observed`, where it says more than the resolution does.
fn not_before(observed: &Stamp, since: Stamp) -> Option<Stamp> {
    let within = observed.boot == since.boot && observed.since(&since).ns <= intake::ns(RESOLUTION);
    (!within).then_some(since)
}

/// The later of two lower bounds. One of this boot is later than one of another, which was found in
/// the ledger.
fn later(known: Stamp, new: Stamp) -> Stamp {
    if known.boot != new.boot || new.since(&known).ns > 0 { new } else { known }
}

/// The earliest of lower bounds, none of which is later than `newest`: one of another boot, which was
/// found in the ledger, is earlier than any of this one.
fn earliest(newest: Stamp, others: impl Iterator<Item = Stamp>) -> Stamp {
    let key = |stamp: &Stamp| (stamp.boot == newest.boot, stamp.boot_ns);
    others.min_by_key(key).filter(|other| key(other) < key(&newest)).unwrap_or(newest)
}

/// What a watcher is given to work with.
#[derive(Clone)]
pub struct WatchContext {
    /// The watcher's configured name.
    pub name: String,
    /// The stage that its sightings reach.
    pub stage: Stage,
    /// Digest of the configuration, for `Proven` rows.
    pub config_digest: String,
    /// Where batches are committed.
    pub ledger: Ledger,
    /// What the last watcher of this name left: its position, and the blind span that it could not
    /// close. `None` starts at the present end of the source.
    pub cursor: Option<String>,
    /// Start at the present end in any case: nothing that is outstanding depends on what lies before.
    pub anew: bool,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Knows when the process did not run, from when the watcher heeds it.
    pub pulse: Arc<Pulse>,
    /// Finds our tokens in bytes.
    pub scanner: Arc<crate::matching::Scanner>,
    /// Files that our own injectors write, where this watcher's sightings are alerts: never read.
    pub own_files: Arc<[PathBuf]>,
    /// Set when the watcher should commit and return.
    pub stop: Arc<AtomicBool>,
    /// Set by the watcher once it has taken its starting position: injection waits for it.
    pub ready: Arc<AtomicBool>,
    /// Why it cannot see, as long as it cannot.
    pub blind_reason: BlindReason,
    /// For watchers whose library is asynchronous.
    pub runtime: tokio::runtime::Handle,
}

/// What keeps a watcher from seeing at present, in words; foreign text.
#[derive(Clone, Default, Debug)]
pub struct BlindReason(Arc<Mutex<Option<String>>>);

impl BlindReason {
    /// It cannot see, for this reason.
    fn set(&self, reason: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// It sees.
    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The latest reason, while there is one.
    pub fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A watcher. See the module's text for the contract.
pub trait Watcher: Send {
    /// What it reads, in words.
    fn source(&self) -> String;

    /// True when it can only be told, so that its silence proves little.
    fn push(&self) -> bool;

    /// How coarse its times are.
    fn resolution(&self) -> Duration;

    /// How long after its last look, or after a deadline, its next look may still come.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// Looks until `context.stop` is set. Returns an error only for what cannot be recovered by
    /// looking again (bad certificate file, port in use); all else is a blind span.
    fn run(self: Box<Self>, context: WatchContext) -> Result<(), WatchError>;
}

/// Why a watcher cannot go on at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The machine or the target does not allow it.
    #[error("watcher {watcher}: {reason}")]
    Environment {
        /// The watcher's name.
        watcher: String,
        /// What happened, and the next step.
        reason: String,
    },
    /// The ledger cannot be written.
    #[error("watcher {watcher}: {source}")]
    Ledger {
        /// The watcher's name.
        watcher: String,
        /// What the ledger said.
        #[source]
        source: crate::ledger::LedgerError,
    },
}

/// Opens nothing yet: turns checked settings into a watcher. Secrets are followed here.
pub fn build(
    settings: &WatcherSettings,
    dialects: &Dialects,
) -> Result<Box<dyn Watcher>, SettingsError> {
    settings.check(dialects)?;
    let dialect = dialects
        .get(settings.dialect())
        .map_err(|e| SettingsError::new("dialect", e.to_string()))?;
    match settings {
        WatcherSettings::File { path, .. } => {
            Ok(Box::new(file::FileWatcher { path: path.clone(), dialect }))
        }
        WatcherSettings::Webhook { listen, path, auth, tls, hosts, .. } => {
            let verifier = crate::web::Verifier::new(auth)
                .map_err(|e| SettingsError::new("auth.secrets", e.to_string()))?;
            let tls = tls
                .as_ref()
                .map(|files| crate::web::acceptor(&files.certificate, &files.key))
                .transpose()
                .map_err(|e| SettingsError::new("tls", e.to_string()))?;
            Ok(Box::new(webhook::WebhookWatcher {
                listen: *listen,
                path: path.clone(),
                hosts: hosts.clone(),
                verifier,
                tls,
                dialect,
            }))
        }
        WatcherSettings::Poll { url, every, overlap, timeout, vars, auth, ca_file, .. } => {
            let settings = poll::PollSettings {
                url,
                every: every.0,
                overlap: overlap.0,
                timeout: timeout.0,
                vars,
                auth: auth.as_ref(),
                ca_file: ca_file.as_ref(),
            };
            Ok(Box::new(poll::PollWatcher::new(settings, dialect)?))
        }
        WatcherSettings::Kafka { brokers, topic, security, properties, .. } => {
            build_kafka((brokers, topic), security, properties, dialect)
        }
    }
}

#[cfg(feature = "kafka")]
fn build_kafka(
    place: (&[String], &str),
    security: &dwell_injectors::kafka_settings::KafkaSecurity,
    further: &std::collections::BTreeMap<String, String>,
    dialect: Arc<crate::dialects::Dialect>,
) -> Result<Box<dyn Watcher>, SettingsError> {
    Ok(Box::new(kafka::KafkaWatcher::new(place, security, further, dialect)?))
}

#[cfg(not(feature = "kafka"))]
fn build_kafka(
    _: (&[String], &str),
    _: &dwell_injectors::kafka_settings::KafkaSecurity,
    _: &std::collections::BTreeMap<String, String>,
    _: Arc<crate::dialects::Dialect>,
) -> Result<Box<dyn Watcher>, SettingsError> {
    Err(SettingsError::new("type", "this binary was built without `kafka`; build it with it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwell_injectors::stamp::BootId;

    #[test]
    fn a_bound_of_another_boot_is_the_earliest_whatever_its_clock_says() {
        let at = |boot, boot_ns| Stamp { wall_ns: 7, boot_ns, boot: BootId(boot) };
        let (before, now) = (at(1, 900), at(2, 50));
        assert_eq!(earliest(now, std::iter::empty()), now);
        assert_eq!(earliest(now, [at(2, 40), at(2, 30)].into_iter()), at(2, 30));
        assert_eq!(earliest(now, [at(2, 40), before].into_iter()), before);
        assert_eq!(later(before, now), now);
    }
}
