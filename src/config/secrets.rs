//! No literal secret and no NUL, wherever they stand; no secret file that others may read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dwell_injectors::token::KeyRing;
use toml::{Table, Value};

use super::problem::Findings;
use super::source::join;

/// Parts of key names whose value is a secret.
const WORDS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "clientkey",
    "authorization",
    "credential",
    "cookie",
    "jaas",
    "keypem",
];

/// Beginnings of values that are secrets whatever the key.
const SHAPES: [&str; 11] = [
    "bearer ",
    "basic ",
    "apikey ",
    "splunk ",
    "whsec_",
    "ghp_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "-----begin",
];

/// Query parameters that carry secrets.
const PARAMETERS: [&str; 8] =
    ["token=", "key=", "apikey=", "api_key=", "password=", "secret=", "sig=", "signature="];

const HELP: &str = "put it into an environment variable or a file of mode 0600, and write { env = \"NAME\" } or { file = \"PATH\" }";

fn named(key: &str) -> bool {
    let plain: String =
        key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    WORDS.iter().any(|word| plain.contains(word))
}

fn shaped(value: &str) -> bool {
    let lower = value.trim_start().to_ascii_lowercase();
    SHAPES.iter().any(|shape| lower.starts_with(shape))
}

/// Credentials within a URL: user information with a password, or a telling parameter.
fn in_url(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let query = tail.split_once('?').map_or("", |(_, query)| query).to_ascii_lowercase();
    authority.contains('@') || query.split('&').any(|p| PARAMETERS.iter().any(|n| p.starts_with(n)))
}

/// Parts of key names whose value is an address: what stands before an `@` there is for one reader only.
const ADDRESSES: [&str; 8] =
    ["address", "broker", "server", "host", "url", "uri", "listen", "endpoint"];

/// Credentials in an address without a scheme: `user:password@host:port`, or anything before an `@`
/// under a key that holds addresses.
fn in_address(path: &str, key: &str, value: &str) -> bool {
    let plain = key.to_ascii_lowercase();
    let addressed = !path.contains(".facts.") && ADDRESSES.iter().any(|part| plain.contains(part));
    (addressed && value.contains('@'))
        || words(value).any(|word| before_host(word).is_some_and(has_port))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '[' | ']' | '='))
}

/// What follows `user:password@`; no slash before it, which a path or a resource name would have.
fn before_host(word: &str) -> Option<&str> {
    let (before, host) = word.rsplit_once('@')?;
    let (user, password) = before.split_once(':')?;
    let told = !user.is_empty() && !password.is_empty() && !before.contains('/');
    (told && !user.eq_ignore_ascii_case("mailto")).then_some(host)
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// True when a line of the file may hold a secret and must not be shown.
pub(super) fn sensitive(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let key = line.split_once('=').map_or("", |(key, _)| key);
    named(line)
        || in_url(line)
        || in_address("", key, line)
        || words(line).any(|word| before_host(word).is_some())
        || SHAPES.iter().any(|shape| lower.contains(shape))
}

/// Looks at every text of the file: no literal secret, and no NUL. No path, name or message takes one, and
/// what a system makes of one is its own.
pub(super) fn refuse_texts(findings: &mut Findings<'_>) {
    let source = findings.source;
    walk_table(findings, "", &source.table);
}

fn walk_table(findings: &mut Findings<'_>, path: &str, table: &Table) {
    for (name, child) in table {
        let field = join(path, name);
        // A reference names where the secret is; its own values are no secrets.
        let reference = table.len() == 1 && matches!(name.as_str(), "env" | "file");
        match child {
            Value::String(text) if reference => {
                if name == "env" {
                    variable(findings, &field, text);
                }
                nul(findings, &field, text);
            }
            _ => walk(findings, &field, name, child),
        }
    }
}

fn walk(findings: &mut Findings<'_>, path: &str, key: &str, value: &Value) {
    match value {
        Value::Table(table) => walk_table(findings, path, table),
        Value::Array(array) => {
            for (index, child) in array.iter().enumerate() {
                walk(findings, &format!("{path}[{index}]"), key, child);
            }
        }
        Value::String(text) => {
            literal(findings, path, key, text);
            nul(findings, path, text);
        }
        Value::Integer(_) if named(key) => findings.at(path, "a literal secret", HELP),
        _ => {}
    }
}

fn nul(findings: &mut Findings<'_>, path: &str, text: &str) {
    if text.contains('\0') {
        findings.at(path, "holds a NUL character", "take it out");
    }
}

fn literal(findings: &mut Findings<'_>, path: &str, key: &str, text: &str) {
    // `value` of an HTTP header is a secret reference by its type; any text there is literal.
    let header = key == "value" && path.contains(".auth.");
    if in_url(text) {
        findings.literal(
            path,
            text,
            "a literal secret within a URL",
            format!("leave the URL plain; {HELP}"),
        );
    } else if in_address(path, key, text) {
        findings.literal(
            path,
            text,
            "a literal secret within an address",
            format!("write host and port alone; {HELP}"),
        );
    } else if named(key) || header || (shaped(text) && !path.contains(".facts.")) {
        findings.literal(path, text, "a literal secret", HELP);
    }
}

fn variable(findings: &mut Findings<'_>, field: &str, name: &str) {
    let legal = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !legal {
        // Somebody may have written the secret itself here: it is not repeated.
        let help = "write the variable's name: letters, digits and underscores";
        findings.literal(field, name, "is no name of an environment variable", help);
    }
}

/// Refuses a key file that no token can be made with: without it a run could not begin.
pub(super) fn key_ring(findings: &mut Findings<'_>, field: &str, path: &Path) {
    let Err(error) = KeyRing::load(path) else { return };
    let text = error.to_string();
    // Its errors end with the next step, where there is one.
    let (problem, help) =
        text.split_once("; ").unwrap_or((&text, "let the user that runs dwell read it"));
    findings.at(field, problem, help);
}

/// Refuses a secret file that others than its owner may read. One that is missing is the run's error.
pub(super) fn private(findings: &mut Findings<'_>, field: &str, path: &Path) {
    let Ok(meta) = std::fs::metadata(path) else { return };
    let mode = meta.permissions().mode() & 0o777;
    if meta.is_dir() {
        findings.at(field, "is a directory, not a file", "name the file that holds the secret");
    } else if mode & 0o077 != 0 {
        let problem = format!("others may read {} (mode {mode:04o})", path.display());
        findings.at(field, problem, format!("run `chmod 600 {}`", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_an_address_are_told_from_mailboxes_and_names() {
        for (key, value) in [
            ("brokers", "user:s3cret@127.0.0.1:9092"),
            ("brokers", "s3cret@kafka:9092"),
            ("address", "u:p/w@h:514"),
            ("bootstrap.servers", "a:9092,u:p@b:9092"),
            ("brokrs", "u:p@b:9092"),
        ] {
            assert!(in_address("injector[0]", key, value), "{key} {value}");
        }
        for (key, value) in [
            ("contact", "mailto:soc@example.com"),
            ("contact", "pager:soc@example.com"),
            ("value", "svc@example.com"),
            ("value", "arn:aws:sts::123456789012:assumed-role/r/me@example.com:1"),
            ("brokers", "127.0.0.1:9092"),
            ("approved_by", "Head of SOC: soc@example.com"),
        ] {
            assert!(!in_address("identity[0]", key, value), "{key} {value}");
        }
        assert!(!in_address("route[0].facts.host", "host", "me@example.com"));
        assert!(sensitive("  \"u:s3cret@h\"]") && sensitive("brokers = [\"s3cret@h:1\"]"));
    }
}
