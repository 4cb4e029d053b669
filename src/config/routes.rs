//! Routes and their expectations.

use std::collections::BTreeSet;
use std::time::Duration;

use dwell_injectors::catalogue::Entry;
use dwell_injectors::lint::{GOLDEN_SEED, GoldenToken, sample_time_ns};
use dwell_injectors::receipt::Strength;
use dwell_injectors::registry::InjectorSettings;
use dwell_injectors::render::{RenderInput, render};
use toml::Value;

use super::checked::{Campaign, Expectation, Objective, Response, Route};
use super::decode::decode;
use super::facts;
use super::own;
use super::parts::{Known, check_name, duplicate, filled, list};
use super::problem::{Findings, nearest};
use super::raw;
use crate::ledger::Stage;

/// Default caps: few enough to go unnoticed by those who are not asked.
const CAP_PER_HOUR: u32 = 4;
const CAP_PER_DAY: u32 = 24;
/// Most canaries of one route in a run.
const MAX_COUNT: u32 = 1_000_000;
/// Longest horizon.
const MAX_HORIZON: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Checks every route; those that cannot be read are noted and left out.
pub(super) fn check(
    f: &mut Findings<'_>,
    known: &Known,
    campaign: Option<&Campaign>,
) -> Vec<Route> {
    if !f.source.table.contains_key("route") {
        f.at(
            "route",
            "there is no [[route]]",
            "add one: what is injected where, and what should happen",
        );
    }
    let mut found: Vec<Route> = Vec::new();
    let mut paths = Vec::new();
    for (path, table) in list(f, "route") {
        let value = Value::Table(table.clone());
        let Some(raw) = decode::<raw::Route>(f, &path, &value, &[]) else { continue };
        if found.iter().any(|other| other.name == raw.name) {
            duplicate(f, &path, "route", &raw.name);
        }
        found.push(route(f, &path, raw, known, campaign));
        paths.push(path);
    }
    check_loops(f, &paths.into_iter().zip(&found).collect::<Vec<_>>(), known);
    unused(f, known, &found);
    too_few(f, &found);
    found
}

/// One run may be one of many in its campaign: too few canaries are no error.
fn too_few(f: &mut Findings<'_>, routes: &[Route]) {
    for route in routes {
        for e in route.expectations.iter().filter(|e| e.objective.min_n > route.count) {
            f.warnings.push(format!(
                "route `{}`: the objective of `{}` asks for at least {} canaries and a run injects {}; \
                 it stays undecided until the campaign's runs have injected enough",
                route.name, e.name, e.objective.min_n, route.count
            ));
        }
    }
}

fn unused(f: &mut Findings<'_>, known: &Known, routes: &[Route]) {
    for name in known.injectors.keys() {
        if !routes.iter().any(|route| route.injector == *name) {
            f.warnings.push(format!("injector `{name}` is used by no route"));
        }
    }
    for name in known.watchers.keys() {
        let used = |route: &Route| route.expectations.iter().any(|e| e.watchers.contains(name));
        if !routes.iter().any(used) {
            f.warnings.push(format!("watcher `{name}` is named by no expectation"));
        }
    }
}

fn route(
    f: &mut Findings<'_>,
    path: &str,
    raw: raw::Route,
    known: &Known,
    campaign: Option<&Campaign>,
) -> Route {
    check_name(f, &format!("{path}.name"), &raw.name);
    filled(f, &format!("{path}.owner"), &raw.owner);
    let entry = known.catalogue.get(&raw.recipe);
    // What stands in a folder that could not be read is not unknown: the folder was reported.
    if entry.is_none() && !f.blames("recipes") {
        let help = nearest(&raw.recipe, known.catalogue.iter().map(|e| e.recipe.id.as_str()));
        f.at(&format!("{path}.recipe"), format!("unknown recipe `{}`", raw.recipe), help);
    }
    if !known.injectors.contains_key(&raw.injector) {
        // An injector that is there but wrong was reported already.
        if !f.blames("injector") {
            let help = nearest(&raw.injector, known.injectors.keys().map(String::as_str));
            f.at(&format!("{path}.injector"), format!("unknown injector `{}`", raw.injector), help);
        }
    }
    if raw.response == Response::Automated && !raw.response_exempted {
        let problem = "a machine would act on these alerts";
        let help =
            "have the route exempted from automated response, then set `response_exempted = true`";
        f.at(&format!("{path}.response"), problem, help);
    }
    let recipe = entry.map(|e| &*e.recipe);
    let facts = facts::resolve(f, path, &raw.facts, &known.identities, recipe);
    let count = raw.count.unwrap_or(CAP_PER_HOUR);
    let min_gap = raw.min_gap.map_or(Duration::ZERO, |span| span.0);
    let cap_per_hour = raw.cap_per_hour.unwrap_or(CAP_PER_HOUR);
    let cap_per_day = raw.cap_per_day.unwrap_or(CAP_PER_DAY);
    if let Some(campaign) = campaign {
        check_count(f, path, (count, min_gap), (cap_per_hour, cap_per_day), campaign.window);
    }
    let expectations = expectations(f, path, raw.expect, known);
    let route = Route {
        name: raw.name,
        recipe: raw.recipe,
        injector: raw.injector,
        enters_at: raw.enters_at,
        owner: raw.owner,
        supplier: raw.supplier,
        count,
        min_gap,
        cap_per_hour,
        cap_per_day,
        proof: raw.proof.unwrap_or(Strength::Written),
        response: raw.response,
        response_exempted: raw.response_exempted,
        facts,
        key: raw.key,
        expectations,
    };
    check_rendering(f, path, &route, entry);
    check_proof(f, &route, known);
    route
}

