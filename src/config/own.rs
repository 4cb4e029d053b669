//! Whether a watcher would read what an injector of ours writes: it would detect everything at once.
//!
//! Compared is where both lead, not how they are spelt: a file through links (also dangling ones) and
//! by its inode, a broker or a server by host and port with all names of this machine as one. A file's
//! rotated names count as the file, in both directions. The file watcher compares inodes again when
//! it opens, since links and files change while a run lasts.
//!
//! Not found here: what only the servers know (an alias of an index, a second name of a broker, a
//! topic that is copied). There the ledger refuses a record that *is* what was sent.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dwell_injectors::registry::{InjectorSettings, is_loopback_host, split_host_port};

use super::checked::Config;
use crate::true_path::true_path;
use crate::watchers::{WatcherSettings, is_rotated_name};

impl Config {
    /// The files that the injectors write. None of them holds an alert.
    pub fn own_files(&self) -> Vec<PathBuf> {
        use InjectorSettings::{File, HttpBulk, Kafka, Stdout, Syslog};
        let file = |settings: &InjectorSettings| match settings {
            File(file) => Some(file.path.clone()),
            Stdout(_) => Some(PathBuf::from("/dev/stdout")),
            Syslog(_) | Kafka(_) | HttpBulk(_) => None,
        };
        self.injectors.values().filter_map(file).collect()
    }
}

/// True when the watcher reads what the injector writes. Every kind is named: a new one does not compile before
/// somebody has said here what reads it back.
pub(super) fn reads(watcher: &WatcherSettings, injector: &InjectorSettings) -> bool {
    use InjectorSettings::{File, HttpBulk, Kafka, Stdout, Syslog};
    match (injector, watcher) {
        (File(file), WatcherSettings::File { path, .. }) => same_file(&file.path, path),
        (Kafka(kafka), WatcherSettings::Kafka { brokers, topic, .. }) => {
            let theirs: Vec<_> = kafka.brokers.iter().map(|b| broker(b)).collect();
            kafka.topic == *topic && brokers.iter().any(|b| theirs.contains(&broker(b)))
        }
        (HttpBulk(bulk), WatcherSettings::Poll { url, vars, .. }) => {
            server(&bulk.url) == server(url)
                && vars.get("index").is_some_and(|index| reads_index(index, &bulk.index))
        }
        (
            File(_) | Syslog(_) | Kafka(_) | HttpBulk(_) | Stdout(_),
            WatcherSettings::File { .. }
            | WatcherSettings::Kafka { .. }
            | WatcherSettings::Webhook { .. }
            | WatcherSettings::Poll { .. },
        ) => false,
    }
}

fn same_file(ours: &Path, watched: &Path) -> bool {
    let inode = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let (a, b) = (true_path(ours), true_path(watched));
    a == b
        || is_rotated_name(&a, &b)
        || is_rotated_name(&b, &a)
        || inode(&a).is_some_and(|id| inode(&b) == Some(id))
}

/// A broker's host and port; what cannot be split is compared as it is spelt.
fn broker(address: &str) -> (String, u16) {
    match split_host_port(address) {
        Some((name, port)) => (host(name), port),
        None => (address.to_owned(), 0),
    }
}

/// Host, port and path of a server. Both schemes reach the same one where the port is the same.
fn server(address: &str) -> (String, u16, String) {
    match url::Url::parse(address) {
        Ok(url) => (
            host(url.host_str().unwrap_or_default()),
            url.port_or_known_default().unwrap_or(0),
            url.path().trim_end_matches('/').to_owned(),
        ),
        Err(_) => (address.trim_end_matches('/').to_owned(), 0, String::new()),
    }
}

/// One spelling for a host, and one for this machine: whoever connects to no address in particular
/// (`0.0.0.0`) reaches it too.
fn host(name: &str) -> String {
    let name = name.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
    let address = name.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    if is_loopback_host(&name)
        || name.ends_with(".localhost")
        || address.is_some_and(|a| a.is_unspecified() || a.is_loopback())
    {
        return "localhost".to_owned();
    }
    address.map_or(name, |address| address.to_string())
}

