//! A number stays with its unit: a line that ends in "95" and begins with "%" is read twice.
//!
//! One pass at the end over what stands between tags puts a space that does not break where ours stands
//! between a digit and a unit; other formats keep theirs. Foreign text is not touched:
//! [`crate::report::escape::html`] writes its spaces behind digits as references, which this pass does not
//! see. In a sentence of ours that holds foreign names, [`Names`] says which part is which.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::report::escape;

/// The units of `report::words`.
const UNITS: [&str; 8] = ["%", "ns", "µs", "ms", "s", "min", "h", "days"];
const KEPT: char = '\u{a0}';

/// Puts numbers and units of a whole page together.
pub(in crate::report) fn together(page: &str) -> String {
    let mut out = String::with_capacity(page.len() + page.len() / 64);
    let mut in_tag = false;
    let mut before = ' ';
    for (at, c) in page.char_indices() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ => {}
        }
        let parted = c == ' ' && !in_tag && before.is_ascii_digit() && begins_unit(&page[at + 1..]);
        out.push(if parted { KEPT } else { c });
        before = c;
    }
    out
}

fn begins_unit(rest: &str) -> bool {
    UNITS.iter().any(|unit| {
        rest.strip_prefix(unit).is_some_and(|after| !after.starts_with(char::is_alphanumeric))
    })
}

/// The foreign names that may stand in sentences of ours.
pub(in crate::report) struct Names(Option<AhoCorasick>);

impl Names {
    pub(in crate::report) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
        let names = names.into_iter().filter(|name| !name.is_empty());
        // More than it can hold are as good as none: then a sentence is foreign as a whole.
        Names(AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(names).ok())
    }

    /// A sentence of ours as HTML text: what it holds of these names stays as it came.
    pub(in crate::report) fn safe(&self, sentence: &str) -> String {
        let Some(names) = &self.0 else { return escape::html(sentence) };
        let mut out = String::with_capacity(sentence.len());
        let mut from = 0;
        for name in names.find_iter(sentence) {
            out.push_str(&escape::html_of_ours(&sentence[from..name.start()]));
            out.push_str(&escape::html(&sentence[name.range()]));
            from = name.end();
        }
        out.push_str(&escape::html_of_ours(&sentence[from..]));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_with_its_unit_and_foreign_text_as_it_came() {
        let names = Names::new(["ssh 5 min", "5"]);
        let sentence = "route ssh 5 min: 95 % within 23.1 ms, 5 %, 3 minutes, 4 x";
        let page = together(&format!("<p title=\"9 s\">{}</p>", names.safe(sentence)));
        assert_eq!(
            page,
            "<p title=\"9 s\">route ssh 5&#32;min: 95\u{a0}% within 23.1\u{a0}ms, 5\u{a0}%, 3 minutes, 4 x</p>"
        );
        assert_eq!(together(&escape::html("took 5 min")), "took 5&#32;min");
    }
}
