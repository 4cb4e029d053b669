//! The formats: what they look like, that they are reproducible, and that nothing in them is alive.

use std::collections::BTreeSet;

use quick_xml::Reader;
use quick_xml::events::Event;
use textwrap::core::display_width;

use super::ledger::{Fate, Route, every_outcome, model};
use super::*;
use crate::report::escape::tests::HOSTILE;

const FORMATS: [Format; 6] =
    [Format::Text, Format::Json, Format::Junit, Format::Csv, Format::Html, Format::Hlog];

#[test]
fn the_formats_look_like_this() {
    let model = model(&every_outcome(), "quickstart");
    insta::assert_snapshot!("text-80", render(&model, Format::Text, 80));
    insta::assert_snapshot!("text-200", render(&model, Format::Text, 200));
    insta::assert_snapshot!("json", render(&model, Format::Json, 80));
    insta::assert_snapshot!("csv", render(&model, Format::Csv, 80));
    insta::assert_snapshot!("junit", render(&model, Format::Junit, 80));
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    for format in FORMATS {
        let page = || render(&model(&every_outcome(), "quickstart"), format, 80);
        assert_eq!(page(), page(), "{format:?}");
    }
}

#[test]
fn text_keeps_to_its_width_and_cuts_no_word() {
    let model = model(&every_outcome(), "quickstart");
    let words = |page: &str| -> BTreeSet<String> {
        page.split_whitespace().filter(|w| w.is_ascii()).map(str::to_owned).collect()
    };
    let wide = words(&render(&model, Format::Text, 100));
    for width in [1, 20, 40, 80, 100] {
        let page = render(&model, Format::Text, width);
        for line in page.lines() {
            let alone = line.split_whitespace().count() == 1;
            let fits = display_width(line) <= usize::from(width.max(20));
            assert!(alone || fits, "wider than {width}: {line:?}");
        }
        assert_eq!(words(&page), wide, "at {width}");
    }
    let page = render(&model, Format::Text, 200);
    assert!(page.contains("undelivered   indeterminate"), "tables where they fit: {page}");
}

/// A campaign whose every foreign text is that text.
fn hostile(text: &str) -> ReportModel {
    let route = Route {
        blind: Some(text.to_owned()),
        rule: text.to_owned(),
        rejection: text.to_owned(),
        ..Route::new(text, &[Fate::Seen(1.0), Fate::Silent, Fate::Rejected])
    };
    let mut routes = vec![route.clone()];
    // Alerted by a rule that nobody listed: its name reaches the reason.
    routes.push(Route { name: format!("{text} 2"), ..route });
    model(&routes, text)
}

fn everything_hostile() -> Vec<&'static str> {
    let more = [
        "</title><script>x</script>",
        "]]></testsuite><evil/>",
        "\u{9b}31m\u{7f}\u{85}",
        "\u{e0041}\u{fe0f}\u{3164}",
        "\u{ff1d}1+1",
        "\t=1+1",
        "\r\n=1+1,\"a\",b",
        "a;b,c\"d",
    ];
    HOSTILE.into_iter().chain(more).collect()
}

#[test]
fn no_format_lets_a_terminal_obey() {
    for text in everything_hostile() {
        let model = hostile(text);
        for format in FORMATS {
            let page = render(&model, format, 80);
            let bad = |c: char| {
                (c.is_control() && c != '\n')
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'
                        ..='\u{200f}' | '\u{fe0f}' | '\u{e0041}' | '\u{3164}')
            };
            let found: Vec<char> = page.chars().filter(|c| bad(*c)).collect();
            assert!(found.is_empty(), "{format:?} of {text:?} holds {found:?}");
        }
    }
}

#[test]
fn json_keeps_foreign_text_as_it_was() {
    for text in everything_hostile() {
        let page = render(&hostile(text), Format::Json, 80);
        let value: serde_json::Value = serde_json::from_str(&page).unwrap();
        assert_eq!(value["campaign"], text);
        assert_eq!(value["routes"][0]["expectations"][0]["rules"][0], text);
    }
}

/// What XML 1.0 lets a document hold.
fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Elements, attributes and all text of a page that must be well-formed. The reader sees to the nesting
/// of elements and to quotes; the rest of what makes a document is asked here.
fn parse(page: &str) -> (BTreeSet<String>, BTreeSet<String>, String) {
    let (mut elements, mut attributes, mut text) = Default::default();
    let (mut depth, mut roots) = (0, 0);
    let bad: Vec<char> = page.chars().filter(|c| !allowed(*c)).collect();
    assert!(bad.is_empty(), "no XML document holds {bad:?}");
    let declared: Vec<&str> = page.split("<!").skip(1).collect();
    assert!(declared.iter().all(|rest| rest.starts_with("DOCTYPE ")), "{declared:?}");
    let mut reader = Reader::from_str(page);
    loop {
        let event = reader.read_event().unwrap();
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                BTreeSet::insert(&mut elements, name(tag.name().as_ref()));
                for attribute in tag.attributes() {
                    let key = name(attribute.unwrap().key.as_ref());
                    BTreeSet::insert(&mut attributes, key);
                }
                roots += i32::from(depth == 0);
                depth += i32::from(matches!(event, Event::Start(_)));
            }
            Event::End(_) => depth -= 1,
            Event::Text(part) => {
                let part = part.decode().unwrap();
                assert!(depth > 0 || part.trim().is_empty(), "beside the root: {part}");
                String::push_str(&mut text, &part);
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().unwrap();
                let known = ["amp", "lt", "gt", "quot", "apos"].contains(&&*name);
                assert!(known || reference.is_char_ref(), "XML knows no &{name};");
                text.extend(reference.resolve_char_ref().unwrap());
            }
            Event::Comment(_) | Event::CData(_) | Event::PI(_) => panic!("not ours: {page}"),
            Event::Eof => {
                assert_eq!((roots, depth), (1, 0), "{page}");
                return (elements, attributes, text);
            }
            _ => {}
        }
    }
}