fn check_count(
    f: &mut Findings<'_>,
    path: &str,
    (count, min_gap): (u32, Duration),
    (per_hour, per_day): (u32, u32),
    window: Duration,
) {
    for (field, cap) in [("cap_per_hour", per_hour), ("cap_per_day", per_day)] {
        if cap == 0 {
            f.at(&format!("{path}.{field}"), "is zero", "leave the route out instead");
            return;
        }
    }
    let field = format!("{path}.count");
    if count == 0 || count > MAX_COUNT {
        f.at(
            &field,
            format!("is not between 1 and {MAX_COUNT}"),
            format!("use a number from 1 to {MAX_COUNT}"),
        );
        return;
    }
    let spans = |length: u64| window.as_secs().div_ceil(length).max(1);
    let most = (spans(3600) * u64::from(per_hour)).min(spans(86_400) * u64::from(per_day));
    if u64::from(count) > most {
        let problem = format!(
            "{count} canaries, but the caps ({per_hour} an hour, {per_day} a day) let {most} out in the window"
        );
        f.at(
            &field,
            problem,
            "lower it, lengthen `campaign.window`, or raise `cap_per_hour` and `cap_per_day`",
        );
    }
    if min_gap.checked_mul(count - 1).is_none_or(|total| total > window) {
        let problem = format!("{count} canaries at this distance do not fit into the window");
        f.at(
            &format!("{path}.min_gap"),
            problem,
            "lower `count` or `min_gap`, or lengthen the window",
        );
    }
}

/// Renders a sample, so that a template error shows here and not in mid-campaign.
fn check_rendering(f: &mut Findings<'_>, path: &str, route: &Route, entry: Option<&Entry>) {
    let Some(entry) = entry else { return };
    if f.blames(&format!("{path}.facts")) {
        return;
    }
    let mut input = RenderInput {
        token: &GoldenToken,
        facts: &route.facts,
        time_ns: sample_time_ns(&entry.recipe, &route.facts),
        seed: GOLDEN_SEED,
        key: None,
    };
    if let Err(error) = render(&entry.recipe, &input) {
        f.at(&format!("{path}.recipe"), error.to_string(), "correct the facts or the recipe");
        return;
    }
    input.key = route.key.as_deref();
    if let Err(error) = render(&entry.recipe, &input) {
        let help = "use names of facts, as in \"{{ host }}\", or leave the key out";
        f.at(&format!("{path}.key"), error.to_string(), help);
    }
}

fn expectations(
    f: &mut Findings<'_>,
    route: &str,
    raw: Vec<raw::Expectation>,
    known: &Known,
) -> Vec<Expectation> {
    if raw.is_empty() {
        f.at(
            &format!("{route}.expect"),
            "is empty",
            "add [[route.expect]] with stage, watchers, deadline",
        );
    }
    let mut names = BTreeSet::new();
    let mut found = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let path = format!("{route}.expect[{index}]");
        let name = raw.name.clone().unwrap_or_else(|| raw.stage.name().to_owned());
        check_name(f, &format!("{path}.name"), &name);
        if !names.insert(name.clone()) {
            let help = "name each expectation of this route differently";
            f.at(
                &format!("{path}.name"),
                format!("the name `{name}` is taken by another expectation"),
                help,
            );
        }
        found.push(expectation(f, &path, name, raw, known));
    }
    found
}

fn expectation(
    f: &mut Findings<'_>,
    path: &str,
    name: String,
    raw: raw::Expectation,
    known: &Known,
) -> Expectation {
    check_watchers(f, path, &raw, known);
    for (index, rule) in raw.rules.iter().enumerate() {
        filled(f, &format!("{path}.rules[{index}]"), rule);
    }
    let deadline = raw.deadline.0;
    if deadline.is_zero() {
        f.at(&format!("{path}.deadline"), "is zero", "write how fast it should be, like \"5m\"");
    }
    let horizon = raw.horizon.map_or(deadline.saturating_mul(10).min(MAX_HORIZON), |span| span.0);
    if horizon < deadline {
        let problem = "ends before the deadline";
        f.at(&format!("{path}.horizon"), problem, "leave it out for ten times the deadline");
    }
    let rule_period = raw.rule_period.map(|span| span.0);
    if rule_period.is_some_and(|period| period.is_zero()) {
        f.at(
            &format!("{path}.rule_period"),
            "is zero",
            "write how often the rule runs, like \"15m\", or leave it out",
        );
    }
    let objective = objective(f, path, raw.objective);
    let raw::Expectation { stage, watchers, rules, .. } = raw;
    Expectation { name, stage, watchers, rules, deadline, horizon, rule_period, objective }
}