/// True when a search over `expression` (names, patterns with `*`, exclusions with `-`, by commas, as
/// the search API reads them) can show documents of `index`. A data stream's backing indices
/// (`.ds-NAME-...`) count as its own; aliases are known to the server only.
fn reads_index(expression: &str, index: &str) -> bool {
    let mut reads = false;
    for part in expression.split(',').map(str::trim) {
        match part.strip_prefix('-').filter(|_| reads) {
            Some(excluded) => reads &= !fits(excluded, index),
            None => reads |= part == "_all" || fits(part, index) || backing(part, index),
        }
    }
    reads
}

fn backing(pattern: &str, index: &str) -> bool {
    let own = format!(".ds-{index}-");
    pattern.starts_with(&own) || fits(pattern, &format!("{own}2026.01.01-000001"))
}

/// A name against a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_pattern_that_shows_what_we_wrote_is_found() {
        let index = "logs-sshd";
        for reads in [
            "logs-sshd",
            "logs-*",
            "*",
            "_all",
            "l*s-*hd",
            "other, logs-*",
            "logs-*,-logs-nginx",
            "*-sshd*",
            ".ds-logs-*",
            ".ds-logs-sshd-2026.11.24-000007",
        ] {
            assert!(reads_index(reads, index), "{reads}");
        }
        for not in [
            "logs-ssh",
            "logs-sshd-2",
            "alerts-*",
            "*-nginx",
            "logs-*,-logs-s*",
            "",
            "elastalert_status*",
        ] {
            assert!(!reads_index(not, index), "{not}");
        }
    }

    #[test]
    fn a_file_is_the_same_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("real/deep")).unwrap();
        std::fs::write(at("real/own.log"), "").unwrap();
        std::fs::hard_link(at("real/own.log"), at("hard.log")).unwrap();
        symlink("real", at("linked")).unwrap();
        symlink("linked/own.log", at("own")).unwrap();
        symlink("linked/later.log", at("dangling")).unwrap();
        symlink("dangling", at("twice")).unwrap();
        symlink("not/yet", at("linked-folder")).unwrap();
        symlink("round", at("round")).unwrap();
        for (ours, watched) in [
            ("real/own.log", "own"),
            ("real/own.log", "hard.log"),
            ("hard.log", "own"),
            ("real/own.log", "real/deep/../own.log"),
            // Nothing is there yet.
            ("real/later.log", "linked/later.log"),
            ("real/later.log", "dangling"),
            ("twice", "linked/later.log"),
            ("not/yet/a.log", "linked-folder/a.log"),
            ("linked-folder/a.log", "not/../not/yet/a.log"),
            // What a rotation makes of one of them.
            ("real/own.log", "linked/own.log.1"),
            ("real/own-20261124.log", "own"),
            ("round", "round"),
        ] {
            assert!(same_file(&at(ours), &at(watched)), "{ours} {watched}");
            assert!(same_file(&at(watched), &at(ours)), "{watched} {ours}");
        }
        for (ours, watched) in [
            ("real/own.log", "real/later.log"),
            ("real/own.log", "real/own-alerts.log"),
            ("own", "dangling"),
            ("real/deep/own.log", "real/own.log"),
            ("round", "dangling"),
        ] {
            assert!(!same_file(&at(ours), &at(watched)), "{ours} {watched}");
        }
    }

    #[test]
    fn this_machine_has_one_name_and_so_has_any_other() {
        let same = |a: &str, b: &str| broker(a) == broker(b);
        for other in
            ["localhost:9092", "LOCALHOST.:9092", "[::1]:9092", "127.0.0.9:9092", "0.0.0.0:9092"]
        {
            assert!(same("127.0.0.1:9092", other), "{other}");
        }
        assert!(same("[::ffff:127.0.0.1]:9092", "localhost:9092"));
        assert!(same("Kafka1.example.com:9092", "kafka1.example.com.:9092"));
        assert!(same("[2001:db8::1]:9092", "[2001:DB8:0:0::1]:9092"));
        for other in ["localhost:9093", "kafka1.example.com:9092", "10.0.0.1:9092"] {
            assert!(!same("127.0.0.1:9092", other), "{other}");
        }
        let same = |a: &str, b: &str| server(a) == server(b);
        assert!(same("http://127.0.0.1:9200", "https://localhost:9200/"));
        assert!(same("https://Search.example.com/es/", "https://search.example.com:443/es"));
        assert!(!same("http://localhost:9200/a", "http://localhost:9200/b"));
        assert!(!same("http://localhost:9200", "http://localhost:9201"));
    }
}
