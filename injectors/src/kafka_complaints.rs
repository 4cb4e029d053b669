//! What librdkafka says beside its answers, for errors that somebody can act on.
//!
//! A call that fails says that there was no answer, and no more. Which address refused, and why (a
//! closed port, a refused password, a certificate of a strange authority), the library tells as events,
//! which come while it is polled. Injector and watcher keep the last of them here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Longest complaint that is kept, characters.
const MAX_COMPLAINT: usize = 300;

/// The last complaint about one connection.
#[derive(Debug, Default)]
pub struct Complaints(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<(Code, String)>,
    all_down: bool,
}

impl Complaints {
    /// Keeps a complaint; for `ClientContext::error`.
    pub fn note(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let mut said = self.said();
        said.all_down |= code == Code::AllBrokersDown;
        // That all are down says less than why each of them is.
        if code != Code::AllBrokersDown || said.last.is_none() {
            said.last = Some((code, reason.chars().take(MAX_COMPLAINT).collect()));
        }
    }

    /// The last one. Foreign text.
    pub fn last(&self) -> Option<(Code, String)> {
        self.said().last.clone()
    }

    /// The last one, and forgets what was said.
    pub fn take(&self) -> Option<(Code, String)> {
        std::mem::take(&mut *self.said()).last
    }

    /// True when the library has found every broker down.
    pub fn all_down(&self) -> bool {
        self.said().all_down
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next step after a failure to connect.
pub fn next_step(code: Option<Code>) -> &'static str {
    match code {
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => {
            "check `security`"
        }
        _ => "start the broker or correct `brokers`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_kept_over_the_summary() {
        let complaints = Complaints::default();
        let down = KafkaError::Global(Code::AllBrokersDown);
        complaints.note(&down, "1/1 brokers are down");
        complaints.note(&KafkaError::Global(Code::BrokerTransportFailure), "h:1: refused");
        complaints.note(&down, "1/1 brokers are down");
        assert!(complaints.all_down());
        assert_eq!(complaints.last().unwrap().1, "h:1: refused");
        assert_eq!(complaints.take().unwrap().0, Code::BrokerTransportFailure);
        assert!(complaints.last().is_none() && !complaints.all_down());
    }
}
