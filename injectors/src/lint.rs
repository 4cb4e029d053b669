//! Lint: what keeps a recipe benign, and its alert attributable.
//!
//! A recipe that parses can still be a bad one: it may name somebody's real address, hide its
//! token where no alert shows it, or write a word that tells an analyst that nothing is real.
//! [`lint`] renders the recipe with its defaults for a fixed token and instant and looks at the
//! result. That its Sigma rules fire is the rehearsal's business, which needs a rule engine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;
use serde_json::Value;

use crate::catalogue::Entry;
use crate::identifiers::{check_reserved, unreserved};
use crate::parse::{ParseHints, Parsed, get, parse};
use crate::recipe::Recipe;
use crate::render::{RenderError, RenderInput, Rendered, TokenText, permitted, render};
use crate::token::{Carrier, Epoch, KeyRing, Token, TokenId};

/// The instant of every golden file: 2026-11-04T03:05:09.123456789Z, a day below 10 at an hour at
/// which even a recipe for the night renders.
pub const GOLDEN_TIME_NS: i64 = 1_793_761_509_123_456_789;

/// The first instant from the golden one on, in steps of a minute, at which the recipe makes sense under
/// these facts: the route's time zone decides when its night is. The golden one where no minute of a
/// day does.
pub fn sample_time_ns(recipe: &Recipe, facts: &BTreeMap<String, String>) -> i64 {
    let at = |minute: i64| GOLDEN_TIME_NS + minute * 60_000_000_000;
    let outside = |time_ns: &i64| {
        matches!(permitted(recipe, facts, *time_ns), Err(RenderError::OutsideHours { .. }))
    };
    (0..24 * 60).map(at).find(|time_ns| !outside(time_ns)).unwrap_or(GOLDEN_TIME_NS)
}

/// The seed of every golden file.
pub const GOLDEN_SEED: u64 = 1;

/// Words that give a canary away.
const MARKERS: &str = r"(?i)canary|cnry|dwell|honey|\btest|test\b|fake|decoy";

/// The token of every golden file and preview: serial 7 of a fixed key, which nobody's ledger uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoldenToken;

static GOLDEN_TOKEN: LazyLock<Token> = LazyLock::new(|| {
    KeyRing::with_fixed_key([7; 32])
        .mint(Epoch(1), 7)
        .expect("invariant: a new ring has epoch 1, and 7 is a serial")
});

impl TokenText for GoldenToken {
    fn id(&self) -> TokenId {
        GOLDEN_TOKEN.id()
    }

    fn text(&self, carrier: Carrier) -> String {
        GOLDEN_TOKEN.text(carrier)
    }
}

/// One reason to refuse a recipe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The recipe's file.
    pub file: String,
    /// The part of the recipe that is to blame: `token.field`, `needs.host`.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub help: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, field, problem, help } = self;
        write!(f, "{file}: {field}: {problem}; {help}")
    }
}

/// Renders a recipe as its golden file wants it.
pub fn render_golden(recipe: &Recipe) -> Result<Rendered, RenderError> {
    let facts = BTreeMap::new();
    let input = RenderInput {
        token: &GoldenToken,
        facts: &facts,
        time_ns: GOLDEN_TIME_NS,
        seed: GOLDEN_SEED,
        key: None,
    };
    render(recipe, &input)
}

/// The golden file's text: one event a line.
pub fn golden_text(rendered: &Rendered) -> String {
    rendered.events.iter().map(|event| format!("{}\n", event.body)).collect()
}

/// Everything that speaks against a recipe. Empty means that it may be used.
pub fn lint(entry: &Entry) -> Vec<Finding> {
    let mut linter = Linter { file: &entry.file, recipe: &entry.recipe, findings: Vec::new() };
    linter.words();
    linter.needs();
    linter.files(entry);
    match render_golden(&entry.recipe) {
        Ok(rendered) => {
            linter.golden(entry, &rendered);
            linter.bodies(&rendered);
            linter.fields(&rendered);
        }
        Err(error) => linter.add("event", error.to_string(), "correct the template"),
    }
    linter.findings
}

struct Linter<'a> {
    file: &'a str,
    recipe: &'a Recipe,
    findings: Vec<Finding>,
}

