//! Rows out of a file or a pipe, one at a time: CSV, JSON objects (an array, or one after the other),
//! or an ATTiRe execution log. What it is shows in its first byte.
//!
//! A row is bounded, so that a file of any size is read in constant memory here; how many rows are
//! kept is the caller's bound. Lines count from 1 and are those of the input.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::json::{Placed, Values};
use crate::exit::Failure;
use crate::report::escape::terminal as safe;

/// No row may be longer.
pub(super) const LONGEST_ROW: usize = 16 << 20;
/// Rows of JSON that are looked at for the names of columns.
const SCOUTED: usize = 1_000;
/// What an ATTiRe log is called.
pub(super) const ATTIRE: &str = "attire";

/// Where a row stands. Lines count from 1; of JSON many objects may stand on one, so they are counted.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) line: u64,
    /// What is counted and which it is; `None` where the line says it.
    pub(super) counted: Option<(&'static str, u64)>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.counted {
            None => write!(f, "line {}", self.line),
            Some((what, n)) => write!(f, "{what} {n} (line {})", self.line),
        }
    }
}

impl Place {
    /// A cell of it.
    pub(super) fn cell(self, index: usize, name: &str) -> String {
        match self.counted {
            None => format!("{self}, column {} (`{}`)", index + 1, safe(name)),
            Some(_) => format!("{self}, key `{}`", safe(name)),
        }
    }
}

/// One row: its place, and its cells in the order of the header. An absent JSON key is no cell.
pub(super) struct Row<'a> {
    pub(super) place: Place,
    pub(super) cells: Vec<Option<&'a str>>,
    /// Keys that the header does not have.
    pub(super) unknown: Vec<&'a str>,
}

/// An opened input whose column names are known.
pub(super) struct Source<'a> {
    pub(super) format: &'static str,
    pub(super) header: Vec<String>,
    rows: Rows<'a>,
}

enum Rows<'a> {
    Csv(Box<csv::Reader<Bounded<'a>>>, Rc<Cell<usize>>),
    Json { first: Vec<Placed>, rest: Values<'a> },
}

impl<'a> Source<'a> {
    /// Reads as far as the names of the columns.
    pub(super) fn open(input: impl Read + 'a) -> Result<Source<'a>, Failure> {
        let mut input: Box<dyn BufRead + 'a> = Box::new(BufReader::with_capacity(1 << 16, input));
        let (head, line) = head(&mut input)?;
        match head.first() {
            None => Err(user("the input is empty")),
            Some(b'{' | b'[') => {
                json(Values::new(Box::new(io::Cursor::new(head).chain(input)), line))
            }
            Some(_) => delimited(head, input, line),
        }
    }

    /// Hands over row after row.
    pub(super) fn each(
        self,
        mut take: impl FnMut(&Row<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self.rows {
            Rows::Csv(reader, left) => each_record(*reader, &left, &self.header, take),
            Rows::Json { first, mut rest } => {
                let what = if self.format == ATTIRE { "step" } else { "object" };
                let mut n = 0;
                let mut put = |(line, object): Placed| {
                    n += 1;
                    let place = Place { line, counted: Some((what, n)) };
                    give(place, &object, &self.header, &mut take)
                };
                first.into_iter().try_for_each(&mut put)?;
                while let Some(placed) = rest.next()? {
                    put(placed)?;
                }
                Ok(())
            }
        }
    }
}

pub(super) fn user(text: impl Into<String>) -> Failure {
    Failure::User(text.into())
}

/// `1 row`, `2 rows`.
pub(super) fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

pub(super) fn unreadable(error: &io::Error) -> Failure {
    Failure::Environment(format!("cannot read the input: {error}"))
}

/// Skips a byte order mark and blank lines; what follows up to the end of its line, and which line.
fn head(input: &mut dyn BufRead) -> Result<(Vec<u8>, u64), Failure> {
    let mut line = 1;
    loop {
        let mut text = Vec::new();
        let mut bounded = input.take(LONGEST_ROW as u64);
        bounded.read_until(b'\n', &mut text).map_err(|e| unreadable(&e))?;
        if text.len() == LONGEST_ROW {
            return Err(too_long(line));
        }
        if line == 1 && text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
        }
        if line == 1 && (text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff")) {
            return Err(user("line 1: the input is UTF-16; convert it to UTF-8"));
        }
        let blank = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
        if blank < text.len() || text.is_empty() {
            return Ok((text.split_off(blank), line));
        }
        line += 1;
    }
}

pub(super) fn too_long(line: u64) -> Failure {
    user(format!("line {line}: this row is longer than {} MiB", LONGEST_ROW >> 20))
}

fn delimited<'a>(head: Vec<u8>, rest: impl Read + 'a, line: u64) -> Result<Source<'a>, Failure> {
    let count = |sign: u8| head.iter().filter(|b| **b == sign).count();
    let delimiter = [b'\t', b';', b','].into_iter().max_by_key(|sign| count(*sign)).unwrap_or(b',');
    // Blank lines before the header are gone; putting them back keeps the line numbers true.
    let blank = vec![b'\n'; usize::try_from(line - 1).unwrap_or(0)];
    let left = Rc::new(Cell::new(LONGEST_ROW));
    let all: Box<dyn Read + 'a> =
        Box::new(io::Cursor::new(blank).chain(io::Cursor::new(head)).chain(rest));
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(Bounded { input: all, left: Rc::clone(&left) });
    let names = reader.byte_headers().map_err(|e| csv_failed(&e, line))?.clone();
    let header = names
        .iter()
        .enumerate()
        .map(|(i, name)| utf8(name, line, i).map(|n| n.trim().to_owned()))
        .collect::<Result<Vec<String>, Failure>>()?;
    for (i, name) in header.iter().enumerate() {
        if !name.is_empty() && header.iter().take(i).any(|other| other == name) {
            let column = i + 1;
            let name = safe(name);
            return Err(user(format!("line {line}, column {column}: a second column `{name}`")));
        }
    }
    Ok(Source { format: "csv", header, rows: Rows::Csv(Box::new(reader), left) })
}

