//! Whether a watcher could look, without recording anything: for `dwell check --connect`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use dwell_injectors::kafka_settings::KafkaSecurity;
use dwell_injectors::stamp::Clock;

use super::file::open_regular;
use super::{WatcherSettings, build, poll};
use crate::dialects::{Dialect, Dialects};

/// What was found in words, or what is wrong and the next step. Either may hold foreign text.
pub fn probe(
    settings: &WatcherSettings,
    dialects: &Dialects,
    clock: &dyn Clock,
    runtime: &tokio::runtime::Handle,
) -> Result<String, String> {
    build(settings, dialects).map_err(|e| e.to_string())?;
    match settings {
        WatcherSettings::File { path, .. } => file(path),
        WatcherSettings::Kafka { brokers, topic, security, properties, .. } => {
            let dialect = dialects.get(settings.dialect()).map_err(|e| e.to_string())?;
            topic_ends((brokers, topic), security, properties, dialect)
        }
        WatcherSettings::Webhook { listen, .. } => TcpListener::bind(listen)
            .map(|_| format!("{listen} is free"))
            .map_err(|e| format!("cannot listen on {listen}: {e}; choose another port")),
        WatcherSettings::Poll { url, every, overlap, timeout, vars, auth, ca_file, .. } => {
            let dialect = dialects.get(settings.dialect()).map_err(|e| e.to_string())?;
            let settings = poll::PollSettings {
                url,
                every: every.0,
                overlap: overlap.0,
                timeout: timeout.0,
                vars,
                auth: auth.as_ref(),
                ca_file: ca_file.as_ref(),
            };
            let watcher = poll::PollWatcher::new(settings, dialect).map_err(|e| e.to_string())?;
            runtime.block_on(watcher.try_once(clock.now())).map_err(|trouble| trouble.reason)
        }
    }
}

fn file(path: &Path) -> Result<String, String> {
    match open_regular(path) {
        Ok(_) => Ok("can be read".to_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            match folder.read_dir() {
                Ok(_) => Ok("is not there yet; its folder is".to_owned()),
                Err(e) => Err(format!("cannot read {}: {e}; create it", folder.display())),
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::Other => {
            Err(format!("cannot read {}: {e}", path.display()))
        }
        Err(e) => Err(format!("cannot read {}: {e}; check its permissions", path.display())),
    }
}

/// Asks for the ends of the topic's partitions; reads no record and commits no offset.
#[cfg(feature = "kafka")]
fn topic_ends(
    place: (&[String], &str),
    security: &KafkaSecurity,
    further: &BTreeMap<String, String>,
    dialect: Arc<Dialect>,
) -> Result<String, String> {
    let watcher = super::kafka::KafkaWatcher::new(place, security, further, dialect)
        .map_err(|e| e.to_string())?;
    match watcher.try_once() {
        Ok(partitions) => Ok(format!("the brokers answer, {partitions} partitions")),
        Err(trouble) => Err(trouble.reason),
    }
}

#[cfg(not(feature = "kafka"))]
fn topic_ends(
    _: (&[String], &str),
    _: &KafkaSecurity,
    _: &BTreeMap<String, String>,
    _: Arc<Dialect>,
) -> Result<String, String> {
    Err("this binary was built without `kafka`; build it with it".to_owned())
}
