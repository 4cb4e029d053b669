//! Foreign text made inert: the only place that opens it, once per output format.
//!
//! Foreign is everything that came from a target, a SIEM, an alert or a reply: rule names, reasons,
//! excerpts. What comes out cannot move a cursor, start a tag, a formula or an entity, hide behind
//! bidirectional or zero-width characters, or break a line.

/// Control, bidirectional and invisible characters: what a reader would not see. So are the code points
/// that Unicode keeps from ever being characters, two of which no XML document may hold.
fn hidden(c: char) -> bool {
    c.is_control()
        || u32::from(c) & 0xfffe == 0xfffe
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Hidden characters become visible code points: `\u{202e}`.
fn visible(text: &str, out: &mut String, mut plain: impl FnMut(char, &mut String)) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if hidden(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            _ => plain(c, out),
        }
    }
}

/// For a terminal or a log line: one line, nothing that a terminal would obey.
pub fn terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    visible(text, &mut out, |c, out| out.push(c));
    out
}

/// For a message of several lines: line ends and tabs stay, everything else that hides or moves is
/// made visible.
pub fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            _ if hidden(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

/// For HTML text and quoted attribute values. A space behind a digit is written as a reference, so that
/// what joins our numbers with their units leaves foreign ones alone.
pub fn html(text: &str) -> String {
    // What stands before it is not known and may be a digit.
    let mut before = '0';
    html_with(text, |c| std::mem::replace(&mut before, c).is_ascii_digit() && c == ' ')
}

/// The same for a sentence of ours that holds no foreign text.
pub(super) fn html_of_ours(text: &str) -> String {
    html_with(text, |_| false)
}

fn html_with(text: &str, mut referred: impl FnMut(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    visible(text, &mut out, |c, out| match c {
        _ if referred(c) => out.push_str("&#32;"),
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        other => out.push(other),
    });
    out
}

/// For a text cell of a CSV file that somebody may open in a spreadsheet: what would start a formula
/// gets an apostrophe in front. Quoting is left to the CSV writer.
pub fn csv(text: &str) -> String {
    let plain = terminal(text);
    // Spreadsheets trim blanks first, and take full-width signs too.
    let risky = plain.trim_start().starts_with([
        '=', '+', '-', '@', '|', '%', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    if risky || plain.starts_with("\\t") || plain.starts_with("\\r") {
        format!("'{plain}")
    } else {
        plain
    }
}

/// For a JSON document as a whole: hidden characters become JSON escapes, so that the values stay as
/// they are and a terminal that shows the document has nothing to obey.
pub fn json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        // Between values a document holds line feeds; within them JSON has escaped those already.
        if c != '\n' && hidden(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What attackers put into a user name or a rule's title.
    pub const HOSTILE: [&str; 13] = [
        "<script>alert(1)</script>",
        "\" onmouseover=\"x",
        "'><img src=x onerror=x>",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{1b}]8;;http://x\u{1b}\\link",
        "=HYPERLINK(\"http://x\")",
        "  +1+1",
        "-2+3",
        "@SUM(A1)",
        "line\r\nbreak\0nul",
        "safe\u{202e}txt.exe\u{200b}",
        "&amp;&#60;",
        "no\u{fffe}character\u{ffff}\u{1fffe}\u{fdd0}",
    ];

    #[test]
    fn hostile_text_is_inert_everywhere() {
        for text in HOSTILE {
            let line = terminal(text);
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(!line.contains(['\u{202e}', '\u{200b}']));
            let page = html(text);
            assert!(!page.contains(['<', '>', '"', '\'']), "{page}");
            let cell = csv(text);
            assert!(!cell.trim_start().starts_with(['=', '+', '-', '@']), "{cell}");
        }
    }

    #[test]
    fn json_keeps_its_values_and_hides_nothing() {
        for text in HOSTILE.into_iter().chain(["\u{9b}2J\u{7f}\u{e0041}\u{feff}"]) {
            let value = serde_json::json!({ "a": [text], "b": "plain" });
            let document = json(&format!("{value:#}"));
            assert!(!document.chars().any(|c| c != '\n' && hidden(c)), "{document:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&document).unwrap(), value);
        }
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in ["SSH brute force", "Ünïcödé 规则", "a-b", "5710"] {
            assert_eq!((terminal(text), csv(text)), (text.to_owned(), text.to_owned()));
        }
    }
}
