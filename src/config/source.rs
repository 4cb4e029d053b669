//! The file as text, as a tree, and where each field stands in it.
//!
//! Serde's tagged enums lose positions, so the tree is parsed twice: once for values, once for spans,
//! and fields are looked up by path.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ConfigErrors, Problem};
use super::secrets::sensitive;

/// Largest configuration file, bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// A parsed file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: String,
    text: String,
    pub(super) table: toml::Table,
    /// Field path to the spans of its key and of its value.
    spans: BTreeMap<String, (Range<usize>, Range<usize>)>,
}

impl Source {
    /// Reads and parses; syntax errors are reported together.
    pub(super) fn open(path: &Path) -> Result<Source, ConfigErrors> {
        let file = path.display().to_string();
        let text = read(path, &file)?;
        Source::parse(file, text)
    }

    pub(super) fn parse(file: String, text: String) -> Result<Source, ConfigErrors> {
        let mut source = Source { file, text, table: toml::Table::new(), spans: BTreeMap::new() };
        let text = source.text.clone();
        let (tree, errors) = DeTable::parse_recoverable(&text);
        let mut problems: Vec<Problem> = errors.iter().map(|e| source.syntax(e)).collect();
        if problems.is_empty() {
            match text.parse::<toml::Table>() {
                Ok(table) => source.table = table,
                Err(error) => problems.push(source.syntax(&error)),
            }
        }
        if !problems.is_empty() {
            return Err(ConfigErrors { problems });
        }
        source.note_table("", tree.get_ref());
        Ok(source)
    }

    fn syntax(&self, error: &toml::de::Error) -> Problem {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().trim().replace('\n', "; ");
        let help = if message.contains("recursion") {
            "no setting nests that deeply; flatten it"
        } else if message.contains("duplicate") {
            "keep one of the two"
        } else {
            "correct the TOML syntax; text values stand in double quotes"
        };
        self.problem_at(span, "", message, help.into())
    }

    fn note_table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            let field = join(path, key.get_ref());
            self.spans.insert(field.clone(), (key.span(), value.span()));
            self.note_value(&field, value);
        }
    }

    fn note_value(&mut self, path: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.note_table(path, table),
            DeValue::Array(array) => {
                for (index, element) in array.iter().enumerate() {
                    let field = format!("{path}[{index}]");
                    self.spans.insert(field.clone(), (element.span(), element.span()));
                    self.note_value(&field, element);
                }
            }
            _ => {}
        }
    }

    /// True when the file has this field.
    pub(super) fn holds(&self, field: &str) -> bool {
        self.spans.contains_key(field)
    }

    /// A problem of a field; of the nearest enclosing part where the field itself is absent.
    pub(super) fn problem(&self, field: &str, problem: String, help: String) -> Problem {
        let mut place = field;
        let span = loop {
            if let Some((key, _)) = self.spans.get(place) {
                break key.clone();
            }
            match place.rfind(['.', '[']) {
                Some(cut) => place = &place[..cut],
                None => break 0..0,
            }
        };
        self.problem_at(span, field, problem, help)
    }

    fn problem_at(
        &self,
        span: Range<usize>,
        field: &str,
        problem: String,
        help: String,
    ) -> Problem {
        let start = floor(&self.text, span.start.min(self.text.len()));
        let begin = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let row = self.text[begin..end].trim_end_matches('\r');
        let line = self.text[..start].matches('\n').count() + 1;
        let column = self.text[begin..start].chars().count() + 1;
        let stop = floor(&self.text, span.end.clamp(start, begin + row.len().max(start - begin)));
        let width = self.text[start..stop].chars().count().max(1);
        let short = row.chars().count() <= 160;
        let excerpt =
            (short && !row.is_empty() && !sensitive(row)).then(|| (row.to_owned(), width));
        Problem {
            file: self.file.clone(),
            line,
            column,
            field: field.into(),
            problem,
            help,
            excerpt,
        }
    }
}

/// What a file, sound or not, names as its kill switch, with the file's name; `None` where it names one
/// that cannot be read.
pub(super) fn kill_switch(path: &Path) -> Result<(Option<String>, String), ConfigErrors> {
    const KEY: &str = "kill_switch";
    let file = path.display().to_string();
    let text = read(path, &file)?;
    let (tree, errors) = DeTable::parse_recoverable(&text);
    let campaign = tree.get_ref().get("campaign").and_then(|part| part.get_ref().as_table());
    // A broken line may read as something that nobody wrote.
    let broken = errors.iter().filter_map(|error| error.span()).any(|span| {
        let start = floor(&text, span.start.min(text.len()));
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        text[begin..].lines().next().is_some_and(|line| line.contains(KEY))
    });
    let name = match campaign.and_then(|campaign| campaign.get(KEY)).map(|value| value.get_ref()) {
        Some(DeValue::String(name)) if !name.is_empty() && !broken => Some(name.to_string()),
        Some(_) => None,
        None if !errors.is_empty() && text.contains(KEY) => None,
        None => Some(super::parts::KILL_SWITCH.to_owned()),
    };
    Ok((name, file))
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A field below a path: bare where TOML allows it bare, else quoted.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare =
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn read(path: &Path, file: &str) -> Result<String, ConfigErrors> {
    let refuse = |problem: String, help: &str| Err(ConfigErrors::file(file, problem, help));
    if path.is_dir() {
        return refuse("is a directory".into(), "name the file, as in `-c dwell.toml`");
    }
    let opened = match File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return refuse("does not exist".into(), "run `dwell init`, or name it with `-c FILE`");
        }
        Err(error) => return refuse(format!("cannot be read: {error}"), "check its permissions"),
    };
    let mut bytes = Vec::new();
    if let Err(error) = opened.take(MAX_FILE + 1).read_to_end(&mut bytes) {
        return refuse(format!("cannot be read: {error}"), "check the path and its permissions");
    }
    if bytes.len() as u64 > MAX_FILE {
        return refuse("is larger than 1 MiB".into(), "name the right file; none needs that much");
    }
    // Editors on Windows write a byte order mark; it says nothing in UTF-8.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return refuse("is UTF-16, not UTF-8".into(), "save it as UTF-8");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            let mut errors = ConfigErrors::file(file, "is not UTF-8", "save it as UTF-8");
            errors.problems[0].line = line;
            Err(errors)
        }
    }
}
