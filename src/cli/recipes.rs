//! `dwell recipes`: what canaries can be made of.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use dwell_injectors::catalogue::{Catalogue, Entry, Origin};
use dwell_injectors::lint::{
    Finding, GOLDEN_SEED, GoldenToken, golden_text, lint, render_golden, sample_time_ns,
};
use dwell_injectors::render::{RenderInput, Rendered, render};
use serde_json::{Value, json};

use super::Global;
use crate::exit::{Exit, Failure};
use crate::rehearsal::lint_rules;

/// Arguments of `dwell recipes`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder with recipes of your own, beside the embedded ones; may be repeated.
    #[arg(long, global = true, value_name = "DIR")]
    folder: Vec<PathBuf>,
    /// What to do with them.
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists the recipes.
    List,
    /// Shows one recipe: what it is for, what it needs, which rules it should set off.
    Show {
        /// Recipe id: `family/name`.
        id: String,
        /// Print the recipe's own text instead.
        #[arg(long)]
        source: bool,
    },
    /// Refuses recipes that are not benign or whose alerts could not be tied to them.
    Lint {
        /// Recipe ids; all when none is given.
        ids: Vec<String>,
    },
    /// Prints the events of one canary, with a placeholder for the token. Writes nowhere else.
    Render {
        /// Recipe id: `family/name`.
        id: String,
        /// A fact of the route: `host=web02.example.net`; may be repeated.
        #[arg(long, value_name = "NAME=VALUE")]
        fact: Vec<String>,
        /// When the first event happens, RFC 3339; the golden file's instant by default.
        #[arg(long, value_name = "TIME")]
        at: Option<jiff::Timestamp>,
        /// Print exactly what the golden file has to hold.
        #[arg(long, conflicts_with_all = ["fact", "at"])]
        golden: bool,
    },
}

/// Runs `dwell recipes`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let catalogue = catalogue(&args.folder, global)?;
    match args.verb {
        Verb::List => list(&catalogue, global),
        Verb::Show { id, source } => show(find(&catalogue, &id)?, source, global),
        Verb::Lint { ids } => run_lint(&select(&catalogue, &ids)?, global),
        Verb::Render { id, golden: true, .. } => {
            let rendered = render_golden(&find(&catalogue, &id)?.recipe);
            let rendered = rendered.map_err(|error| Failure::User(error.to_string()))?;
            print(&golden_text(&rendered))
        }
        Verb::Render { id, fact, at, golden: false } => {
            run_render(find(&catalogue, &id)?, &fact, at, global)
        }
    }
}

/// The embedded recipes, those of the configuration's folders where there is one, and those of
/// `--folder`. Recipes are often looked at while a configuration is still being written, so that a
/// broken one only loses its folders, with a word on stderr.
pub(super) fn catalogue(folders: &[PathBuf], global: &Global) -> Result<Catalogue, Failure> {
    let mut all = Vec::new();
    if global.config.exists() {
        match crate::config::load_for_reading(&global.config) {
            Ok(config) => all.extend(config.recipe_folders),
            Err(_) => eprintln!(
                "note: {} has errors, its recipe folders are left out; `dwell check` names them",
                inert(&global.config.display().to_string())
            ),
        }
    }
    all.extend(folders.iter().filter(|folder| !all.contains(folder)).cloned().collect::<Vec<_>>());
    Catalogue::load(&all).map_err(|error| Failure::User(inert(&error.to_string())))
}

/// The recipe of an id, or which one may have been meant.
pub(super) fn find<'a>(catalogue: &'a Catalogue, id: &str) -> Result<&'a Entry, Failure> {
    catalogue.get(id).ok_or_else(|| {
        let near = match catalogue.suggest(id) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`dwell recipes list` names them all".to_owned(),
        };
        Failure::User(format!("there is no recipe `{}`; {near}", inert(id)))
    })
}

/// The recipes of these ids; all when there are none.
pub(super) fn select<'a>(
    catalogue: &'a Catalogue,
    ids: &[String],
) -> Result<Vec<&'a Entry>, Failure> {
    if ids.is_empty() {
        return Ok(catalogue.iter().collect());
    }
    ids.iter().map(|id| find(catalogue, id)).collect()
}

/// `name=value` pairs.
pub(super) fn facts(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
            _ => Err(Failure::User(format!(
                "--fact {}: no value; write it like host=web02.example.net",
                inert(pair)
            ))),
        })
        .collect()
}

/// Data to stdout. A closed pipe is no failure of ours.
pub(super) fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Met),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Met),
        Err(error) => Err(Failure::Environment(format!("stdout: {error}"))),
    }
}

/// JSON to stdout.
pub(super) fn print_json(value: &Value) -> Result<Exit, Failure> {
    print(&format!("{value:#}\n"))
}

/// Text from files and command lines, harmless on a terminal; a tab would move a table's columns.
pub(super) fn inert(text: &str) -> String {
    crate::report::escape::lines(text).replace('\t', "\\u{9}")
}

