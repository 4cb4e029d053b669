//! How a product is asked for its records: a request template, and where the answer has what.
//!
//! ```text
//! [poll]
//! method  = "GET" | "POST"
//! path    = "/{{ index }}/_search"             below the configured URL
//! query   = { after = "{{ after }}" }          values that render empty are left out
//! body    = '{"size": {{ size }}}'             POST only
//! headers = { kbn-xsrf = "true" }              never credentials: those belong to the configuration
//! records = "/hits/hits"                       JSON pointer to the list of records
//! size    = 500                                records a page
//! paging  = { type = "none" | "from-size" | "search-after", at | "cursor", at | "next-link", at }
//! vars    = { index = "logs-*" }               defaults of the configuration's `vars`
//! needed  = ["index"]                          vars that must not be empty
//! [poll.whole]                                 values that the answer must have to be complete
//! "/timed_out" = false
//! ```
//!
//! Variables: `from` and `to` as RFC 3339, `from_s`, `from_ms`, `from_ns` and the same of `to`;
//! `size`, `page` (from 0), `offset` (page x size), `after` (what the last page said, or empty);
//! the vars. With `search-after`, `at` names the last record's sort values, a list, and so `after` is one.
//! An unknown variable is an error when the dialect is loaded, not at the first poll.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, context};
use serde::Deserialize;
use serde_json::Value;

use super::PartsError;
use super::parts::{json_values, take};
use super::spec::pointer;

/// Instructions that one template may use.
const FUEL: u64 = 50_000;

/// HTTP method of a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub enum Method {
    /// GET.
    #[serde(rename = "GET")]
    Get,
    /// POST: a search with a body. It changes nothing at the target.
    #[serde(rename = "POST")]
    Post,
}

/// How further pages are asked for. All strings are JSON pointers.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Paging {
    /// One page is all.
    None {},
    /// `offset` grows until a page is not full.
    FromSize {},
    /// `after` is what the last record was sorted by, until a page is not full.
    SearchAfter {
        /// In the record: `/sort`, a list.
        at: String,
    },
    /// `after` is a value of the answer, until it is absent.
    Cursor {
        /// In the answer: `/next`.
        at: String,
    },
    /// The answer holds the next page's URL, until it is absent. Only the configured origin is asked.
    NextLink {
        /// In the answer: `/links/next`.
        at: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRequest {
    method: Method,
    path: String,
    #[serde(default)]
    query: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    records: String,
    #[serde(default = "default_size")]
    size: u32,
    paging: Paging,
    #[serde(default)]
    vars: BTreeMap<String, String>,
    #[serde(default)]
    needed: Vec<String>,
    #[serde(default)]
    whole: BTreeMap<String, Value>,
}

fn default_size() -> u32 {
    500
}

/// A checked request template. See the module's text.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// Header names and values that the product wants.
    pub headers: BTreeMap<String, String>,
    /// Records a page.
    pub size: u32,
    /// How further pages are asked for.
    pub paging: Paging,
    /// Defaults of the vars.
    pub vars: BTreeMap<String, String>,
    /// Vars that must not be empty.
    pub needed: Vec<String>,
    path: String,
    query: BTreeMap<String, String>,
    body: Option<String>,
    records: String,
    whole: BTreeMap<String, Value>,
}

/// What is asked for in one look.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Wanted {
    /// Records from this instant on, wall nanoseconds.
    pub from_ns: i64,
    /// The present instant, wall nanoseconds.
    pub to_ns: i64,
    /// The configuration's vars; they override the dialect's defaults.
    pub vars: BTreeMap<String, String>,
}

/// Which page is asked for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Page {
    /// From 0.
    pub number: u32,
    /// What the page before said (search-after and cursor).
    pub after: Option<Value>,
    /// The URL that the page before named.
    pub link: Option<String>,
}

/// One HTTP request, rendered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Path below the configured URL, with a leading slash.
    pub path: String,
    /// Query parameters, not yet encoded.
    pub query: Vec<(String, String)>,
    /// Body of a POST.
    pub body: Option<String>,
    /// A whole URL that the page before named; replaces path and query.
    pub link: Option<String>,
}

