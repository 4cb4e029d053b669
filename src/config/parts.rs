//! The file part by part: each is read, checked, and its problems are noted; a configuration comes
//! out only when nothing was.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::registry::{BuildError, InjectorSettings};
use dwell_injectors::stamp::SystemClock;
use serde::de::DeserializeOwned;
use toml::Value;

use super::checked::{Authorisation, Campaign, Config, Identity, QuietHours, WatcherEntry};
use super::decode::decode;
use super::facts::check_identity;
use super::problem::{Findings, nearest};
use super::{paths, raw, resolved, routes, secrets};
use crate::dialects::Dialects;
use crate::watchers::WatcherSettings;

/// The kill switch's name, beside the configuration, unless another is given.
pub(super) const KILL_SWITCH: &str = "STOP";

/// The parts of the file.
const PARTS: [&str; 10] = [
    "ledger",
    "key",
    "campaign",
    "authorisation",
    "recipes",
    "dialects",
    "identity",
    "injector",
    "watcher",
    "route",
];

/// Most elements of one list.
const MAX_LIST: usize = 1000;

/// An injector as checked and as written.
pub(super) struct Injector {
    pub(super) settings: InjectorSettings,
    pub(super) written: InjectorSettings,
}

/// A watcher as checked and as written.
pub(super) struct Watcher {
    pub(super) entry: WatcherEntry,
    pub(super) written: WatcherSettings,
}

/// What routes refer to.
pub(super) struct Known {
    pub(super) catalogue: Catalogue,
    pub(super) identities: Vec<Identity>,
    pub(super) injectors: BTreeMap<String, Injector>,
    pub(super) watchers: BTreeMap<String, Watcher>,
}

/// Checks the whole file. For a run `now_ns` is when an authorisation must hold, and the key must be
/// there.
pub(super) fn check(path: &Path, f: &mut Findings<'_>, now_ns: Option<i64>) -> Option<Config> {
    let folder = path.parent().unwrap_or(Path::new(""));
    unknown_parts(f);
    let ledger: raw::Ledger = optional(f, "ledger");
    let key: raw::Key = optional(f, "key");
    let key = folder.join(key.file.unwrap_or_else(|| PathBuf::from("dwell.key")));
    secrets::private(f, "key.file", &key);
    if now_ns.is_some() {
        secrets::key_ring(f, "key.file", &key);
    }
    let recipe_folders = folders(f, "recipes", folder);
    let dialect_folders = folders(f, "dialects", folder);
    let campaign = campaign(f, folder);
    if let (Some(campaign), Some(_)) = (&campaign, now_ns) {
        paths::kill_switch(f, &campaign.kill_switch);
    }
    let authorisation = authorisation(f, now_ns);
    let catalogue = match Catalogue::load(&recipe_folders) {
        Ok(catalogue) => catalogue,
        Err(error) => {
            f.at("recipes.folders", error.to_string(), "correct the recipe: `dwell recipes lint`");
            Catalogue::embedded().unwrap_or_default()
        }
    };
    let dialects = Dialects::load(&dialect_folders).unwrap_or_else(|error| {
        f.at("dialects.folders", error.to_string(), "correct the dialect or leave it out");
        Dialects::embedded().unwrap_or_default()
    });
    let identities = identities(f);
    let injectors = injectors(f, folder);
    let watchers = watchers(f, folder, &dialects);
    let known = Known { catalogue, identities, injectors, watchers };
    let routes = routes::check(f, &known, campaign.as_ref());
    need_authorisation(f, &known, authorisation.as_ref());
    let ledger = match ledger.path {
        Some(path) => folder.join(path),
        None => default_ledger(f)?,
    };
    if now_ns.is_some() {
        paths::ledger(f, &ledger);
    }
    let campaign = campaign?;
    let (resolved, digest) =
        resolved::resolve(&campaign, authorisation.as_ref(), &known, &routes, &f.source.table);
    Some(Config {
        path: path.to_owned(),
        digest,
        resolved,
        ledger,
        key,
        recipe_folders,
        dialect_folders,
        campaign,
        authorisation,
        identities: known.identities,
        injectors: known.injectors.into_iter().map(|(k, v)| (k, v.settings)).collect(),
        watchers: known.watchers.into_iter().map(|(k, v)| (k, v.entry)).collect(),
        routes,
        warnings: std::mem::take(&mut f.warnings),
    })
}

fn unknown_parts(f: &mut Findings<'_>) {
    for name in f.source.table.keys() {
        if !PARTS.contains(&name.as_str()) {
            f.at(name, format!("unknown key `{name}`"), nearest(name, PARTS));
        }
    }
}

