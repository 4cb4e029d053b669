//! What an answer of the `_bulk` interface means for the one document that was sent. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::receipt::InjectError;

/// How much of a foreign text is kept.
const QUOTE_MOST: usize = 300;

#[derive(Deserialize)]
struct BulkAnswer {
    items: Vec<std::collections::BTreeMap<String, Item>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(rename = "_index")]
    index: Option<String>,
    #[serde(rename = "_id")]
    id: Option<String>,
    error: Option<Value>,
    failure_store: Option<String>,
}

/// Decides; `body` is `None` when the answer was longer than what is read. Gives the place
/// `index/id` of the document where the server names one. `own_id` says that the document's id is
/// made from its content, so that "exists already" means that this very document is there.
pub fn judge(
    status: u16,
    retry_after: Option<&str>,
    body: Option<&Vec<u8>>,
    own_id: bool,
) -> Result<Option<String>, InjectError> {
    if status != 200 {
        return Err(refused(status, retry_after, body));
    }
    let Some(body) = body else {
        return Err(InjectError::unknown(
            "the answer is longer than any answer about one document",
        ));
    };
    let answer: BulkAnswer = serde_json::from_slice(body).map_err(|_| {
        InjectError::unknown(format!(
            "the answer is not that of a bulk interface ({}); is something between us and the server?",
            describe(body)
        ))
    })?;
    let item = match &answer.items[..] {
        [only] if only.len() == 1 => only.values().next(),
        _ => None,
    };
    let Some(item) = item else {
        let count = answer.items.len();
        return Err(InjectError::unknown(format!(
            "the answer speaks of {count} documents, not of one"
        )));
    };
    judge_item(item, own_id)
}

fn judge_item(item: &Item, own_id: bool) -> Result<Option<String>, InjectError> {
    let place = match (&item.index, &item.id) {
        (Some(index), Some(id)) => Some(format!("{index}/{id}")),
        _ => None,
    };
    let why = item.error.as_ref().map(reason).unwrap_or_default();
    match item.status {
        200 | 201 if item.error.is_some() => {
            Err(InjectError::unknown(format!("accepted with an error: {why}")))
        }
        200 | 201 if item.failure_store.as_deref() == Some("used") => Err(InjectError::rejected(
            "the document went to the failure store, not into the stream; look at its pipeline and mapping",
        )),
        200 | 201 => Ok(place),
        409 if own_id => Ok(place),
        409 => Err(InjectError::rejected(format!("a document with this id exists already: {why}"))),
        429 => {
            Err(InjectError::rejected(format!("the server is overloaded (429): {why}; try later")))
        }
        status if status >= 500 => Err(InjectError::unknown(format!(
            "the server failed on the document ({status}): {why}"
        ))),
        status => Err(InjectError::rejected(format!("the document was refused ({status}): {why}"))),
    }
}

fn refused(status: u16, retry_after: Option<&str>, body: Option<&Vec<u8>>) -> InjectError {
    let said = body.map(|body| describe(body)).unwrap_or_default();
    let when = retry_after.map(|text| format!(" after {text}")).unwrap_or_default();
    match status {
        401 => {
            InjectError::ours(format!("the credentials are refused (401): {said}; look at `auth`"))
        }
        403 => InjectError::ours(format!("the credentials do not allow it (403): {said}")),
        404 => InjectError::rejected(format!("no such index or interface (404): {said}")),
        413 => InjectError::rejected("the event is too large for the server (413)"),
        429 => InjectError::rejected(format!("the server is overloaded (429); try again{when}")),
        // The one 5xx that servers send before they look at the request.
        503 => InjectError::unknown(format!(
            "the server is unavailable (503); try again{when}: {said}"
        )),
        300..=399 => InjectError::ours(format!(
            "the server redirects ({status}); redirects are not followed, so correct `url`"
        )),
        400..=499 => InjectError::rejected(format!("the request was refused ({status}): {said}")),
        _ => InjectError::unknown(format!("the server answered {status}: {said}")),
    }
}

