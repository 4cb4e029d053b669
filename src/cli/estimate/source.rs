//! Rows out of a file or a pipe, one at a time: CSV, JSON objects (an array, or one after the other),
//! or an ATTiRe execution log. What it is shows in its first byte.
//!
//! A row is bounded, so that a file of any size is read in constant memory here; how many rows are
//! kept is the caller's bound. Lines count from 1 and are those of the input.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::report::escape::terminal as safe;

/// No row may be longer.
const LONGEST_ROW: usize = 16 << 20;
/// Rows of JSON that are looked at for the names of columns.
const SCOUTED: usize = 1_000;

/// One row: its line, and its cells in the order of the header. An absent JSON key is no cell.
pub(super) struct Row<'a> {
    pub(super) line: u64,
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
    Json { first: Vec<(u64, Map<String, Value>)>, rest: Values<'a> },
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
                for (line, object) in first {
                    give(line, &object, &self.header, &mut take)?;
                }
                while let Some((line, object)) = rest.next()? {
                    give(line, &object, &self.header, &mut take)?;
                }
                Ok(())
            }
        }
    }
}

fn user(text: impl Into<String>) -> Failure {
    Failure::User(text.into())
}

fn unreadable(error: &io::Error) -> Failure {
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

fn too_long(line: u64) -> Failure {
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
            let (found, wanted) = (record.len(), header.len());
            return Err(user(format!("line {line}: {found} cells, the header has {wanted}")));
        }
        let cells = record
            .iter()
            .enumerate()
            .map(|(i, cell)| utf8(cell, line, i).map(|text| Some(text.trim())))
            .collect::<Result<Vec<_>, Failure>>()?;
        take(&Row { line, cells, unknown: Vec::new() })?;
    }
}

fn json(mut values: Values<'_>) -> Result<Source<'_>, Failure> {
    let mut first = Vec::new();
    let mut format = "json";
    while first.len() < SCOUTED {
        let Some((line, object)) = values.next()? else { break };
        if first.is_empty() && object.get("procedures").is_some_and(Value::is_array) {
            format = "attire";
            first = steps(line, &object)?;
            break;
        }
        first.push((line, object));
    }
    let mut header: Vec<String> = Vec::new();
    for key in first.iter().flat_map(|(_, object)| object.keys()) {
        if !header.contains(key) {
            header.push(key.clone());
        }
    }
    Ok(Source { format, header, rows: Rows::Json { first, rest: values } })
}

/// The line on which an object begins, and the object.
type Placed = (u64, Map<String, Value>);

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
    line: u64,
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
    take(&Row { line, cells, unknown })
}

/// Splits a stream of JSON into its objects: those of one array, or one after the other.
struct Values<'a> {
    bytes: io::Bytes<Box<dyn BufRead + 'a>>,
    line: u64,
    column: u64,
    /// Within an array: whether an object may follow without a comma.
    array: Option<bool>,
    begun: bool,
    ended: bool,
}

impl<'a> Values<'a> {
    fn new(input: Box<dyn BufRead + 'a>, line: u64) -> Values<'a> {
        Values { bytes: input.bytes(), line, column: 0, array: None, begun: false, ended: false }
    }

    fn byte(&mut self) -> Result<Option<u8>, Failure> {
        let byte = self.bytes.next().transpose().map_err(|e| unreadable(&e))?;
        if byte == Some(b'\n') {
            (self.line, self.column) = (self.line + 1, 0);
        } else {
            self.column += 1;
        }
        Ok(byte)
    }

    fn wrong(&self, what: &str) -> Failure {
        user(format!("line {}, column {}: {what}", self.line, self.column))
    }

    fn next(&mut self) -> Result<Option<Placed>, Failure> {
        while !self.ended {
            match (self.byte()?, self.array) {
                (Some(b' ' | b'\t' | b'\r' | b'\n'), _) => {}
                (Some(b'['), None) if !self.begun => (self.array, self.begun) = (Some(true), true),
                (Some(b','), Some(false)) => self.array = Some(true),
                (Some(b'{'), None | Some(true)) => {
                    self.begun = true;
                    self.array = self.array.map(|_| false);
                    return self.object().map(Some);
                }
                (Some(b']'), Some(_)) => {
                    while let Some(byte) = self.byte()? {
                        if !byte.is_ascii_whitespace() {
                            return Err(self.wrong("nothing may follow the array"));
                        }
                    }
                    self.ended = true;
                }
                (None, Some(_)) => return Err(self.wrong("the array does not end; is it whole?")),
                (None, None) => self.ended = true,
                _ => return Err(self.wrong("an object `{...}` is expected here")),
            }
        }
        Ok(None)
    }

    /// The object whose brace was just read.
    fn object(&mut self) -> Result<(u64, Map<String, Value>), Failure> {
        let (line, column) = (self.line, self.column);
        let mut text = vec![b'{'];
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        while depth > 0 {
            let Some(byte) = self.byte()? else {
                return Err(self.wrong(&format!("the object of line {line} does not end")));
            };
            text.push(byte);
            if text.len() > LONGEST_ROW {
                return Err(too_long(line));
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' | b'[' if !quoted => depth += 1,
                b'}' | b']' if !quoted => depth -= 1,
                _ => {}
            }
        }
        let object = serde_json::from_slice(&text).map_err(|e| {
            let at = line + e.line() as u64 - 1;
            let column = if e.line() == 1 { column - 1 } else { 0 } + e.column() as u64;
            // The library's own place counts from the object.
            let what = e.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            user(format!("line {at}, column {column}: {}", safe(what)))
        })?;
        Ok((line, object))
    }
}