/// The part, or its default where it is absent or wrong.
fn optional<T: DeserializeOwned + Default>(f: &mut Findings<'_>, part: &str) -> T {
    let Some(value) = f.source.table.get(part) else { return T::default() };
    decode(f, part, value, &[]).unwrap_or_default()
}

/// The elements of a list of tables, with their paths.
pub(super) fn list<'a>(f: &mut Findings<'a>, part: &str) -> Vec<(String, &'a toml::Table)> {
    let source = f.source;
    let Some(value) = source.table.get(part) else { return Vec::new() };
    let Some(array) = value.as_array() else {
        f.at(part, "is no list of tables", format!("write [[{part}]], with double brackets"));
        return Vec::new();
    };
    if array.len() > MAX_LIST {
        f.at(part, format!("has more than {MAX_LIST} entries"), "split the campaign");
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, element) in array.iter().enumerate() {
        let path = format!("{part}[{index}]");
        match element.as_table() {
            Some(table) => found.push((path, table)),
            None => f.at(&path, "is no table", format!("write [[{part}]], with double brackets")),
        }
    }
    found
}

/// True when a name is fit to appear in rows, metrics and file names.
pub(super) fn check_name(f: &mut Findings<'_>, field: &str, name: &str) {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        let help = "use 1 to 64 letters, digits, `.`, `_` or `-`";
        f.at(field, format!("{name:?} is no name"), help);
    }
}

/// Notes an empty text.
pub(super) fn filled(f: &mut Findings<'_>, field: &str, text: &str) {
    if text.trim().is_empty() {
        f.at(field, "is empty", "write it out");
    }
}

fn folders(f: &mut Findings<'_>, part: &str, base: &Path) -> Vec<PathBuf> {
    let raw: raw::Folders = optional(f, part);
    let mut found = Vec::new();
    for (index, folder) in raw.folders.iter().enumerate() {
        let folder = base.join(folder);
        if folder.is_dir() {
            found.push(folder);
        } else {
            let field = format!("{part}.folders[{index}]");
            let problem = format!("{} is no folder", folder.display());
            f.at(&field, problem, "create it or leave it out");
        }
    }
    found
}

fn default_ledger(f: &mut Findings<'_>) -> Option<PathBuf> {
    let state = super::state_folder();
    if state.is_none() {
        f.at("ledger.path", "`path` is missing and HOME is not set", "add [ledger] path = \"...\"");
    }
    state.map(|state| state.join("ledger.db"))
}

fn campaign(f: &mut Findings<'_>, folder: &Path) -> Option<Campaign> {
    let Some(value) = f.source.table.get("campaign") else {
        f.at("campaign", "[campaign] is missing", "add [campaign] with `name = \"...\"`");
        return None;
    };
    let raw: raw::Campaign = decode(f, "campaign", value, &[])?;
    if raw.name.trim().is_empty() || raw.name.len() > 128 {
        f.at("campaign.name", "is empty or longer than 128", "give it a name");
    }
    let spans = |span: Option<super::Span>, default| span.map_or(default, |s| s.0);
    let window = spans(raw.window, Duration::from_secs(3600));
    if window.is_zero() {
        f.at("campaign.window", "is zero", "write how long canaries are injected, like \"1h\"");
    }
    let lead = spans(raw.intent_lead, Duration::from_secs(1));
    if lead > Duration::from_secs(1) {
        f.at("campaign.intent_lead", "is longer than 1s", "use at most \"1s\"");
    }
    let timeout = spans(raw.deliver_timeout, Duration::from_secs(30));
    if timeout < Duration::from_millis(1) || timeout > Duration::from_secs(600) {
        f.at("campaign.deliver_timeout", "is not between 1ms and 10m", "leave it out for \"30s\"");
    }
    let arrivals = raw.arrivals.unwrap_or(super::checked::Arrivals::Stratified);
    if arrivals == super::checked::Arrivals::Fixed {
        f.warnings.push(
            "campaign.arrivals: `fixed` measures one phase of a rule that runs on a schedule; \
             `stratified` measures them all"
                .into(),
        );
    }
    let time_zone = raw.time_zone.unwrap_or_else(|| "UTC".into());
    if jiff::tz::TimeZone::get(&time_zone).is_err() {
        let problem = format!("{time_zone:?} is no known time zone");
        f.at("campaign.time_zone", problem, "use an IANA name, like \"Europe/Zurich\"");
    }
    Some(Campaign {
        name: raw.name,
        seed: raw.seed,
        window,
        arrivals,
        quiet_hours: quiet_hours(f, &raw.quiet_hours),
        time_zone,
        intent_lead: lead,
        kill_switch: folder.join(raw.kill_switch.unwrap_or_else(|| PathBuf::from(KILL_SWITCH))),
        deliver_timeout: timeout,
    })
}