/// The server's reason: innermost cause first, since that one names the field.
fn reason(error: &Value) -> String {
    let text = |value: &Value| {
        let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
        let reason = value.get("reason").and_then(Value::as_str).unwrap_or_default();
        format!("{kind}: {reason}")
    };
    let mut out = text(error);
    if let Some(inner) = error.get("caused_by") {
        out.push_str("; ");
        out.push_str(&text(inner));
    }
    out.chars().take(QUOTE_MOST).collect()
}

/// A foreign answer in a few words.
fn describe(body: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return value.get("error").map_or_else(
            || "JSON without an error".to_owned(),
            |error| {
                error
                    .as_str()
                    .map_or_else(|| reason(error), |text| text.chars().take(QUOTE_MOST).collect())
            },
        );
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTE_MOST)]);
    let kind = text.trim_start().to_ascii_lowercase();
    if kind.starts_with("<!doctype html") || kind.starts_with("<html") {
        return "an HTML page".to_owned();
    }
    if text.is_empty() { "an empty answer".to_owned() } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str, own_id: bool) -> Result<Option<String>, InjectError> {
        judge(status, Some("30"), Some(&body.as_bytes().to_vec()), own_id)
    }

    fn item(inner: &str) -> String {
        format!("{{\"took\":1,\"errors\":true,\"items\":[{{\"create\":{{{inner}}}}}]}}")
    }

    #[test]
    fn accepted_answers() {
        let body = item(r#""_index":".ds-logs","_id":"x","status":201,"failure_store":"not_used""#);
        assert_eq!(judged(200, &body, false).unwrap().as_deref(), Some(".ds-logs/x"));
        let exists = item(
            r#""status":409,"error":{"type":"version_conflict_engine_exception","reason":"r"}"#,
        );
        assert_eq!(judged(200, &exists, true).unwrap(), None);
        assert!(matches!(judged(200, &exists, false), Err(InjectError::Rejected { .. })));
    }

    #[test]
    fn a_two_hundred_with_an_error_inside_is_a_rejection_that_names_the_field() {
        let body = item(
            r#""status":400,"error":{"type":"document_parsing_exception","reason":"bad","caused_by":{"type":"x","reason":"field [user]"}}"#,
        );
        let error = judged(200, &body, false).unwrap_err();
        assert!(matches!(error, InjectError::Rejected { .. }), "{error}");
        assert!(error.to_string().contains("field [user]"), "{error}");
    }

    #[test]
    fn rejected_and_unknown_are_told_apart() {
        let rejected = [
            (
                200,
                item(
                    r#""status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue"}"#,
                ),
            ),
            (200, item(r#""status":201,"failure_store":"used""#)),
            (301, String::new()),
            (400, "{\"error\":\"no\"}".to_owned()),
            (401, "<html>".to_owned()),
            (403, String::new()),
            (404, String::new()),
            (413, String::new()),
            (429, String::new()),
        ];
        for (status, body) in rejected {
            let error = judged(status, &body, false).unwrap_err();
            assert!(matches!(error, InjectError::Rejected { .. }), "{status} {body}: {error}");
        }
        let unknown = [
            (200, "<!DOCTYPE html><h1>login</h1>".to_owned()),
            (200, String::new()),
            (200, "{\"items\":[]}".to_owned()),
            (
                200,
                "{\"items\":[{\"create\":{\"status\":201}},{\"create\":{\"status\":201}}]}"
                    .to_owned(),
            ),
            (200, "{\"items\":[{\"create\":{\"status\":2".to_owned()),
            (
                200,
                item(
                    r#""status":503,"error":{"type":"unavailable_shards_exception","reason":"r"}"#,
                ),
            ),
            (204, String::new()),
            (500, String::new()),
            (502, "<html>bad gateway</html>".to_owned()),
            (503, String::new()),
        ];
        for (status, body) in unknown {
            let error = judged(status, &body, false).unwrap_err();
            assert!(matches!(error, InjectError::Unknown { .. }), "{status} {body}: {error}");
        }
        assert!(matches!(judge(200, None, None, false), Err(InjectError::Unknown { .. })));
        assert!(judged(429, "", false).unwrap_err().to_string().contains("after 30"));
    }
}