/// Why a request cannot be made or an answer cannot be read. Texts may be foreign.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A template fails.
    #[error("template of {part}: {reason}")]
    Template {
        /// Which template.
        part: String,
        /// Why.
        reason: String,
    },
    /// The answer is no JSON, or has no records where they should be.
    #[error("the answer is unreadable: {0}")]
    Unreadable(PartsError),
    /// The answer says itself that it is not whole.
    #[error("the answer is not whole: {pointer} is {found}, expected {wanted}")]
    NotWhole {
        /// Where.
        pointer: String,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: String,
    },
    /// A full page's last record has no list of sort values: nobody knows where the next page begins.
    #[error(
        "the last record of a full page has {found} at paging.at {pointer}, and no list of sort values: \
         correct `paging.at` of the dialect, or its `paging`"
    )]
    NoSortValues {
        /// Where it should be.
        pointer: String,
        /// What is there.
        found: String,
    },
    /// The next page would be this one again.
    #[error(
        "paging does not advance: the next page would be this one again; where records share what \
         they are sorted by, make the dialect's `size` larger than their number"
    )]
    Endless,
}

impl Request {
    pub(super) fn check(raw: RawRequest) -> Result<Request, String> {
        let request = Request {
            method: raw.method,
            headers: raw.headers,
            size: raw.size,
            paging: raw.paging,
            vars: raw.vars,
            needed: raw.needed,
            path: raw.path,
            query: raw.query,
            body: raw.body,
            records: raw.records,
            whole: raw.whole,
        };
        pointer(&request.records)?;
        request.whole.keys().try_for_each(|p| pointer(p))?;
        match &request.paging {
            Paging::SearchAfter { at } | Paging::Cursor { at } | Paging::NextLink { at } => {
                pointer(at)?;
            }
            Paging::None {} | Paging::FromSize {} => {}
        }
        if request.size == 0 || request.size > 10_000 {
            return Err(format!("poll.size is {}; use 1 to 10000", request.size));
        }
        if request.method == Method::Get && request.body.is_some() {
            return Err("poll.body needs method \"POST\"".to_owned());
        }
        for name in request.headers.keys() {
            let lower = name.to_ascii_lowercase();
            if lower == "authorization" || lower == "cookie" || lower.contains("token") {
                return Err(format!("poll.headers.{name}: credentials belong to `auth`"));
            }
        }
        let after = match request.paging {
            Paging::SearchAfter { .. } => Value::from(vec![0, 0]),
            _ => Value::from("x"),
        };
        for page in [Page::default(), Page { number: 1, after: Some(after), link: None }] {
            let ask = request.ask(&Wanted::default(), &page).map_err(|e| format!("poll: {e}"))?;
            if !ask.path.starts_with('/') {
                return Err(format!("poll.path is {:?}; it starts with a slash", ask.path));
            }
            let body = ask.body.as_deref().unwrap_or("{}");
            serde_json::from_str::<Value>(body)
                .map_err(|e| format!("poll.body renders to something that is not JSON: {e}"))?;
        }
        Ok(request)
    }

