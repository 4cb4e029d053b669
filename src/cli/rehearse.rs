//! `dwell rehearse`: would these rules fire on what our recipes render?
//!
//! Nothing is sent anywhere. Without `--rules` each recipe is shown to its own rules, and one that stays
//! silent, is about another log or cannot be evaluated is exit code 1. With `--rules` every recipe is shown
//! to those rules; silence is then the answer, not a failure, and is explained for rules chosen with
//! `--explain`. Rules about logs that no recipe writes are counted apart, and so are rules that cannot be
//! evaluated.

use std::path::PathBuf;

use dwell_injectors::catalogue::Entry;
use serde_json::json;

use super::Global;
use super::recipes::{catalogue, facts, inert, print, print_json, select};
use crate::exit::{Exit, Failure};
use crate::rehearsal::{
    RefusedRule, Rehearsal, RehearseError, RehearsedRecipe, RuleError, RuleSet, field_map,
    is_called, rehearse,
};

/// Reasons printed for one rule, at most.
const MAX_REASONS: usize = 12;
/// Rules that could not be evaluated and are named, at most; all are counted.
const MAX_REFUSED: usize = 20;

/// Arguments of `dwell rehearse`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sigma rules to rehearse: a file or a folder; may be repeated. The recipes' own by default.
    #[arg(long, value_name = "PATH")]
    rules: Vec<PathBuf>,
    /// Recipe to render; may be repeated. All by default.
    #[arg(long, value_name = "ID")]
    recipe: Vec<String>,
    /// Explain why this rule (id, or part of its title) does not match; may be repeated.
    #[arg(long, value_name = "RULE")]
    explain: Vec<String>,
    /// Folder with recipes of your own; may be repeated.
    #[arg(long, value_name = "DIR")]
    folder: Vec<PathBuf>,
    /// A fact of the route: `host=web02.example.net`; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    fact: Vec<String>,
}

/// Runs `dwell rehearse`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let catalogue = catalogue(&args.folder, global)?;
    let entries = select(&catalogue, &args.recipe)?;
    let facts = facts(&args.fact)?;
    check_facts(&entries, facts.keys())?;
    let own = args.rules.is_empty();
    let mut unknown: Vec<&String> = args.explain.iter().collect();
    let mut silent: Vec<&str> = Vec::new();
    let rehearsal = if own {
        let mut whole = empty();
        for entry in &entries {
            let rules = RuleSet::from_texts(&entry.sigma).map_err(rules_failed)?;
            unknown.retain(|wanted| !rules.holds_called(wanted));
            let map = entry.recipe.field_map.clone();
            let one = rehearse(&[*entry], rules, map, &facts).map_err(failed)?;
            if is_silent(&one) {
                silent.push(&entry.recipe.id);
            }
            join(&mut whole, one);
        }
        whole
    } else {
        let rules = RuleSet::load(&args.rules).map_err(rules_failed)?;
        unknown.retain(|wanted| !rules.holds_called(wanted));
        rehearse(&entries, rules, field_map(&catalogue), &facts).map_err(failed)?
    };
    if let Some(wanted) = unknown.first() {
        return Err(Failure::User(format!(
            "--explain {}: no rule has this id, or a title that holds it; without --explain the rules \
             that fire are listed, and --json lists all",
            inert(wanted)
        )));
    }
    if global.json {
        print_json(&json!({ "rehearsal": rehearsal, "silent_recipes": silent }))?;
    } else {
        print(&inert(&text(&rehearsal, own, &args.explain)))?;
    }
    Ok(if silent.is_empty() { Exit::Met } else { Exit::Missed })
}

/// A fact that none of the recipes knows is a typing error.
fn check_facts<'a>(
    entries: &[&Entry],
    names: impl Iterator<Item = &'a String>,
) -> Result<(), Failure> {
    for name in names {
        if !entries.iter().any(|entry| entry.recipe.needs.contains_key(name)) {
            let known = entries.iter().flat_map(|e| e.recipe.needs.keys()).map(String::as_str);
            let help = match dwell_injectors::recipe::suggest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`dwell recipes show ID` names a recipe's facts".to_owned(),
            };
            let name = inert(name);
            return Err(Failure::User(format!("--fact {name}: no recipe knows it; {help}")));
        }
    }
    Ok(())
}

fn failed(error: RehearseError) -> Failure {
    Failure::User(inert(&error.to_string()))
}

fn rules_failed(error: RuleError) -> Failure {
    Failure::User(inert(&error.to_string()))
}

fn empty() -> Rehearsal {
    Rehearsal {
        recipes: Vec::new(),
        exercised: 0,
        rules: 0,
        other_log_source: Vec::new(),
        refused: Vec::new(),
    }
}