fn utf8(cell: &[u8], line: u64, index: usize) -> Result<&str, Failure> {
    std::str::from_utf8(cell)
        .map_err(|_| user(format!("line {line}, column {}: not UTF-8", index + 1)))
}

fn csv_failed(error: &csv::Error, line: u64) -> Failure {
    match error.kind() {
        csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::InvalidData => too_long(line),
        csv::ErrorKind::Io(e) => unreadable(e),
        _ => user(format!("the CSV cannot be read: {error}")),
    }
}

/// A reader that fails where a row takes more than is left; an unclosed quote would else swallow the
/// whole input.
struct Bounded<'a> {
    input: Box<dyn Read + 'a>,
    left: Rc<Cell<usize>>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let left = self.left.get().checked_sub(read).ok_or(io::ErrorKind::InvalidData)?;
        self.left.set(left);
        Ok(read)
    }
}

fn each_record(
    mut reader: csv::Reader<Bounded<'_>>,
    left: &Cell<usize>,
    header: &[String],
    mut take: impl FnMut(&Row<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut record = csv::ByteRecord::new();
    loop {
        left.set(LONGEST_ROW);
        let next = reader.position().line();
        if !reader.read_byte_record(&mut record).map_err(|e| csv_failed(&e, next))? {
            return Ok(());
        }
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != header.len() {
            let (found, wanted) = (count(record.len() as u64, "cell"), header.len());
            let broken = record.iter().any(|cell| cell.contains(&b'\n'));
            let hint = if broken { "; a quote opens in it and is not closed" } else { "" };
            return Err(user(format!("line {line}: {found}, the header has {wanted}{hint}")));
        }
        let cells = record
            .iter()
            .enumerate()
            .map(|(i, cell)| utf8(cell, line, i).map(|text| Some(text.trim())))
            .collect::<Result<Vec<_>, Failure>>()?;
        take(&Row { place: Place { line, counted: None }, cells, unknown: Vec::new() })?;
    }
}

fn json(mut values: Values<'_>) -> Result<Source<'_>, Failure> {
    let mut first = Vec::new();
    let mut format = "json";
    while first.len() < SCOUTED {
        let Some((line, object)) = values.next()? else { break };
        if first.is_empty() && object.get("procedures").is_some_and(Value::is_array) {
            format = ATTIRE;
            first = steps(line, &object)?;
            break;
        }
        first.push((line, object));
    }
    if first.is_empty() {
        return Err(user(if format == ATTIRE {
            "the log holds no step"
        } else {
            "there is no row"
        }));
    }
    let mut header: Vec<String> = Vec::new();
    for key in first.iter().flat_map(|(_, object)| object.keys()) {
        if !header.contains(key) {
            header.push(key.clone());
        }
    }
    if header.is_empty() {
        return Err(user("the objects have no keys"));
    }
    Ok(Source { format, header, rows: Rows::Json { first, rest: values } })
}

/// ATTiRe 1.1: one row a step, with its procedure's name and technique.
fn steps(line: u64, log: &Map<String, Value>) -> Result<Vec<Placed>, Failure> {
    let mut rows = Vec::new();
    for (i, procedure) in log["procedures"].as_array().into_iter().flatten().enumerate() {
        let wrong = |what| user(format!("procedure {}: {what}", i + 1));
        let steps = procedure["steps"].as_array().ok_or_else(|| wrong("`steps` is no list"))?;
        for step in steps {
            let mut row = step.as_object().ok_or_else(|| wrong("a step is no object"))?.clone();
            for key in ["procedure-name", "mitre-technique-id"] {
                row.insert(key.to_owned(), procedure[key].clone());
            }
            rows.push((line, row));
        }
    }
    Ok(rows)
}

fn give(
    place: Place,
    object: &Map<String, Value>,
    header: &[String],
    take: &mut impl FnMut(&Row<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let texts: Vec<Option<String>> = header
        .iter()
        .map(|key| match object.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.trim().to_owned()),
            Some(other) => Some(other.to_string()),
        })
        .collect();
    let cells = texts.iter().map(Option::as_deref).collect();
    let unknown = object.keys().filter(|k| !header.contains(k)).map(String::as_str).collect();
    take(&Row { place, cells, unknown })
}
