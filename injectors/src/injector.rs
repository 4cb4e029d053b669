//! The contract that every transport signs, and the event it carries.
//!
//! 1. [`Injector::deliver`] hands over exactly one event and never blocks past its timeout. Gaps
//!    between the events of a burst belong to the caller.
//! 2. The receipt names the strength of its acknowledgement and nothing stronger.
//! 3. Errors say what is known ([`InjectError`]): certainly not there, unknown, or unknown and broken.
//! 4. One event is one record at the target, whatever characters it holds.
//! 5. It writes only to the target that [`Injector::target`] prints.
//! 6. [`Injector::check`] does what `deliver` would do short of writing: it sends nothing.
//! 7. [`Injector::close`] flushes within its timeout and says how many events it could not flush.
//! 8. [`Injector::made`] names what it made beside events, and only what it made for certain.
//!
//! The trait is synchronous: each injector lives on a thread of its own that also keeps the
//! schedule, because an asynchronous timer is late by a millisecond. A transport whose library is
//! asynchronous blocks on its own small runtime inside.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::receipt::{InjectError, Receipt};

/// One rendered event: the bytes that go out, and how they want to travel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Position within its canary, from 0.
    pub index: u32,
    /// How long after the canary's first event this one is due.
    pub offset: Duration,
    /// The record, without a trailing newline or transport framing. Always UTF-8.
    pub body: String,
    /// True for the event with which the rule's condition is met.
    pub completing: bool,
    /// What a syslog transport needs beside the body; `None` where the recipe is no syslog line.
    pub syslog: Option<SyslogHeader>,
    /// Key for a keyed transport (Kafka), already rendered from the route's template.
    pub key: Option<String>,
    /// The event's own time, nanoseconds since the Unix epoch, as rendered into the body.
    pub time_ns: i64,
}

/// The parts of a syslog frame that are not the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyslogHeader {
    /// Facility, 0 to 23 (4 = auth, 10 = authpriv).
    pub facility: u8,
    /// Severity, 0 to 7 (6 = info).
    pub severity: u8,
    /// Host name as the SIEM's inventory knows it.
    pub host: String,
    /// Program tag: `sshd`, `sshd-session`.
    pub app: String,
    /// Process id as text.
    pub pid: String,
    /// The free text after the tag, without header: what a syslog transport frames anew.
    pub message: String,
}

/// Where an injector writes, in words that a person can check before a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The transport's name in the registry: `file`, `syslog`, `kafka`, `http-bulk`, `stdout`.
    pub transport: &'static str,
    /// Path, URL without credentials, or `broker/topic`.
    pub place: String,
    /// True when the target is on this machine's loopback interface or in its file system.
    pub local: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.place)
    }
}

/// One thing that a connection check found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckNote {
    /// True when the route must not be used as configured.
    pub refuse: bool,
    /// What was found, and the next step.
    pub text: String,
}

/// An event as a route would send it, for comparison with what lies at the target; never sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The recipe that it is rendered from, for the words about it.
    pub recipe: String,
    /// The event.
    pub event: Event,
}

/// A file that an injector made where there was none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MadeFile {
    /// Its name, in a folder whose links are resolved.
    pub path: PathBuf,
    /// The device that it lies on.
    pub device: u64,
    /// Its number there; once the file is gone another may get it.
    pub inode: u64,
    /// When the file system says that it was made, wall nanoseconds since the Unix epoch; `None` where
    /// it does not say.
    pub born_ns: Option<i64>,
}

/// A transport. See the module's text for the contract.
pub trait Injector: Send + fmt::Debug {
    /// Where it writes.
    fn target(&self) -> Target;

    /// Hands over one event. Never blocks past `timeout`.
    fn deliver(&mut self, event: &Event, timeout: Duration) -> Result<Receipt, InjectError>;

    /// Looks whether `deliver` could work, without sending anything. Never blocks past `timeout`.
    /// `samples` are events of every recipe that would travel this way, so that a transport can
    /// compare each shape with what already lies at the target.
    fn check(
        &mut self,
        samples: &[Sample],
        timeout: Duration,
    ) -> Result<Vec<CheckNote>, InjectError>;

    /// The file that it made since it was last asked. No receipt can say so: the event for which it was
    /// made may have failed afterwards.
    fn made(&mut self) -> Option<MadeFile> {
        None
    }

    /// Flushes what is under way; returns how many events remain unflushed when the timeout ends.
    fn close(&mut self, timeout: Duration) -> usize;
}