fn join(whole: &mut Rehearsal, one: Rehearsal) {
    whole.recipes.extend(one.recipes);
    whole.exercised += one.exercised;
    whole.rules += one.rules;
    whole.other_log_source.extend(one.other_log_source);
    whole.refused.extend(one.refused);
}

/// Whether an own rule that should raise an alert does not. `one` is of one recipe and its own rules: one
/// that is about another log can never fire on it.
fn is_silent(one: &Rehearsal) -> bool {
    let missing = |recipe: &RehearsedRecipe| {
        recipe.fired.is_empty()
            || recipe.silent.iter().any(|story| !story.feeds_correlation)
            || !recipe.silent_correlations.is_empty()
    };
    one.recipes.iter().any(missing) || !one.refused.is_empty() || !one.other_log_source.is_empty()
}

fn text(rehearsal: &Rehearsal, own: bool, explain: &[String]) -> String {
    let mut out = String::new();
    for one in &rehearsal.recipes {
        out.push_str(&format!("{}\n", one.recipe));
        for found in &one.fired {
            let id = found.id.as_deref().unwrap_or("no id");
            out.push_str(&format!("  fires   {} ({id})\n", found.title));
            if found.correlation {
                let group: Vec<String> = found
                    .group_by
                    .iter()
                    .map(|(field, value)| format!("{field}={value}"))
                    .collect();
                out.push_str(&format!("          alert holds {}\n", group.join(", ")));
            }
        }
        silent(&mut out, one, own, explain);
        if one.fired.is_empty() {
            out.push_str("  no rule fires\n");
        }
    }
    unevaluated(&mut out, rehearsal, own, explain);
    out
}

/// What stayed out, and the sum.
fn unevaluated(out: &mut String, rehearsal: &Rehearsal, own: bool, explain: &[String]) {
    let asked = |title: &str, id: Option<&str>| explain.iter().any(|w| is_called(title, id, w));
    let (others, refused) = (&rehearsal.other_log_source, &rehearsal.refused);
    let writers =
        if own { "its recipe does not write it" } else { "none of these recipes writes it" };
    for other in others.iter().filter(|other| own || asked(&other.title, other.id.as_deref())) {
        let text = format!("{} is about another log: {}", other.title, other.log_source);
        out.push_str(&format!("{text}; {writers}\n"));
    }
    // Those that were asked for first.
    let called = |rule: &RefusedRule| explain.iter().any(|wanted| rule.is_called(wanted));
    let mut order: Vec<usize> = (0..refused.len()).collect();
    order.sort_by_key(|index| !called(&refused[*index]));
    for index in order.iter().take(MAX_REFUSED) {
        let title = refused[*index].title.as_deref().unwrap_or("untitled");
        let (file, reason) = (&refused[*index].file, &refused[*index].reason);
        out.push_str(&format!("cannot evaluate {file} ({title}): {reason}\n"));
    }
    if refused.len() > MAX_REFUSED {
        out.push_str(&format!("... and {} more\n", refused.len() - MAX_REFUSED));
    }
    let total = rehearsal.rules + others.len() + refused.len();
    out.push_str(&format!("{} of {total} rules exercised", rehearsal.exercised));
    if !others.is_empty() {
        out.push_str(&format!("; {} are about other log sources", others.len()));
    }
    if !refused.is_empty() {
        out.push_str(&format!("; {} could not be evaluated", refused.len()));
    }
    out.push('\n');
}

/// Rules that stayed silent: all of a recipe's own, of a large set those that were asked for.
fn silent(out: &mut String, one: &RehearsedRecipe, own: bool, explain: &[String]) {
    let asked = |title: &str, id: &Option<String>| {
        explain.iter().any(|wanted| is_called(title, id.as_deref(), wanted))
    };
    for found in one.feeding.iter().filter(|found| asked(&found.title, &found.id)) {
        out.push_str(&format!("  matches {} (it feeds a correlation)\n", found.title));
    }
    for story in &one.silent {
        if (own && !story.feeds_correlation) || asked(&story.title, &story.id) {
            out.push_str(&format!("  silent  {}\n", story.title));
            for reason in story.reasons.iter().take(MAX_REASONS) {
                out.push_str(&format!("          {}\n", reason.text));
            }
        }
    }
    for story in &one.silent_correlations {
        if own || asked(&story.title, &story.id) {
            out.push_str(&format!("  silent  {} (wants {})\n", story.title, story.wants));
            for reason in story.reasons.iter().take(MAX_REASONS) {
                out.push_str(&format!("          {reason}\n"));
            }
        }
    }
}