fn objective(f: &mut Findings<'_>, path: &str, raw: Option<raw::Objective>) -> Objective {
    let Some(raw) = raw else { return Objective { share: 1.0, confidence: None, min_n: 1 } };
    let share = raw.share.unwrap_or(1.0);
    let path = format!("{path}.objective");
    if !(share > 0.0 && share <= 1.0) {
        f.at(
            &format!("{path}.share"),
            format!("{share} is no share"),
            "use more than 0, at most 1",
        );
    }
    if raw.confidence.is_some_and(|c| !(c > 0.0 && c < 1.0)) {
        let help = "use a number above 0 and below 1, like 0.95";
        f.at(&format!("{path}.confidence"), "is no confidence", help);
    }
    let min_n = raw.min_n.unwrap_or(1);
    if min_n == 0 {
        f.at(&format!("{path}.min_n"), "is zero", "use at least 1");
    }
    Objective { share, confidence: raw.confidence, min_n }
}

fn check_watchers(f: &mut Findings<'_>, path: &str, raw: &raw::Expectation, known: &Known) {
    if raw.watchers.is_empty() {
        let help = nearest("", known.watchers.keys().map(String::as_str));
        f.at(&format!("{path}.watchers"), "is empty", help);
    }
    if raw.stage < Stage::Ingested {
        let help = "expect `ingested`, `detected`, `notified`, `acknowledged` or `closed`";
        f.at(&format!("{path}.stage"), "no watcher decides this stage", help);
    }
    for (index, name) in raw.watchers.iter().enumerate() {
        let field = format!("{path}.watchers[{index}]");
        match known.watchers.get(name) {
            None if f.blames("watcher") => {}
            None => {
                let help = nearest(name, known.watchers.keys().map(String::as_str));
                f.at(&field, format!("unknown watcher `{name}`"), help);
            }
            Some(watcher) if watcher.entry.stage < raw.stage => {
                let (seen, wanted) = (watcher.entry.stage.name(), raw.stage.name());
                let problem =
                    format!("`{name}` sees the stage `{seen}`, which never proves `{wanted}`");
                f.at(&field, problem, format!("name a watcher of stage `{wanted}` or later"));
            }
            Some(_) => {}
        }
    }
}

/// A watcher that reads what we wrote ourselves would detect everything at once. Whatever routes they
/// belong to: all watchers look for the canaries of all routes.
fn check_loops(f: &mut Findings<'_>, routes: &[(String, &Route)], known: &Known) {
    for (name, watcher) in &known.watchers {
        if watcher.entry.stage < Stage::Detected {
            continue;
        }
        let mut injectors = known.injectors.iter();
        let read = injectors.find(|(_, ours)| own::reads(&watcher.entry.settings, &ours.settings));
        let Some((injector, _)) = read else { continue };
        let problem =
            format!("`{name}` reads what injector `{injector}` writes: it proves no alert");
        let named = routes.iter().flat_map(|(path, route)| {
            let expectations = route.expectations.iter().enumerate();
            expectations.flat_map(move |(index, expectation)| {
                let place = expectation.watchers.iter().position(|other| other == name)?;
                Some(format!("{path}.expect[{index}].watchers[{place}]"))
            })
        });
        let fields: Vec<String> = named.collect();
        let help = "watch the place where alerts are written";
        fields.iter().for_each(|field| f.at(field, problem.as_str(), help));
        if fields.is_empty() {
            let listed = list(f, "watcher").into_iter();
            let is_it =
                |table: &toml::Table| table.get("name").and_then(Value::as_str) == Some(name);
            let path = listed.filter(|(_, table)| is_it(table)).map(|(path, _)| path).next();
            f.at(&path.unwrap_or_else(|| "watcher".to_owned()), problem, help);
        }
    }
}

/// Warns of a proof that the transport can never give: every canary would stay uncertain.
fn check_proof(f: &mut Findings<'_>, route: &Route, known: &Known) {
    let Some(injector) = known.injectors.get(&route.injector) else { return };
    let best = match &injector.settings {
        InjectorSettings::File(file) if file.sync => Strength::Synced,
        InjectorSettings::File(_) | InjectorSettings::Stdout(_) => Strength::Written,
        InjectorSettings::Syslog(_) => Strength::Queued,
        InjectorSettings::HttpBulk(_) => Strength::RemoteAccepted,
        InjectorSettings::Kafka(_) => Strength::Replicated,
    };
    if route.proof > best {
        f.warnings.push(format!(
            "route `{}`: injector `{}` never proves delivery as strongly as `proof` asks; only a \
             sighting will, and what is not seen stays indeterminate",
            route.name, route.injector
        ));
    }
}