impl Linter<'_> {
    fn add(&mut self, field: &str, problem: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding {
            file: self.file.to_owned(),
            field: field.to_owned(),
            problem: problem.into(),
            help: help.into(),
        });
    }

    fn words(&mut self) {
        if self.recipe.benign_because.split_whitespace().count() < 5 {
            self.add("benign_because", "says too little", "say why nobody can come to harm");
        }
        if self.recipe.logsource.is_empty() {
            let help =
                "name the log as Sigma rules do: [{ product = \"linux\", service = \"sshd\" }]";
            self.add("logsource", "is missing, so rules about every log are shown it", help);
        }
    }

    fn needs(&mut self) {
        for (name, need) in &self.recipe.needs {
            for value in need.one_of.iter().chain([&need.default]) {
                if let Err(help) = check_reserved(need.kind, value) {
                    let problem = format!("default {value:?} may belong to somebody");
                    self.add(&format!("needs.{name}"), problem, help);
                }
            }
        }
    }

    fn files(&mut self, entry: &Entry) {
        let id = &self.recipe.id;
        let name = id.rsplit('/').next().unwrap_or_default();
        let file = self.file.replace('\\', "/");
        if file.rsplit('/').next() != Some(&format!("{name}.toml")) {
            let help = format!("name the file {name}.toml");
            self.add("id", format!("`{id}` does not go with the file's name"), help);
        }
        if self.recipe.sigma.is_empty() {
            self.add("sigma", "names no rule", "write the rule that should fire");
        }
        for name in &self.recipe.sigma {
            if !entry.sigma.iter().any(|(known, _)| known == name) {
                self.add("sigma", format!("{name} is not beside the recipe"), "write it");
            }
        }
    }

    fn golden(&mut self, entry: &Entry, rendered: &Rendered) {
        let text = golden_text(rendered);
        let name = self.recipe.id.rsplit('/').next().unwrap_or_default();
        let help = format!(
            "look at `dwell recipes render {} --golden`, then write {name}.golden",
            entry.recipe.id
        );
        match &entry.golden {
            None => self.add("golden", format!("{name}.golden is not beside the recipe"), help),
            Some(golden) if *golden != text => {
                let line = golden.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
                self.add("golden", format!("line {line} is not what is rendered"), help);
            }
            Some(_) => {}
        }
    }

    /// Marker words and identifiers that may be somebody's.
    fn bodies(&mut self, rendered: &Rendered) {
        let markers = Regex::new(MARKERS).ok();
        for (event, body) in masked(rendered) {
            if let Some(found) = markers.as_ref().and_then(|regex| regex.find(&body)) {
                let problem = format!("event {event} says {:?}", found.as_str());
                self.add("event", problem, "use a word that a real event would hold");
            }
            for word in unreserved(&body, &self.recipe.constants) {
                self.add(
                    "event",
                    format!("event {event} names {word:?}, which may be somebody's"),
                    "use a reserved value, make it a fact, or, if it is the product's own word, add it to `constants`",
                );
            }
        }
    }

    /// The alert must be tied to the canary: its token has to be where alerts show it.
    fn fields(&mut self, rendered: &Rendered) {
        let parsed: Vec<Option<Parsed>> = rendered
            .events
            .iter()
            .map(|event| {
                let hints = ParseHints { received_ns: event.time_ns, time_zone: "UTC" };
                parse(self.recipe, &event.body, hints)
            })
            .collect();
        for (event, parsed) in rendered.events.iter().zip(&parsed) {
            let Some(parsed) = parsed else {
                let problem = format!("no pattern matches event {}", event.index);
                self.add("extract", problem, "write a pattern for each event");
                continue;
            };
            self.time(event.index, event.time_ns, parsed.time_ns);
            self.declared(event.index, &parsed.fields);
        }
        let parsed: Vec<&Value> = parsed.iter().flatten().map(|p| &p.fields).collect();
        self.token(rendered, &parsed);
        self.groups(&parsed);
    }

    fn time(&mut self, event: u32, sent: i64, read: Option<i64>) {
        let fits = read.is_some_and(|read| sent.abs_diff(read) < 1_000_000_000);
        if !fits {
            let problem = format!("the time of event {event} is not its own");
            self.add("time", problem, "write `{{ time|... }}` where the parser reads it");
        }
    }

    fn declared(&mut self, event: u32, fields: &Value) {
        for field in &self.recipe.fields {
            if get(fields, field).is_none() {
                let problem = format!("event {event} has no `{field}`");
                self.add("fields", problem, "correct the name or the template");
            }
        }
    }

    fn token(&mut self, rendered: &Rendered, parsed: &[&Value]) {
        let field = &self.recipe.token.field;
        let holds = |fields: &&&Value| match get(fields, field) {
            Some(Value::String(text)) => {
                text.to_lowercase().contains(&rendered.token.to_lowercase())
            }
            _ => false,
        };
        let n = parsed.iter().filter(holds).count();
        if n < rendered.events.len() {
            self.add(
                "token.field",
                format!("{n} of {} events hold the token in `{field}`", rendered.events.len()),
                "every event has to hold it, or no alert can be tied to the canary",
            );
        }
    }

    fn groups(&mut self, parsed: &[&Value]) {
        let group_by = &self.recipe.group_by;
        if parsed.len() > 1 && !group_by.contains(&self.recipe.token.field) {
            self.add(
                "group_by",
                format!("`{}`, which holds the token, is not in it", self.recipe.token.field),
                "a correlation's alert shows only what it groups by: group by the token's field",
            );
        }
        for field in group_by {
            let mut values = parsed.iter().map(|fields| get(fields, field));
            let first = values.next().flatten();
            if first.is_none() || values.any(|value| value != first) {
                self.add(
                    "group_by",
                    format!("`{field}` is not the same in all events of a canary"),
                    "a group holds events with equal values only",
                );
            }
        }
    }
}

