//! Standard output as a target: one line an event, for a pipe into whatever ships logs.
//!
//! Acknowledgements are [`Strength::Queued`]: a pipe holds the bytes, and nobody said that they
//! were read. Bytes go straight to the descriptor, past the buffer and lock of the standard
//! library, so that a reader that stopped reading blocks this transport alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::injector::{CheckNote, Event, Injector, Sample, Target};
use crate::line::with_newline;
use crate::receipt::{InjectError, Receipt, Strength};
use crate::registry::BuildError;
use crate::stamp::Clock;

/// Settings of `type = "stdout"`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutSettings {}

impl StdoutSettings {
    pub(crate) fn target(&self) -> Target {
        Target { transport: "stdout", place: "-".to_owned(), local: true }
    }

    pub(crate) fn build(&self, clock: Arc<dyn Clock>) -> Result<Box<dyn Injector>, BuildError> {
        Ok(Box::new(StdoutInjector { clock, torn: false }))
    }
}

#[derive(Debug)]
struct StdoutInjector {
    clock: Arc<dyn Clock>,
    /// A part of a line went out without its end; the next write ends it first.
    torn: bool,
}

impl Injector for StdoutInjector {
    fn target(&self) -> Target {
        StdoutSettings {}.target()
    }

    fn deliver(&mut self, event: &Event, timeout: Duration) -> Result<Receipt, InjectError> {
        let deadline = Instant::now() + timeout;
        let mut bytes = with_newline(&event.body);
        if self.torn {
            bytes.insert(0, b'\n');
        }
        let submitted_at = self.clock.now();
        let mut done = 0;
        while done < bytes.len() {
            if done > 0 && Instant::now() >= deadline {
                self.torn = true;
                return Err(InjectError::unknown(
                    "the reader of standard output stopped in the middle of a line; a part of it may have been read",
                ));
            }
            match rustix::io::write(rustix::stdio::stdout(), &bytes[done..]) {
                Ok(count) => done += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) if done == 0 => {
                    return Err(InjectError::ours(format!(
                        "cannot write to standard output: {error}; check what it is connected to"
                    )));
                }
                Err(error) => {
                    self.torn = true;
                    return Err(InjectError::unknown(format!(
                        "standard output failed after {done} of {} bytes: {error}",
                        bytes.len()
                    )));
                }
            }
        }
        self.torn = false;
        let accepted_at = Some(self.clock.now());
        Ok(Receipt { submitted_at, accepted_at, strength: Strength::Queued, place: None })
    }

    fn check(
        &mut self,
        _samples: &[Sample],
        _timeout: Duration,
    ) -> Result<Vec<CheckNote>, InjectError> {
        match rustix::fs::fcntl_getfl(rustix::stdio::stdout()) {
            Ok(flags)
                if flags.intersects(rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::RDWR) =>
            {
                Ok(Vec::new())
            }
            Ok(_) => Err(InjectError::ours("standard output is not open for writing")),
            Err(error) => Err(InjectError::ours(format!("standard output: {error}"))),
        }
    }

    fn close(&mut self, _timeout: Duration) -> usize {
        0
    }
}