fn quiet_hours(f: &mut Findings<'_>, spans: &[String]) -> Vec<QuietHours> {
    let minute = |text: &str| {
        let (hours, minutes) = text.trim().split_once(':')?;
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (hours < 24 && minutes < 60 || (hours, minutes) == (24, 0)).then_some(hours * 60 + minutes)
    };
    let mut found = Vec::new();
    for (index, text) in spans.iter().enumerate() {
        let parsed = text.split_once('-').and_then(|(a, b)| Some((minute(a)?, minute(b)?)));
        match parsed.filter(|(from, to)| from != to) {
            Some((from_minute, to_minute)) => found.push(QuietHours { from_minute, to_minute }),
            None => f.at(
                &format!("campaign.quiet_hours[{index}]"),
                format!("{text:?} is no span of the day"),
                "write it like \"22:00-06:00\"",
            ),
        }
    }
    found
}

fn authorisation(f: &mut Findings<'_>, now_ns: Option<i64>) -> Option<Authorisation> {
    let value = f.source.table.get("authorisation")?;
    let raw: raw::Authorisation = decode(f, "authorisation", value, &[])?;
    filled(f, "authorisation.approved_by", &raw.approved_by);
    filled(f, "authorisation.reference", &raw.reference);
    filled(f, "authorisation.contact", &raw.contact);
    let mut instant = |field: &str, text: &str| {
        text.parse::<jiff::Timestamp>()
            .map_err(|_| {
                let help = "write it like \"2026-01-31T08:00:00Z\"";
                f.at(field, format!("{text:?} is no instant"), help);
            })
            .ok()
    };
    let valid_from = instant("authorisation.valid_from", &raw.valid_from);
    let valid_until = instant("authorisation.valid_until", &raw.valid_until);
    let (valid_from, valid_until) = (valid_from?, valid_until?);
    if valid_until <= valid_from {
        f.at("authorisation.valid_until", "is not after `valid_from`", "correct one of the two");
    } else if let Some(now) = now_ns.and_then(|ns| jiff::Timestamp::from_nanosecond(ns.into()).ok())
    {
        let renew = "have it renewed, and enter the new dates";
        if now > valid_until {
            let problem = format!("the authorisation expired at {valid_until}");
            f.at("authorisation.valid_until", problem, renew);
        } else if now < valid_from {
            let problem = format!("the authorisation does not hold before {valid_from}");
            f.at("authorisation.valid_from", problem, "wait until then, or have it changed");
        }
    }
    let raw::Authorisation { approved_by, reference, contact, .. } = raw;
    Some(Authorisation { approved_by, reference, contact, valid_from, valid_until })
}

fn need_authorisation(f: &mut Findings<'_>, known: &Known, given: Option<&Authorisation>) {
    if given.is_some() || f.source.table.contains_key("authorisation") {
        return;
    }
    for (path, table) in list(f, "injector") {
        let name = table.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(injector) = known.injectors.get(name) else { continue };
        let target = injector.settings.target();
        if !target.local && !f.blames(&path) {
            let problem = format!("{target} is not on this machine, and nobody has allowed it");
            let help = "add [authorisation] with approved_by, reference, contact, valid_from and \
                        valid_until";
            f.at(&path, problem, help);
        }
    }
}

fn identities(f: &mut Findings<'_>) -> Vec<Identity> {
    let mut found: Vec<Identity> = Vec::new();
    for (path, table) in list(f, "identity") {
        let value = Value::Table(table.clone());
        let Some(raw) = decode::<raw::Identity>(f, &path, &value, &[]) else { continue };
        check_name(f, &format!("{path}.name"), &raw.name);
        if found.iter().any(|other| other.name == raw.name) {
            duplicate(f, &path, "identity", &raw.name);
        }
        filled(f, &format!("{path}.powerless_because"), &raw.powerless_because);
        check_identity(f, &format!("{path}.value"), raw.kind, &raw.value);
        let raw::Identity { name, kind, value, powerless_because } = raw;
        found.push(Identity { name, kind: kind.name().into(), value, powerless_because });
    }
    found
}

pub(super) fn duplicate(f: &mut Findings<'_>, path: &str, what: &str, name: &str) {
    let problem = format!("the name `{name}` is taken by another {what}");
    f.at(&format!("{path}.name"), problem, "rename one of the two");
}

