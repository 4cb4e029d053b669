//! Serde on a part of the tree, with the field to blame.
//!
//! A tagged enum reports no position. So the field to blame is found by elimination: it is the one
//! without which the complaint changes. After that it is left out and the rest is read again, so
//! that several errors are found in one go.

use serde::de::DeserializeOwned;
use toml::Value;

use super::problem::{Findings, nearest};
use super::source::join;

/// Most errors that are looked for in one part.
const MAX_FAULTS: usize = 8;

#[derive(Clone, PartialEq, Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Reads `value`, which stands at `path`. `also` names keys that are legal here but read elsewhere.
pub(super) fn decode<T: DeserializeOwned>(
    findings: &mut Findings<'_>,
    path: &str,
    value: &Value,
    also: &[&str],
) -> Option<T> {
    let complaint = |value: &Value| {
        value.clone().try_into::<T>().err().map(|error| error.message().trim().to_owned())
    };
    let mut work = value.clone();
    for round in 0..MAX_FAULTS {
        let message = match work.clone().try_into::<T>() {
            Ok(read) => return (round == 0).then_some(read),
            Err(error) => error.message().trim().to_owned(),
        };
        if let Some(name) = between(&message, "missing field `") {
            let steps = blame(&work, &message, &complaint, false);
            let field = join(&spell(path, &steps), name);
            // What was blamed above and left out is not missing: `at` keeps the first word on a field.
            if !findings.blames(&field) {
                findings.at(&field, format!("`{name}` is missing"), format!("add `{name} = ...`"));
            }
            if steps.is_empty() {
                return None;
            }
            remove(&mut work, &steps);
            continue;
        }
        let steps = blame(&work, &message, &complaint, true);
        let (problem, help) = explain(&message, also);
        findings.at(&spell(path, &steps), problem, help);
        if steps.is_empty() {
            return None;
        }
        remove(&mut work, &steps);
    }
    None
}

fn between<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.strip_prefix(start).and_then(|rest| rest.split('`').next())
}

/// The words in backticks after the first.
fn alternatives(message: &str) -> Vec<&str> {
    message.split('`').skip(3).step_by(2).collect()
}

fn explain(message: &str, also: &[&str]) -> (String, String) {
    if let Some(name) = between(message, "unknown field `") {
        let mut known = alternatives(message);
        known.extend(also);
        return (format!("unknown key `{name}`"), nearest(name, known));
    }
    if let Some(name) = between(message, "unknown variant `") {
        return (format!("unknown value `{name}`"), nearest(name, alternatives(message)));
    }
    if let Some((problem, expected)) = message.split_once(", expected ") {
        let expected = match expected {
            "u8" | "u16" | "u32" | "u64" => "a whole number, not negative",
            "a sequence" => "a list, like [\"a\", \"b\"]",
            "a string" => "text in double quotes",
            other => other,
        };
        return (problem.to_owned(), format!("write {expected}"));
    }
    match message.split_once("; ") {
        Some((problem, help)) => (problem.to_owned(), help.to_owned()),
        None => (message.to_owned(), "correct the value".to_owned()),
    }
}

fn spell(path: &str, steps: &[Step]) -> String {
    steps.iter().fold(path.to_owned(), |path, step| match step {
        Step::Key(key) => join(&path, key),
        Step::Index(index) => format!("{path}[{index}]"),
    })
}

/// The deepest part whose absence changes the complaint. Without `leaves`, only tables are blamed.
fn blame(
    root: &Value,
    message: &str,
    complaint: &dyn Fn(&Value) -> Option<String>,
    leaves: bool,
) -> Vec<Step> {
    let mut path = Vec::new();
    loop {
        let here = at(root, &path);
        // Without its tag a table says something else whatever is wrong, so the tag comes last.
        let mut suspects = children(here);
        suspects.sort_by_key(|(step, _)| matches!(step, Step::Key(key) if key == "type"));
        let guilty = suspects.into_iter().find(|(step, child)| {
            let container = child.is_table() || child.is_array();
            if !leaves && !container {
                return false;
            }
            let mut without = root.clone();
            let mut steps = path.clone();
            steps.push(step.clone());
            remove(&mut without, &steps);
            complaint(&without).as_deref() != Some(message)
        });
        match guilty.or_else(|| alone(root, &path, message, complaint, leaves)) {
            Some((step, _)) => path.push(step),
            None => return trim(root, path, leaves),
        }
    }
}

/// Two fields with the same fault hide each other; then the first that raises it alone is meant.
fn alone<'v>(
    root: &'v Value,
    path: &[Step],
    message: &str,
    complaint: &dyn Fn(&Value) -> Option<String>,
    leaves: bool,
) -> Option<(Step, &'v Value)> {
    if !leaves || message.starts_with("missing field") {
        return None;
    }
    let siblings = children(at(root, path));
    siblings.clone().into_iter().find(|(step, _)| {
        if matches!(step, Step::Key(key) if key == "type") {
            return false;
        }
        let mut only = root.clone();
        for (other, _) in siblings.iter().rev() {
            let tag = matches!(other, Step::Key(key) if key == "type");
            if other != step && !tag {
                let mut steps = path.to_vec();
                steps.push(other.clone());
                remove(&mut only, &steps);
            }
        }
        siblings.len() > 1 && complaint(&only).as_deref() == Some(message)
    })
}

/// A missing field is missing in a table, not in an array.
fn trim(root: &Value, mut path: Vec<Step>, leaves: bool) -> Vec<Step> {
    while !leaves && !path.is_empty() && !at(root, &path).is_table() {
        path.pop();
    }
    path
}

fn children(value: &Value) -> Vec<(Step, &Value)> {
    match value {
        Value::Table(table) => table.iter().map(|(k, v)| (Step::Key(k.clone()), v)).collect(),
        Value::Array(array) => array.iter().enumerate().map(|(i, v)| (Step::Index(i), v)).collect(),
        _ => Vec::new(),
    }
}

fn at<'v>(root: &'v Value, path: &[Step]) -> &'v Value {
    path.iter().fold(root, |value, step| match step {
        Step::Key(key) => value.get(key.as_str()).unwrap_or(value),
        Step::Index(index) => value.get(*index).unwrap_or(value),
    })
}

fn remove(root: &mut Value, path: &[Step]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut here = root;
    for step in parents {
        let next = match step {
            Step::Key(key) => here.get_mut(key.as_str()),
            Step::Index(index) => here.get_mut(*index),
        };
        match next {
            Some(value) => here = value,
            None => return,
        }
    }
    match (here, last) {
        (Value::Table(table), Step::Key(key)) => drop(table.remove(key)),
        (Value::Array(array), Step::Index(index)) if *index < array.len() => {
            array.remove(*index);
        }
        _ => {}
    }
}
