//! The library's client, and another one in its place where it is stuck.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dwell_injectors::kafka_complaints::Complaints;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;

/// Hears why the library gets no answer.
#[derive(Default)]
pub(super) struct Listener(pub Complaints);

impl ClientContext for Listener {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.note(&error, reason);
    }
}

impl ConsumerContext for Listener {}

/// A consumer that keeps its complaints.
pub(super) type Client = BaseConsumer<Listener>;

/// The client that is used now, and how another is made.
pub(super) struct Clients {
    config: ClientConfig,
    present: Mutex<Arc<Client>>,
}

impl Clients {
    pub fn new(config: ClientConfig) -> Result<Clients, KafkaError> {
        let present = Mutex::new(Arc::new(config.create_with_context(Listener::default())?));
        Ok(Clients { config, present })
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Client>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one to ask now.
    pub fn present(&self) -> Arc<Client> {
        Arc::clone(&self.lock())
    }

    /// Another one in its place.
    pub fn renew(&self) -> Result<Arc<Client>, KafkaError> {
        let new = Arc::new(self.config.create_with_context(Listener::default())?);
        // The old one is dropped when nobody asks through it any more.
        *self.lock() = Arc::clone(&new);
        Ok(new)
    }
}