    /// Renders the request of one page.
    pub fn ask(&self, wanted: &Wanted, page: &Page) -> Result<Ask, RequestError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        let known = self.context(wanted, page);
        let render = |part: &str, source: &str| {
            environment.render_str(source, &known).map_err(|e| RequestError::Template {
                part: part.to_owned(),
                reason: format!("{e:#}"),
            })
        };
        let mut query = Vec::new();
        for (name, source) in &self.query {
            let value = render(&format!("query.{name}"), source)?;
            if !value.is_empty() {
                query.push((name.clone(), value));
            }
        }
        Ok(Ask {
            path: render("path", &self.path)?,
            query,
            body: self.body.as_ref().map(|source| render("body", source)).transpose()?,
            link: page.link.clone(),
        })
    }

    /// Refuses vars with which the path would lead elsewhere: URLs resolve `..` before they are asked.
    pub fn check_path(&self, vars: &BTreeMap<String, String>) -> Result<(), String> {
        let wanted = Wanted { vars: vars.clone(), ..Wanted::default() };
        let ask = self.ask(&wanted, &Page::default()).map_err(|e| e.to_string())?;
        let climbs = |segment: &str| {
            let plain = segment.to_ascii_lowercase().replace("%2e", ".");
            plain == "." || plain == ".."
        };
        // What URLs take for a slash.
        if ask.path.split(['/', '\\']).any(climbs) {
            return Err(format!("{:?} climbs out of its path; write names alone", ask.path));
        }
        Ok(())
    }

    fn context(&self, wanted: &Wanted, page: &Page) -> minijinja::Value {
        let mut vars = self.vars.clone();
        vars.extend(wanted.vars.clone());
        let rfc = |ns: i64| {
            jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default().to_string()
        };
        let after = page.after.clone().unwrap_or_else(|| Value::String(String::new()));
        let (from, to) = (wanted.from_ns, wanted.to_ns);
        context! {
            from => rfc(from), from_ns => from,
            from_ms => from.div_euclid(1_000_000), from_s => from.div_euclid(1_000_000_000),
            to => rfc(to), to_ns => to,
            to_ms => to.div_euclid(1_000_000), to_s => to.div_euclid(1_000_000_000),
            size => self.size, page => page.number,
            offset => u64::from(page.number) * u64::from(self.size),
            after => serde_json::from_value::<minijinja::Value>(after).unwrap_or_default(),
            ..minijinja::Value::from_pairs(vars)
        }
    }

    /// Reads an answer: its records, and the page to ask for next, if any.
    pub fn answer(
        &self,
        page: &Page,
        body: &[u8],
    ) -> Result<(Vec<Value>, Option<Page>), RequestError> {
        let mut values = json_values(body).map_err(RequestError::Unreadable)?;
        let mut answer = match (values.pop(), values.is_empty()) {
            (Some(answer), true) => answer,
            _ => {
                let reason = "more than one JSON value".to_owned();
                return Err(RequestError::Unreadable(PartsError::NotJson { reason }));
            }
        };
        for (pointer, wanted) in &self.whole {
            // Absent is fine: older versions do not say it.
            if let Some(found) = answer.pointer(pointer).filter(|found| *found != wanted) {
                return Err(RequestError::NotWhole {
                    pointer: pointer.clone(),
                    found: found.to_string().chars().take(100).collect(),
                    wanted: wanted.to_string(),
                });
            }
        }
        let said = match &self.paging {
            Paging::Cursor { at } | Paging::NextLink { at } => {
                answer.pointer_mut(at).map(Value::take).filter(|v| !v.is_null() && v != "")
            }
            _ => None,
        };
        let Some(Value::Array(records)) = take(std::mem::take(&mut answer), &self.records) else {
            let pointer = self.records.clone();
            return Err(RequestError::Unreadable(PartsError::NoRecords { pointer }));
        };
        let next = self.next(page, &records, said)?;
        Ok((records, next))
    }

    fn next(
        &self,
        page: &Page,
        records: &[Value],
        said: Option<Value>,
    ) -> Result<Option<Page>, RequestError> {
        let full = records.len() >= self.size as usize;
        let mut next = Page { number: page.number + 1, after: None, link: None };
        match &self.paging {
            Paging::None {} => return Ok(None),
            Paging::FromSize {} => return Ok(full.then_some(next)),
            Paging::SearchAfter { at } => {
                if !full {
                    return Ok(None);
                }
                next.after = Some(sort_values(at, records.last())?);
            }
            Paging::Cursor { .. } => next.after = said,
            Paging::NextLink { .. } => next.link = said.and_then(|v| v.as_str().map(str::to_owned)),
        }
        if next.after.is_none() && next.link.is_none() {
            return Ok(None);
        }
        if next.after == page.after && next.link == page.link {
            return Err(RequestError::Endless);
        }
        Ok(Some(next))
    }
}

