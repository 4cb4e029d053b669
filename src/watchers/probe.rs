//! Whether a watcher could look, without recording anything: for `dwell check --connect`.

use std::fs::File;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use dwell_injectors::stamp::Clock;

use super::{WatcherSettings, build, poll};
use crate::dialects::Dialects;

/// How long one address may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

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
        WatcherSettings::Kafka { brokers, .. } => broker(brokers),
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
            match runtime.block_on(watcher.try_once(clock.now())) {
                Ok(records) => Ok(format!("answers, {records} records on the first page")),
                Err(trouble) => Err(trouble.reason),
            }
        }
    }
}

fn file(path: &Path) -> Result<String, String> {
    match File::open(path) {
        Ok(_) if path.is_dir() => Err(format!("{} is a folder; name the file", path.display())),
        Ok(_) => Ok("can be read".to_owned()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            match folder.read_dir() {
                Ok(_) => Ok("is not there yet; its folder is".to_owned()),
                Err(e) => Err(format!("cannot read {}: {e}; create it", folder.display())),
            }
        }
        Err(e) => Err(format!("cannot read {}: {e}; check its permissions", path.display())),
    }
}

fn broker(brokers: &[String]) -> Result<String, String> {
    let mut last = String::new();
    for broker in brokers {
        let addresses = broker.to_socket_addrs().into_iter().flatten();
        for address in addresses {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(_) => return Ok(format!("{broker} accepts connections")),
                Err(e) => last = format!("{broker}: {e}"),
            }
        }
    }
    Err(format!("no broker can be reached ({last}); check `brokers`"))
}
