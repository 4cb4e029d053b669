//! The output side of dwell: recipes, tokens, rendering, and the transports that hand one event
//! to a pipeline. Usable alone; it never depends on `dwell`.

pub mod bounded;
pub mod bulk_answer;
pub mod catalogue;
pub mod file;
pub mod http_bulk;
pub mod identifiers;
pub mod injector;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_check;
#[cfg(feature = "kafka")]
pub mod kafka_complaints;
pub mod kafka_settings;
pub mod line;
pub mod lint;
pub mod net;
pub mod parse;
pub mod receipt;
pub mod recipe;
pub mod registry;
pub mod render;
pub mod secret;
pub mod stamp;
pub mod stdout;
pub mod syslog;
pub mod syslog_frame;
pub mod tls;
pub mod token;