#[test]
fn foreign_text_adds_nothing_to_the_page() {
    let plain = parse(&render(&hostile("plain"), Format::Html, 80));
    for wanted in ["svg", "table", "style"] {
        assert!(plain.0.contains(wanted), "{wanted} in {:?}", plain.0);
    }
    for live in ["script", "a", "img", "iframe", "form", "link", "object", "base"] {
        assert!(!plain.0.contains(live), "{live}");
    }
    let dead = |key: &String| !key.starts_with("on") && key != "href" && key != "src";
    assert!(plain.1.iter().all(dead), "{:?}", plain.1);
    for text in everything_hostile() {
        let page = render(&hostile(text), Format::Html, 80);
        let parsed = parse(&page);
        assert_eq!((&parsed.0, &parsed.1), (&plain.0, &plain.1), "{text:?}");
        assert!(!page.contains("http://x\"") && !page.contains("url("), "{text:?}");
    }
}

#[test]
fn a_number_and_its_unit_stay_together_and_foreign_text_as_it_came() {
    const NAME: &str = "logins 5 min";
    let model = model(&[Route::new(NAME, &[Fate::Seen(1.5); 20])], "within 95 %");
    let page = render(&model, Format::Html, 80);
    let (_, _, text) = parse(&page);
    for kept in ["95\u{a0}% log-log", "100\u{a0}% within 10\u{a0}s", "p50: 1.5\u{a0}s (limits"] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
    for foreign in ["Time to detect: within 95 %", "route logins 5 min at stage"] {
        assert!(text.contains(foreign), "{foreign} in {text}");
    }
    let ours = text.replace(NAME, "").replace("within 95 %", "");
    let parted = ["% ", "%)", "s ", "s)", "ms ", "min "].map(|unit| format!(" {unit}"));
    let apart = ours.match_indices(char::is_numeric).find_map(|(at, digit)| {
        let rest = &ours[at + digit.len()..];
        parted
            .iter()
            .any(|unit| rest.starts_with(unit))
            .then(|| rest[..8.min(rest.len())].to_owned())
    });
    assert_eq!(apart, None, "{ours}");
    for format in [Format::Text, Format::Json, Format::Csv, Format::Junit] {
        assert!(!render(&model, format, 80).contains('\u{a0}'), "{format:?}");
    }
}

#[test]
fn two_expectations_at_one_stage_are_told_apart() {
    let mut rows = super::ledger::rows(&[Route::new("ssh", &[Fate::Seen(5.0); 3])], "c");
    let Some(crate::ledger::Row::Run(run)) = rows.first_mut() else { panic!("no run") };
    let mut fast = run.routes[0].expectations[0].clone();
    fast.name = "fast".to_owned();
    fast.deadline_ns = 1_000_000_000;
    run.routes[0].expectations.push(fast);
    let model = super::ledger::model_of(&rows);
    let worst = "Worst: route ssh, expectation fast, at stage detected: 0 of 3 in time";
    let page = render(&model, Format::Html, 80);
    for words in ["<h3>ssh / detected</h3>", "<h3>ssh / fast (detected)</h3>", worst] {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert!(page.contains("route ssh not yet detected over time\""), "{page}");
    assert!(page.contains("route ssh not yet detected over time (expectation fast)\""), "{page}");
    let text = render(&model, Format::Text, 200);
    for words in ["ssh / detected: share", "ssh / fast (detected): share", worst] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn junit_stays_one_document_with_one_case_per_expectation() {
    for text in everything_hostile() {
        let page = render(&hostile(text), Format::Junit, 80);
        let (elements, _, _) = parse(&page);
        let ours = ["failure", "error", "testcase", "testsuite", "testsuites"];
        assert!(elements.iter().all(|e| ours.contains(&e.as_str())), "{text:?}: {elements:?}");
        assert_eq!(page.matches("<testcase ").count(), 2, "{text:?}");
    }
}

#[test]
fn no_csv_cell_starts_a_formula_and_no_row_is_torn() {
    for text in everything_hostile() {
        let model = hostile(text);
        let page = render(&model, Format::Csv, 80);
        let mut reader = csv::Reader::from_reader(page.as_bytes());
        let header = reader.headers().unwrap().clone();
        assert_eq!(header.len(), 19);
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), model.canaries.len());
        for (name, cell) in rows.iter().flat_map(|row| header.iter().zip(row.iter())) {
            let first = cell.trim_start().chars().next().unwrap_or('x');
            assert!(!"=+-@|%\t\r＝＋－＠".contains(first), "{name} of {text:?}: {cell:?}");
        }
    }
}

