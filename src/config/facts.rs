//! Identities and facts: reserved, or declared owned and powerless.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dwell_injectors::identifiers::check_reserved;
use dwell_injectors::recipe::{FactKind, Recipe};

use super::checked::Identity;
use super::problem::{Findings, nearest};
use super::raw::IdentityKind;
use super::source::join;

/// Facts that recipes need not know: the SIEM's inventory or a transport uses them.
const COMMON: [&str; 5] = ["time_zone", "index", "sourcetype", "agent", "tenant"];

/// Longest value of a fact, bytes.
const MAX_VALUE: usize = 512;

/// Looks at the value of a declared identity.
pub(super) fn check_identity(f: &mut Findings<'_>, field: &str, kind: IdentityKind, value: &str) {
    let control = value.chars().any(char::is_control);
    if value.trim().is_empty() || value.len() > MAX_VALUE || control {
        f.at(field, "is empty, too long, or holds control characters", "write the identity");
    } else if kind == IdentityKind::Address && value.parse::<IpAddr>().is_err() {
        f.at(field, format!("{value:?} is no IP address"), "write it like \"192.0.2.7\"");
    }
}

/// A route's facts with identities filled in.
pub(super) fn resolve(
    f: &mut Findings<'_>,
    route: &str,
    facts: &BTreeMap<String, String>,
    identities: &[Identity],
    recipe: Option<&Recipe>,
) -> BTreeMap<String, String> {
    let mut resolved = BTreeMap::new();
    for (name, value) in facts {
        let field = join(&format!("{route}.facts"), name);
        let (value, declared) = match value.strip_prefix("identity:") {
            Some(identity) => match identities.iter().find(|i| i.name == identity) {
                Some(found) => (found.value.clone(), true),
                None => {
                    let help = nearest(identity, identities.iter().map(|i| i.name.as_str()));
                    f.at(&field, format!("unknown identity `{identity}`"), help);
                    continue;
                }
            },
            None => (value.clone(), identities.iter().any(|i| i.value == *value)),
        };
        if value.len() > MAX_VALUE || value.chars().any(char::is_control) {
            f.at(&field, "is too long or holds control characters", "shorten or clean it");
        }
        check_fact(f, &field, name, &value, declared, recipe);
        resolved.insert(name.clone(), value);
    }
    resolved
}

fn check_fact(
    f: &mut Findings<'_>,
    field: &str,
    name: &str,
    value: &str,
    declared: bool,
    recipe: Option<&Recipe>,
) {
    let Some(recipe) = recipe else { return };
    let Some(need) = recipe.needs.get(name) else {
        if name == "time_zone" {
            check_zone(f, field, value);
        } else if !COMMON.contains(&name) {
            let known = recipe.needs.keys().map(String::as_str).chain(COMMON);
            f.at(field, format!("`{}` has no fact `{name}`", recipe.id), nearest(name, known));
        }
        return;
    };
    if !need.one_of.is_empty() && !need.one_of.iter().any(|v| v == value) {
        let problem = format!("{value:?} is not allowed here");
        f.at(field, problem, nearest(value, need.one_of.iter().map(String::as_str)));
    } else if need.kind == FactKind::Zone {
        check_zone(f, field, value);
    } else if let (false, Err(help)) = (declared, check_reserved(need.kind, value)) {
        let problem = format!("{value:?} may belong to somebody: neither reserved nor declared");
        let help = format!("{help}, or declare it in [[identity]] as owned and powerless");
        f.at(field, problem, help);
    }
}

fn check_zone(f: &mut Findings<'_>, field: &str, value: &str) {
    if jiff::tz::TimeZone::get(value).is_err() {
        let help = "use an IANA name, like \"Europe/Zurich\"";
        f.at(field, format!("{value:?} is no known time zone"), help);
    }
}