fn list(catalogue: &Catalogue, global: &Global) -> Result<Exit, Failure> {
    if global.json {
        let all: Vec<Value> = catalogue.iter().map(summary).collect();
        return print_json(&Value::Array(all));
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table.set_header(["RECIPE", "FORMAT", "EVENTS", "TECHNIQUES", "WHAT IT IS"]);
    for entry in catalogue.iter() {
        let recipe = &entry.recipe;
        table.add_row([
            recipe.id.clone(),
            recipe.format.name().to_owned(),
            recipe.event_count().to_string(),
            recipe.attack.techniques.join(" "),
            inert(&recipe.title),
        ]);
    }
    print(&format!("{table}\n"))
}

fn summary(entry: &Entry) -> Value {
    let recipe = &entry.recipe;
    json!({
        "id": recipe.id,
        "title": recipe.title,
        "family": recipe.family,
        "format": recipe.format,
        "events": recipe.event_count(),
        "span_s": recipe.span().as_secs_f64(),
        "attack": recipe.attack,
        "token": recipe.token,
        "group_by": recipe.group_by,
        "benign_because": recipe.benign_because,
        "cleanup": recipe.cleanup,
        "needs": recipe.needs,
        "fields": recipe.expected_fields(),
        "sigma": recipe.sigma,
        "digest": entry.digest,
        "file": match &entry.origin {
            Origin::Embedded => Value::Null,
            Origin::File(path) => Value::from(path.display().to_string()),
        },
    })
}

fn show(entry: &Entry, source: bool, global: &Global) -> Result<Exit, Failure> {
    if source {
        return print(&inert(&entry.source));
    }
    if global.json {
        return print_json(&summary(entry));
    }
    let recipe = &entry.recipe;
    let mut text = format!("{}\n{}\n\n", recipe.id, recipe.title);
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<12}{value}\n"));
    let techniques = recipe.attack.techniques.join(", ");
    line("technique", &format!("{techniques} (ATT&CK {})", recipe.attack.version));
    line("format", recipe.format.name());
    let span = recipe.span().as_secs_f64();
    line("events", &format!("{} over {span} s", recipe.event_count()));
    line(
        "token in",
        &format!("{} ({:?})", recipe.token.field, recipe.token.carrier).to_lowercase(),
    );
    if !recipe.group_by.is_empty() {
        line("group by", &recipe.group_by.join(", "));
    }
    line("benign", &recipe.benign_because);
    line("cleanup", &recipe.cleanup);
    line("rules", &recipe.sigma.join(", "));
    line("digest", &entry.digest);
    text.push_str("\n  facts of the route (default)\n");
    for (name, need) in &recipe.needs {
        text.push_str(&format!("    {name} = \"{}\"  {}\n", need.default, need.about));
    }
    text.push_str("\n  fields that a SIEM should hold\n");
    for field in recipe.expected_fields() {
        text.push_str(&format!("    {field}\n"));
    }
    print(&inert(&text))
}

fn run_lint(entries: &[&Entry], global: &Global) -> Result<Exit, Failure> {
    let findings: Vec<Finding> =
        entries.iter().flat_map(|entry| lint(entry).into_iter().chain(lint_rules(entry))).collect();
    if global.json {
        print_json(&json!({ "recipes": entries.len(), "findings": findings }))?;
    } else {
        let mut text = String::new();
        for finding in &findings {
            text.push_str(&format!("{finding}\n"));
        }
        text.push_str(&format!("{} recipes, {} findings\n", entries.len(), findings.len()));
        print(&inert(&text))?;
    }
    Ok(if findings.is_empty() { Exit::Met } else { Exit::User })
}

fn run_render(
    entry: &Entry,
    pairs: &[String],
    at: Option<jiff::Timestamp>,
    global: &Global,
) -> Result<Exit, Failure> {
    let facts = facts(pairs)?;
    if let Some((name, near)) =
        entry.recipe.unknown_facts(facts.keys().map(String::as_str)).into_iter().next()
    {
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`dwell recipes show {}` names its facts", entry.recipe.id),
        };
        return Err(Failure::User(format!("--fact {}: not a fact of it; {help}", inert(name))));
    }
    let time_ns = match at {
        None => sample_time_ns(&entry.recipe, &facts),
        Some(at) => i64::try_from(at.as_nanosecond()).map_err(|_| {
            Failure::User(format!("--at {at}: out of range; use a year near this one"))
        })?,
    };
    let input =
        RenderInput { token: &GoldenToken, facts: &facts, time_ns, seed: GOLDEN_SEED, key: None };
    let rendered =
        render(&entry.recipe, &input).map_err(|e| Failure::User(inert(&e.to_string())))?;
    if global.json {
        return print_json(&rendered_json(&rendered));
    }
    let mut text = String::new();
    for event in &rendered.events {
        text.push_str(&inert(&event.body));
        text.push('\n');
    }
    print(&text)
}

fn rendered_json(rendered: &Rendered) -> Value {
    let events: Vec<Value> = rendered
        .events
        .iter()
        .map(|event| {
            json!({
                "index": event.index,
                "offset_ns": u64::try_from(event.offset.as_nanos()).unwrap_or(u64::MAX),
                "time_ns": event.time_ns,
                "completing": event.completing,
                "body": event.body,
            })
        })
        .collect();
    json!({ "token": rendered.token, "completing": rendered.completing, "events": events })
}