/// The name of an element and the rest of it, without the keys that its type does not know.
fn named(
    f: &mut Findings<'_>,
    path: &str,
    table: &toml::Table,
    common: &[&str],
) -> (Option<String>, Value) {
    let name = match table.get("name") {
        Some(Value::String(name)) => {
            check_name(f, &format!("{path}.name"), name);
            Some(name.clone())
        }
        Some(_) => {
            f.at(&format!("{path}.name"), "is no text", "write it in double quotes");
            None
        }
        None => {
            f.at(&format!("{path}.name"), "`name` is missing", "add `name = \"...\"`");
            None
        }
    };
    let mut rest = table.clone();
    rest.retain(|key, _| !common.contains(&key));
    (name, Value::Table(rest))
}

fn injectors(f: &mut Findings<'_>, folder: &Path) -> BTreeMap<String, Injector> {
    let mut found = BTreeMap::new();
    for (path, table) in list(f, "injector") {
        let (name, rest) = named(f, &path, table, &["name"]);
        let written = decode::<InjectorSettings>(f, &path, &rest, &["name"]);
        let anchored = paths::anchor(&rest, folder);
        paths::secret_files(f, &path, &anchored);
        let settings = anchored.try_into::<InjectorSettings>().ok();
        let (Some(name), Some(written), Some(settings)) = (name, written, settings) else {
            continue;
        };
        let sound = !f.blames(&path);
        if let (true, Err(error)) = (sound, settings.check(Arc::new(SystemClock::new()))) {
            match error {
                BuildError::Setting { field, problem } => {
                    f.at(&place(f, &path, field), problem, "correct this setting");
                }
                other => f.at(&path, other.to_string(), "use another transport"),
            }
        }
        if let InjectorSettings::File(file) = &settings {
            paths::written_file(f, &format!("{path}.path"), &file.path);
        }
        if found.insert(name.clone(), Injector { settings, written }).is_some() {
            duplicate(f, &path, "injector", &name);
        }
    }
    found
}

/// A setting's field: some stand within a nested table.
fn place(f: &Findings<'_>, path: &str, field: &str) -> String {
    ["", "to.", "security.", "auth.", "tls."]
        .iter()
        .map(|nest| format!("{path}.{nest}{field}"))
        .find(|field| f.source.holds(field))
        .unwrap_or_else(|| format!("{path}.{field}"))
}

fn watchers(f: &mut Findings<'_>, folder: &Path, dialects: &Dialects) -> BTreeMap<String, Watcher> {
    const COMMON: [&str; 4] = ["name", "stage", "clock", "max_offset"];
    let mut found = BTreeMap::new();
    for (path, table) in list(f, "watcher") {
        let (name, rest) = named(f, &path, table, &COMMON);
        let mut common = table.clone();
        common.retain(|key, _| COMMON.contains(&key));
        let common = decode::<raw::WatcherCommon>(f, &path, &Value::Table(common), &[]);
        let written = decode::<WatcherSettings>(f, &path, &rest, &COMMON);
        let anchored = paths::anchor(&rest, folder);
        paths::secret_files(f, &path, &anchored);
        let settings = anchored.try_into::<WatcherSettings>().ok();
        let (Some(name), Some(common), Some(written), Some(settings)) =
            (name, common, written, settings)
        else {
            continue;
        };
        // What stands in a folder that could not be read is not unknown: the folder was reported.
        let unread = f.blames("dialects") && dialects.get(settings.dialect()).is_err();
        if let (false, Err(error)) = (unread, settings.check(dialects)) {
            let (problem, help) = match error.reason.split_once("; ") {
                Some((problem, help)) => (problem.to_owned(), help.to_owned()),
                None => (error.reason.clone(), "correct this setting".to_owned()),
            };
            let (problem, help) = match dialects.get(settings.dialect()) {
                Err(_) => (
                    format!("unknown dialect `{}`", settings.dialect()),
                    nearest(settings.dialect(), dialects.names()),
                ),
                Ok(_) => (problem, help),
            };
            f.at(&place(f, &path, error.field), problem, help);
        }
        match &settings {
            WatcherSettings::File { path: file, .. } => {
                paths::read_file(f, &format!("{path}.path"), file);
            }
            WatcherSettings::Webhook { listen, .. } if listen.port() == 0 => {
                let problem = "port 0 is another one at each start, which no product could post to";
                f.at(&format!("{path}.listen"), problem, "name a port");
            }
            _ => {}
        }
        if common.clock.is_some() && common.max_offset.is_some() {
            let help = "keep `clock` for the same machine, `max_offset` for another";
            f.at(&format!("{path}.max_offset"), "`clock` already bounds the clocks", help);
        }
        let max_offset =
            common.clock.map(|_| Duration::ZERO).or(common.max_offset.map(|span| span.0));
        let entry = WatcherEntry { stage: common.stage, max_offset, settings };
        if found.insert(name.clone(), Watcher { entry, written }).is_some() {
            duplicate(f, &path, "watcher", &name);
        }
    }
    found
}
