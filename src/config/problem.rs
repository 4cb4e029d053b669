//! What is wrong with a configuration, in a form that a person can act on.

use std::collections::BTreeSet;
use std::fmt;

use super::source::Source;
use crate::exit::{Failure, printable};

/// Most problems that are printed; the rest is counted.
const MAX_PRINTED: usize = 20;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The field, as a path: `route[0].expect[1].deadline`. Empty for the file as a whole.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// The next step.
    pub help: String,
    /// The line and how many characters of it are meant; absent where it might hold a secret.
    #[serde(skip)]
    pub excerpt: Option<(String, usize)>,
}

/// Everything that is wrong with a configuration. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// A problem of the file as a whole.
    pub(super) fn file(file: &str, problem: impl Into<String>, help: impl Into<String>) -> Self {
        let problem = Problem {
            file: file.into(),
            line: 1,
            column: 1,
            field: String::new(),
            problem: problem.into(),
            help: help.into(),
            excerpt: None,
        };
        ConfigErrors { problems: vec![problem] }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", printable(&self.file), self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", printable(&self.field))?;
        }
        writeln!(f, "{}", printable(&self.problem))?;
        if let Some((text, width)) = &self.excerpt {
            let number = self.line.to_string();
            let pad = " ".repeat(number.len());
            writeln!(f, "  {number} | {}", printable(text))?;
            writeln!(f, "  {pad} | {}{}", " ".repeat(self.column - 1), "^".repeat(*width))?;
        }
        write!(f, "  next: {}", printable(&self.help))
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {noun} in the configuration; nothing was started")?;
        for problem in self.problems.iter().take(MAX_PRINTED) {
            write!(f, "\n\n{problem}")?;
        }
        if count > MAX_PRINTED {
            write!(f, "\n\nand {} more", count - MAX_PRINTED)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        Failure::User(errors.to_string())
    }
}

/// Problems and warnings found so far.
pub(super) struct Findings<'a> {
    pub(super) source: &'a Source,
    problems: Vec<Problem>,
    seen: BTreeSet<String>,
    pub(super) warnings: Vec<String>,
    /// Literal secrets of the file, never to be printed.
    literals: Vec<String>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Findings {
            source,
            problems: Vec::new(),
            seen: BTreeSet::new(),
            warnings: Vec::new(),
            literals: Vec::new(),
        }
    }

    /// Notes a problem of a field. The first of a field stands: what follows from it is noise.
    pub(super) fn at(&mut self, field: &str, problem: impl Into<String>, help: impl Into<String>) {
        if self.seen.insert(field.to_owned()) {
            self.problems.push(self.source.problem(field, problem.into(), help.into()));
        }
    }

    /// Notes a literal secret; from here on nothing that holds it is printed.
    pub(super) fn literal(
        &mut self,
        field: &str,
        text: &str,
        problem: &str,
        help: impl Into<String>,
    ) {
        self.literals
            .extend(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned));
        self.at(field, problem, help);
    }

    /// True when something was said about the field or a part of it.
    pub(super) fn blames(&self, field: &str) -> bool {
        self.seen.iter().any(|seen| {
            seen.strip_prefix(field).is_some_and(|r| r.is_empty() || r.starts_with(['.', '[']))
        })
    }

    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<T, ConfigErrors> {
        for problem in &mut self.problems {
            let told =
                |text: &str| self.literals.iter().any(|secret| text.contains(secret.as_str()));
            if problem.excerpt.as_ref().is_some_and(|(line, _)| told(line)) {
                problem.excerpt = None;
            }
            if told(&problem.problem) || told(&problem.help) {
                problem.problem = "is wrong, and holds a literal secret".to_owned();
                problem.help = "write the secret as a reference first".to_owned();
            }
        }
        self.problems.sort_by_key(|p| (p.line, p.column));
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ if self.problems.is_empty() => {
                Err(ConfigErrors::file(&self.source.file, "cannot be used", "report this"))
            }
            _ => Err(ConfigErrors { problems: self.problems }),
        }
    }
}

/// ", did you mean `x`?" sort of help: the nearest known name, or all of them.
pub(super) fn nearest<'n>(word: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let best = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4)
        .min();
    match best {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "none is configured; add one".to_owned(),
        None => format!("use one of: {}", known.join(", ")),
    }
}