/// The bodies with the token blotted out, which may spell anything.
fn masked(rendered: &Rendered) -> Vec<(u32, String)> {
    rendered
        .events
        .iter()
        .map(|event| (event.index, event.body.replace(&rendered.token, "x")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    /// Golden files are exact bytes. `DWELL_UPDATE_GOLDEN=1 cargo test` writes them anew.
    #[test]
    fn every_embedded_recipe_passes_lint_and_renders_its_golden_file() {
        let catalogue = Catalogue::embedded().unwrap();
        assert!(catalogue.iter().count() >= 14);
        let update = std::env::var_os("DWELL_UPDATE_GOLDEN").is_some();
        let mut findings = Vec::new();
        for entry in catalogue.iter() {
            if update {
                let text = golden_text(&render_golden(&entry.recipe).unwrap());
                let path =
                    format!("{}/recipes/{}.golden", env!("CARGO_MANIFEST_DIR"), entry.recipe.id);
                std::fs::write(path, text).unwrap();
            }
            findings.extend(lint(entry));
        }
        if update {
            findings.retain(|finding| finding.field != "golden");
        }
        let text: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(text.is_empty(), "{}", text.join("\n"));
    }

    /// A changed copy of an embedded recipe, linted; `Err` when it does not even parse.
    fn changed(id: &str, changes: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let catalogue = Catalogue::embedded().unwrap();
        let mut entry = catalogue.get(id).unwrap().clone();
        for (from, to) in changes {
            assert!(entry.source.contains(from), "{from}");
            entry.source = entry.source.replace(from, to);
        }
        let recipe = Recipe::parse(&entry.file, &entry.source).map_err(|e| e.to_string())?;
        entry.golden = render_golden(&recipe).ok().map(|rendered| golden_text(&rendered));
        entry.recipe = std::sync::Arc::new(recipe);
        Ok(lint(&entry).iter().map(Finding::to_string).collect())
    }

    const SSHD: &str = "fake-login/sshd-failed-password";
    const BURST: &str = "fake-login/sshd-brute-force-success";
    const TRAIL: &str = "fake-login/cloudtrail-console-login-failure";

    #[test]
    fn harmful_or_unattributable_recipes_are_refused() {
        for (id, from, to, expected) in [
            (SSHD, "203.0.113.7", "8.8.8.8", "may belong to somebody"),
            (SSHD, "web01.example.net", "web01.bank.com", "may belong to somebody"),
            (SSHD, "from {{ source_ip }}", "from 9.9.9.9", "names \"9.9.9.9\""),
            (SSHD, "user {{ token }}", "user canary-{{ token }}", "says \"canary\""),
            (SSHD, "user {{ token }}", "user root", "0 of 1 events hold the token"),
            (
                SSHD,
                "Failed password for invalid",
                "Refused password of invalid",
                "no pattern matches",
            ),
            (
                SSHD,
                "carrier = \"text\" }",
                "carrier = \"text\" }\nfields = [\"user.domain\"]",
                "has no `user.domain`",
            ),
            (
                SSHD,
                "The account does not exist and no connection is made: only the line is written.",
                ".",
                "says too little",
            ),
            (SSHD, "sshd-failed-password\"", "another-name\"", "does not go with the file's name"),
            (BURST, "[\"user.name\", \"source.ip\"]", "[\"source.ip\"]", "is not in it"),
            (
                BURST,
                "[\"user.name\", \"source.ip\"]",
                "[\"user.name\", \"source.port\"]",
                "is not the same in all events",
            ),
            (
                BURST,
                "Accepted password for {{ token }}",
                "Accepted password for backup",
                "6 of 7 events hold the token",
            ),
            (TRAIL, "{{ time|iso_s }}", "\"2026-01-01T00:00:00Z\"", "is not its own"),
            (TRAIL, "\"eventVersion\":\"1.08\",", "\"eventVersion\":\"1.08\" ", "no valid JSON"),
            (TRAIL, "\"111122223333\"", "\"998877665544\"", "may belong to somebody"),
            (
                TRAIL,
                "\"signin.amazonaws.com\", \"console",
                "\"console",
                "names \"signin.amazonaws.com\"",
            ),
        ] {
            let findings = changed(id, &[(from, to)]).unwrap();
            assert!(findings.iter().any(|f| f.contains(expected)), "{to}: {findings:?}");
        }
    }

    #[test]
    fn a_golden_file_that_differs_names_the_line() {
        let catalogue = Catalogue::embedded().unwrap();
        let mut entry = catalogue.get(BURST).unwrap().clone();
        entry.golden = entry.golden.map(|golden| golden.replace("03:05:11", "03:05:12"));
        let findings: Vec<String> = lint(&entry).iter().map(Finding::to_string).collect();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("golden: line 3"), "{findings:?}");
    }

    #[test]
    fn broken_recipes_name_file_line_field_and_next_step() {
        for (id, from, to, expected) in [
            (
                SSHD,
                "cleanup =",
                "clean_up =",
                "fake-login/sshd-failed-password.toml:5: clean_up: unknown field",
            ),
            (SSHD, "cleanup =", "clean_up =", "did you mean `cleanup`?"),
            (SSHD, "title =", "#", "missing field"),
            (SSHD, "\"syslog\"", "\"sylog\"", "did you mean `syslog`?"),
            (SSHD, "\"syslog\"", "\"json\"", "do not go together"),
            (SSHD, "facility = 10", "facility = 24", "syslog.facility: above 23"),
            (SSHD, "facility = 10", "facility = \"auth\"", "invalid type"),
            (SSHD, "T1110.001", "brute force", "write it like T1110 or T1110.001"),
            (SSHD, "{{ token }}", "{{ tokn }}", "did you mean `token`?"),
            (SSHD, "{{ source_ip }}", "{{ source_ip", "event `failed`.template"),
            (SSHD, "(?P<user.name>.*)", "(?P<user.name>.*", "extract.regex"),
            (SSHD, "id = \"fake-login/", "id = \"Fake Login/", "write `family/name`"),
            (SSHD, "one_of = [\"sshd\", ", "one_of = [", "default is not in one_of"),
            (SSHD, "name = \"failed\"", "name = \"failed\"\noffset = \"-1s\"", "no duration"),
            (SSHD, "name = \"failed\"", "name = \"failed\"\noffset = \"9000h\"", "no duration"),
            (SSHD, "name = \"failed\"", "name = \"failed\"\nrepeat = 0", "is 0"),
            (
                SSHD,
                "name = \"failed\"",
                "name = \"failed\"\nrepeat = 4000000000",
                "make one canary",
            ),
            (SSHD, "name = \"failed\"", "name = \"failed\"\nrepeat = -1", "invalid value"),
            (
                SSHD,
                "[needs]",
                "[needs]\ntoken = { kind = \"text\", default = \"a\", about = \"b\" }",
                "taken by the renderer",
            ),
            (SSHD, "format =", "hours = \"25:00-3\"\nformat =", "write it like `22:00-06:00`"),
            (BURST, "completing = true", "", "0 events are marked as completing"),
            (BURST, "offset = \"7s\"", "offset = \"2s\"", "is due before"),
            (TRAIL, "time = { field", "#", "time: does not go with format `json`"),
        ] {
            let error = changed(id, &[(from, to)]).unwrap_err();
            assert!(error.contains(expected), "{to}: {error}");
        }
        let long = Recipe::parse("long.toml", &"#".repeat(100_000)).unwrap_err().to_string();
        assert!(long.starts_with("long.toml: 100000 bytes"), "{long}");
    }
}
