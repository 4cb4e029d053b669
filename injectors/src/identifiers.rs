//! Reserved identifiers: values that cannot belong to anybody.
//!
//! Documentation addresses (RFC 5737, RFC 3849, benchmark range RFC 2544), example domains (RFC
//! 2606, RFC 6761), the account and key ids of the vendors' own documentation, and account names
//! that say `example`. Anything else is real until an operator declares it owned and powerless.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

use crate::recipe::FactKind;

/// Account ids that the vendors' documentation uses.
const ACCOUNT_IDS: &[&str] = &["111122223333", "123456789012", "444455556666", "000000000000"];

/// Last labels by which a dotted word is taken for a domain name.
const TOP_LEVEL: &[&str] = &[
    "com", "net", "org", "io", "edu", "gov", "mil", "int", "info", "biz", "dev", "app", "cloud",
    "ai", "co", "me", "eu", "uk", "de", "fr", "nl", "ch", "at", "it", "es", "se", "no", "fi", "dk",
    "pl", "cz", "us", "ca", "br", "in", "cn", "jp", "kr", "au", "nz", "za", "ru", "local", "lan",
    "corp", "internal", "home", "xyz", "online", "site", "tech",
];

/// True for an address that documentation or benchmarks reserve, or that never leaves the machine.
pub fn is_reserved_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_reserved_v4(v4),
        IpAddr::V6(v6) => is_reserved_v6(v6),
    }
}

fn is_reserved_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_documentation()
        || address.is_loopback()
        || address.is_unspecified()
        || (a == 198 && (b == 18 || b == 19))
}

fn is_reserved_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    (a == 0x2001 && b == 0xdb8) || address.is_loopback() || address.is_unspecified()
}

/// True for a name under an example domain or a reserved top-level domain.
pub fn is_reserved_domain(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let under = |suffix: &str| name == suffix || name.ends_with(&format!(".{suffix}"));
    ["example.com", "example.net", "example.org", "example", "test", "invalid", "localhost"]
        .iter()
        .any(|suffix| under(suffix))
}

/// Whether a fact's value is reserved; otherwise what it should look like.
pub fn check_reserved(kind: FactKind, value: &str) -> Result<(), &'static str> {
    let ok = match kind {
        FactKind::Zone | FactKind::Text => true,
        FactKind::Address => value.parse().is_ok_and(is_reserved_address),
        FactKind::Domain | FactKind::Host => {
            // A single label names a host only within its domain; it still has to say so.
            is_reserved_domain(value)
                || (!value.contains('.') && value.to_ascii_lowercase().contains("example"))
        }
        FactKind::Account => value.to_ascii_lowercase().contains("example"),
        FactKind::KeyId => {
            value.to_ascii_uppercase().contains("EXAMPLE") || ACCOUNT_IDS.contains(&value)
        }
    };
    if ok {
        return Ok(());
    }
    Err(match kind {
        FactKind::Address => {
            "use an address of 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 or 2001:db8::/32"
        }
        FactKind::Domain | FactKind::Host => {
            "use a name under example.com, example.net or example.org"
        }
        FactKind::Account => "use an account name that holds `example`",
        _ => {
            "use an id from the vendor's documentation, such as AKIAIOSFODNN7EXAMPLE or 123456789012"
        }
    })
}

static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:]+").ok()
});
static NAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+").ok());
static KEY_ID: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(?:(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{12,}|\d{12})\b").ok());

/// Identifiers in a text that are not reserved and not in `constants`. What a recipe renders must
/// hold none.
pub fn unreserved(text: &str, constants: &[String]) -> Vec<String> {
    let known = |word: &str| constants.iter().any(|c| c == word);
    let mut found = Vec::new();
    let mut note = |word: &str, ok: bool| {
        if !ok && !known(word) && !found.iter().any(|f| f == word) {
            found.push(word.to_owned());
        }
    };
    for word in ADDRESS.iter().flat_map(|regex| regex.find_iter(text)) {
        if let Ok(address) = word.as_str().parse::<IpAddr>() {
            note(word.as_str(), is_reserved_address(address));
        }
    }
    for word in NAME.iter().flat_map(|regex| regex.find_iter(text)) {
        let name = word.as_str().to_ascii_lowercase();
        let last = name.rsplit('.').next().unwrap_or_default();
        if TOP_LEVEL.contains(&last) {
            note(word.as_str(), is_reserved_domain(&name));
        }
    }
    for word in KEY_ID.iter().flat_map(|regex| regex.find_iter(text)) {
        let word = word.as_str();
        note(word, word.contains("EXAMPLE") || ACCOUNT_IDS.contains(&word));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_values_pass_and_real_ones_do_not() {
        for (kind, good, bad) in [
            (FactKind::Address, "203.0.113.7", "8.8.8.8"),
            (FactKind::Address, "2001:db8:1::7", "2001:db9::7"),
            (FactKind::Host, "web01.example.net", "web01.example.net.evil.com"),
            (FactKind::Host, "ws01-example", "ws01"),
            (FactKind::Account, "j.example", "administrator"),
            (FactKind::KeyId, "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7REALKEY"),
        ] {
            assert!(check_reserved(kind, good).is_ok(), "{good}");
            assert!(check_reserved(kind, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn real_identifiers_are_found_in_a_text() {
        let text = "from 8.8.8.8 and 192.0.2.1 at 09:05:01 to www.bank.com, a.example.com; \
                    2a00:1450::1; key AKIAABCDEFGHIJKLMNOP; event core.user_auth.login_failed";
        assert_eq!(
            unreserved(text, &[]),
            ["8.8.8.8", "2a00:1450::1", "www.bank.com", "AKIAABCDEFGHIJKLMNOP"]
        );
        assert_eq!(unreserved("signin.amazonaws.com", &["signin.amazonaws.com".into()]), [""; 0]);
    }
}