#[test]
fn a_canary_in_a_csv_is_no_number() {
    let model = model(&[Route::new("r", &[Fate::Seen(1.0); 10])], "c");
    let page = render(&model, Format::Csv, 80);
    let mut reader = csv::Reader::from_reader(page.as_bytes());
    let column = reader.headers().unwrap().iter().position(|name| name == "canary").unwrap();
    let rows: Vec<String> = reader.records().map(|r| r.unwrap()[column].to_owned()).collect();
    assert_eq!((rows[0].as_str(), rows[9].as_str()), ("c1.1", "c1.10"));
    assert!(rows.iter().all(|cell| cell.parse::<f64>().is_err()), "{rows:?}");
}

#[test]
fn an_empty_csv_has_the_same_header() {
    let header = |page: String| page.lines().next().unwrap_or_default().to_owned();
    let mut empty = model(&every_outcome(), "quickstart");
    let full = header(render(&empty, Format::Csv, 80));
    empty.canaries.clear();
    assert_eq!(header(render(&empty, Format::Csv, 80)), full);
}

#[test]
fn the_json_schema_is_current() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/schema/report.json");
    let now = format!("{:#}\n", schema());
    if std::env::var_os("DWELL_BLESS").is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == now, "stale: DWELL_BLESS=1 cargo test --lib report::tests");
}

/// Holds a document against its schema, followed through both: the names of every object's fields, and the
/// types of all values.
pub fn same_fields(
    root: &serde_json::Value,
    schema: &serde_json::Value,
    value: &serde_json::Value,
) {
    if let Some(to) = schema["$ref"].as_str() {
        return same_fields(root, &root["$defs"][to.trim_start_matches("#/$defs/")], value);
    }
    // Something or null: what is there is the other one.
    if let (Some(either), false) = (schema["anyOf"].as_array(), value.is_null()) {
        let other = either.iter().find(|s| s["type"] != "null").unwrap();
        return same_fields(root, other, value);
    }
    of_type(schema, value);
    match value {
        serde_json::Value::Array(items) => {
            let places = schema["prefixItems"].as_array();
            for (index, item) in items.iter().enumerate() {
                let of = places.map_or(&schema["items"], |places| &places[index]);
                same_fields(root, of, item);
            }
        }
        serde_json::Value::Object(fields) => {
            let Some(known) = schema["properties"].as_object() else { return };
            assert!(known.keys().eq(fields.keys()), "{known:?} against {fields:?}");
            fields.iter().for_each(|(name, field)| same_fields(root, &known[name], field));
        }
        _ => {}
    }
}

fn of_type(schema: &serde_json::Value, value: &serde_json::Value) {
    let known: Vec<&str> = match &schema["type"] {
        serde_json::Value::String(one) => vec![one],
        serde_json::Value::Array(several) => several.iter().filter_map(|t| t.as_str()).collect(),
        _ => return,
    };
    let found: &[&str] = match value {
        serde_json::Value::Null => &["null"],
        serde_json::Value::Bool(_) => &["boolean"],
        serde_json::Value::Number(n) if n.is_f64() => &["number"],
        serde_json::Value::Number(_) => &["integer", "number"],
        serde_json::Value::String(_) => &["string"],
        serde_json::Value::Array(_) => &["array"],
        serde_json::Value::Object(_) => &["object"],
    };
    assert!(found.iter().any(|t| known.contains(t)), "{value} is none of {known:?}");
}

#[test]
fn the_schema_names_every_field_of_the_document() {
    let page = render(&model(&every_outcome(), "quickstart"), Format::Json, 80);
    let value: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(value["format"], crate::report::model::FORMAT);
    assert!(value["misses"].as_array().is_some_and(|m| m.len() == 8));
    same_fields(&schema(), &schema(), &value);
}

/// A reader that has gone away.
struct Gone;

impl std::io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_csv_whose_reader_has_gone_says_that_it_has() {
    let model = model(&[Route::new("many", &[Fate::Silent; 1_000])], "quickstart");
    let mut gone = Gone;
    let mut table = crate::report::tabular::CsvTable::new(&mut gone);
    let row = model.canaries.first().expect("a canary");
    let error = (0..1_000).find_map(|_| table.row(row).err()).expect("more than a buffer");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

/// A phone shows the first columns of a wide table: whether it was met, and how fast.
#[test]
fn what_a_phone_shows_of_a_route_is_its_result_and_its_times() {
    let page = render(&model(&every_outcome(), "quickstart"), Format::Html, 80);
    let head = page.split("<h2>Routes</h2>").nth(1).unwrap().split("</thead>").next().unwrap();
    let at = |name: &str| head.find(name).unwrap_or_else(|| panic!("{head}"));
    let places = ["Route", "Result", "Median time", "In time", "Objective"].map(at);
    assert!(places.is_sorted(), "{head}");
}