/// What the last record of a page was sorted by.
fn sort_values(at: &str, last: Option<&Value>) -> Result<Value, RequestError> {
    let found = last.and_then(|record| record.pointer(at));
    let list = found.filter(|value| value.as_array().is_some_and(|values| !values.is_empty()));
    list.cloned().ok_or_else(|| RequestError::NoSortValues {
        pointer: at.to_owned(),
        found: match found {
            Some(value) => value.to_string().chars().take(100).collect(),
            None => "nothing".to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::Dialects;

    fn request(dialect: &str) -> Request {
        Dialects::embedded().unwrap().get(dialect).unwrap().request.clone().unwrap()
    }

    #[test]
    fn a_search_body_is_json_with_its_vars() {
        let mut wanted = Wanted { from_ns: 1_795_511_101_250_000_000, ..Wanted::default() };
        wanted.vars.insert("index".into(), "logs-lab".into());
        wanted.vars.insert("filter".into(), "user.name:\"a b\"".into());
        let ask = request("opensearch").ask(&wanted, &Page::default()).unwrap();
        assert_eq!(ask.path, "/logs-lab/_search");
        let body: Value = serde_json::from_str(&ask.body.unwrap()).unwrap();
        assert!(body.get("from").is_none() && body.get("search_after").is_none());
        let filter = &body["query"]["bool"]["filter"];
        assert_eq!(filter[0]["range"]["@timestamp"]["gte"], 1_795_511_101_250_i64);
        assert_eq!(filter[1]["query_string"]["query"], "user.name:\"a b\"");
    }

    #[test]
    fn empty_query_parameters_are_left_out() {
        let request = request("reference-detector-search");
        let wanted = Wanted { from_ns: 5, ..Wanted::default() };
        let ask = request.ask(&wanted, &Page::default()).unwrap();
        assert_eq!(
            ask.query,
            [("from_ns".to_owned(), "5".to_owned()), ("limit".to_owned(), "500".to_owned())]
        );
        let second = Page { number: 1, after: Some(Value::from("c 1")), link: None };
        let ask = request.ask(&wanted, &second).unwrap();
        assert!(ask.query.contains(&("after".to_owned(), "c 1".to_owned())));
    }

    #[test]
    fn pages_end() {
        let detector = request("reference-detector-search");
        let (records, next) =
            detector.answer(&Page::default(), br#"{"records":[{"id":"1"}],"next":"c"}"#).unwrap();
        let next = next.unwrap();
        assert_eq!((records.len(), next.after.clone()), (1, Some(Value::from("c"))));
        assert_eq!(
            detector.answer(&next, br#"{"records":[],"next":"c"}"#).unwrap_err(),
            RequestError::Endless
        );
        assert_eq!(detector.answer(&next, br#"{"records":[],"next":null}"#).unwrap().1, None);
        let search = request("opensearch");
        let (_, next) = search.answer(&Page::default(), br#"{"hits":{"hits":[{}]}}"#).unwrap();
        assert_eq!(next, None);
    }

    #[test]
    fn no_var_leads_the_path_elsewhere() {
        let path = |index: &str| {
            let vars = [("index".to_owned(), index.to_owned())];
            request("opensearch").check_path(&vars.into())
        };
        for fine in ["logs-*", "a,b", ".ds-logs..x", "%3Clogs-%7Bnow%2Fd%7D%3E", "..."] {
            assert!(path(fine).is_ok(), "{fine}");
        }
        for elsewhere in ["../_cluster/settings", "a/../..", "%2E%2e/x", "..\\x", ".", ".."] {
            assert!(path(elsewhere).unwrap_err().contains("climbs"), "{elsewhere}");
        }
    }

    /// Ties over shards are repeated, never skipped, and offsets play no part.
    #[test]
    fn a_search_goes_on_from_what_the_last_hit_was_sorted_by() {
        for dialect in ["opensearch", "elastalert2-index"] {
            let mut search = request(dialect);
            search.size = 2;
            let time = 1_795_511_101_123_456_789_i64;
            let answer =
                format!(r#"{{"hits":{{"hits":[{{"sort":[5,1]}},{{"sort":[{time},7]}}]}}}}"#);
            let (_, next) = search.answer(&Page::default(), answer.as_bytes()).unwrap();
            let mut wanted = Wanted::default();
            wanted.vars.insert("index".into(), "logs".into());
            let ask = search.ask(&wanted, next.as_ref().unwrap()).unwrap();
            let body: Value = serde_json::from_str(&ask.body.unwrap()).unwrap();
            assert_eq!(body["search_after"], serde_json::json!([time, 6]), "{dialect}");
            assert_eq!(body["sort"][1], serde_json::json!({"_seq_no": "asc"}));
            let again = search.answer(next.as_ref().unwrap(), answer.as_bytes());
            assert_eq!(again.unwrap_err(), RequestError::Endless, "a whole page of ties");
        }
    }

    #[test]
    fn a_full_page_without_sort_values_is_no_end() {
        let mut search = request("opensearch");
        search.size = 1;
        for (hit, found) in
            [(r#"{"sort":5}"#, "5"), (r#"{"sort":[]}"#, "[]"), (r#"{"_id":"a"}"#, "nothing")]
        {
            let answer = format!(r#"{{"hits":{{"hits":[{hit}]}}}}"#);
            let told = search.answer(&Page::default(), answer.as_bytes()).unwrap_err().to_string();
            assert!(told.contains(&format!("has {found} at paging.at /sort")), "{told}");
        }
        let empty = search.answer(&Page::default(), br#"{"hits":{"hits":[]}}"#).unwrap();
        assert_eq!(empty, (Vec::new(), None));
    }

    #[test]
    fn answers_that_are_not_whole_are_refused() {
        let search = request("opensearch");
        let refuse = |body: &str| search.answer(&Page::default(), body.as_bytes()).unwrap_err();
        assert!(matches!(
            refuse(r#"{"timed_out":true,"hits":{"hits":[]}}"#),
            RequestError::NotWhole { .. }
        ));
        assert!(matches!(
            refuse(r#"{"_shards":{"failed":1},"hits":{"hits":[]}}"#),
            RequestError::NotWhole { .. }
        ));
        assert!(matches!(refuse("<html>login</html>"), RequestError::Unreadable(_)));
        assert!(matches!(refuse(r#"{"hits":{"hits":[{"#), RequestError::Unreadable(_)));
        assert!(matches!(refuse(r#"{"error":"x"}"#), RequestError::Unreadable(_)));
    }
}
