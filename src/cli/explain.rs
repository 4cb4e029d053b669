//! `dwell explain CANARY`: the whole story of one canary, from its plan to where it stopped.

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::receipt::Cause;
use dwell_injectors::token::{Epoch, KeyRing, Recognition, TokenId};

use super::Global;
use crate::config;
use crate::dispatch::outcome::{Dated, Interval};
use crate::dispatch::story::{self, Decided, Seen, SentEvent, Sources, Story};
use crate::exit::{Exit, Failure};
use crate::ledger::{EventResult, Reader};
use crate::report::escape::terminal;
use crate::report::words::duration;

/// Arguments of `dwell explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The canary: its token in any form, a text that holds it, or EPOCH.SERIAL as reports print it.
    canary: String,
    /// Look at the ledger as it was at this instant (RFC 3339); by default at its last row.
    #[arg(long, value_name = "TIME")]
    as_of: Option<jiff::Timestamp>,
}

/// Runs `dwell explain`.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let config = config::load_for_reading(&global.config)?;
    let keys = KeyRing::load(&config.key).map_err(super::key::failed);
    // Only a token needs the key.
    let (canary, keys) = match numbered(&args.canary) {
        Some(canary) => (canary, keys.ok()),
        None => {
            let keys = keys?;
            (recognised(&args.canary, &keys)?, Some(keys))
        }
    };
    super::ledger::must_be_recorded(&config.ledger)?;
    let catalogue = Catalogue::load(&config.recipe_folders)
        .map_err(|error| Failure::User(error.to_string()))?;
    let as_of = args.as_of.map(super::report::cut_ns).transpose()?;
    let reader = Reader::open(&config.ledger)?;
    let fold = story::fold(&reader, canary, as_of)?;
    let sources =
        Sources { reader: &reader, fold: &fold, catalogue: &catalogue, keys: keys.as_ref() };
    let Some(story) = story::tell(&sources, canary)? else {
        return Err(Failure::User(format!(
            "canary {canary} is not in ledger {}; was it injected from another machine?",
            config.ledger.display()
        )));
    };
    if global.json {
        let value = serde_json::to_value(&story)
            .map_err(|e| Failure::Bug(format!("a story is no JSON: {e}")))?;
        return super::put_json(&value);
    }
    super::put(text(&story).as_bytes())
}

/// `EPOCH.SERIAL`, or the same with the letter that a CSV puts before it.
fn numbered(text: &str) -> Option<TokenId> {
    let text = text.trim();
    let (epoch, serial) = text.strip_prefix('c').unwrap_or(text).split_once('.')?;
    Some(TokenId { epoch: Epoch(epoch.parse().ok()?), serial: serial.parse().ok()? })
}

fn recognised(text: &str, keys: &KeyRing) -> Result<TokenId, Failure> {
    match keys.recognise(text) {
        Recognition::Ours(id) => Ok(id),
        Recognition::Forged => Err(Failure::User(
            "this looks like a token, but its tag is wrong: it is not ours".to_owned(),
        )),
        Recognition::None => Err(Failure::User(
            "there is no token in this text; give a token, or EPOCH.SERIAL as reports print it"
                .to_owned(),
        )),
    }
}

fn text(story: &Story) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        out.push_str(&format!("{name:<10} {}\n", terminal(value)));
    };
    let token = story.token.as_deref().unwrap_or("token not shown, the key is not at hand");
    line("canary", &format!("{}  {token}", story.canary));
    line("campaign", &format!("{}, run {}", story.campaign, story.run));
    line("route", &format!("{}, owner {}", story.route, story.owner));
    line("recipe", &story.recipe);
    line("target", &story.target);
    line("planned", &format!("{} (slot {})", story.intended, story.slot));
    if let Some(reason) = &story.withdrawn {
        line("withdrawn", reason);
    }
    out.push('\n');
    timeline(&mut out, story);
    for decided in &story.outcomes {
        outcome(&mut out, decided);
    }
    for (at, answer) in &story.verified {
        out.push_str(&format!("verified   {answer} at {}\n", terminal(at)));
    }
    if !story.outcomes.is_empty() {
        out.push_str(&format!("           as of {}\n", terminal(&story.cut)));
    }
    out.push('\n');
    for words in &story.conclusion {
        out.push_str(&format!("{}\n", terminal(words)));
    }
    out
}

/// Events and sightings in one order of time.
fn timeline(out: &mut String, story: &Story) {
    let sent =
        story.sent.iter().map(|event| (event.since_submission_ns, 0, sent_words(event, story)));
    let seen = story.seen.iter().map(|seen| (seen.since_submission_ns, 1, seen_words(seen)));
    let mut moments: Vec<(i64, u8, String)> = sent.chain(seen).collect();
    moments.sort();
    for (since_ns, _, words) in moments {
        out.push_str(&format!("{:>10}  {}\n", after(since_ns), terminal(&words)));
    }
    if !story.sent.is_empty() {
        out.push('\n');
    }
}

fn after(ns: i64) -> String {
    match ns {
        0.. => format!("+{}", duration(ns.unsigned_abs())),
        _ => format!("-{}", duration(ns.unsigned_abs())),
    }
}

fn sent_words(event: &SentEvent, story: &Story) -> String {
    let which = match story.events {
        1 => "event".to_owned(),
        all => format!("event {} of {all}", event.event + 1),
    };
    let completing = if event.completing && story.events > 1 { " (completing)" } else { "" };
    let result = match &event.result {
        EventResult::Accepted { strength, place, .. } => {
            let strength = serde_json::to_value(strength)
                .ok()
                .and_then(|value| value.as_str().map(|s| s.replace('-', " ")))
                .unwrap_or_default();
            let place = place.as_deref().map(|p| format!(" at {p}")).unwrap_or_default();
            format!("{strength}{place}")
        }
        EventResult::Rejected { reason, cause: Some(Cause::Ours) } => {
            format!("rejected, and the fault is ours: {reason}")
        }
        EventResult::Rejected { reason, .. } => format!("rejected: {reason}"),
        EventResult::Unknown { reason } => format!("result unknown: {reason}"),
        EventResult::NotSent { reason } => format!("not sent: {reason}"),
    };
    let late = duration(event.late_ns.max(0).unsigned_abs());
    format!(
        "sent       {which}{completing}: {result}; {late} after its planned instant ({})",
        event.at
    )
}

fn seen_words(seen: &Seen) -> String {
    let mut words = format!("{:<10} seen by {}", seen.stage.name(), seen.watcher);
    if let Some(rule) = &seen.rule {
        words.push_str(&format!(", rule {rule}"));
    }
    if seen.retrospective {
        words.push_str(&format!(" in {}; retrospective, when is unknown", seen.native_id));
        return words;
    }
    if let Some(not_before) = seen.not_before_ns {
        words.push_str(&format!(", not there at {}", after(not_before)));
    }
    if let Some(created) = &seen.created {
        words.push_str(&format!("; by its own account {created}"));
    }
    words
}

fn outcome(out: &mut String, decided: &Decided) {
    let verdict = &decided.verdict;
    let rules = match decided.rules.is_empty() {
        true => "any rule".to_owned(),
        false => format!("rules {}", decided.rules.join(", ")),
    };
    let name = match decided.expectation.as_str() {
        name if name == decided.stage.name() => String::new(),
        name => format!("{name}: "),
    };
    let mut words = format!(
        "{name}`{}` by {rules} within {}: {}",
        decided.stage.name(),
        duration(decided.deadline_ns),
        verdict.outcome.name().to_uppercase()
    );
    if let Some(Interval { lower_ns, upper_ns }) = verdict.ttd {
        words.push_str(&format!(
            ", between {} and {} after submission",
            duration(lower_ns),
            duration(upper_ns)
        ));
        words.push_str(match verdict.dated {
            Dated::BySight => "",
            Dated::ByRecord => ", by the alert's own creation time",
            Dated::Contradicted => {
                "; the alert's own creation time contradicts the bound on the clocks, so this is our sighting"
            }
        });
    }
    if !decided.why.is_empty() {
        words.push_str(&format!(" ({})", decided.why));
    }
    out.push_str(&format!("outcome    {}\n", terminal(&words)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_reports_print_them() {
        let id = TokenId { epoch: Epoch(3), serial: 1234 };
        assert_eq!(numbered(&id.to_string()), Some(id));
        assert_eq!(numbered("c3.1234"), Some(id), "as the CSV has it");
        for text in ["3", "3.", ".4", "70000.1", "k7qfr3n5mz2abxde", "-1.2"] {
            assert_eq!(numbered(text), None, "{text}");
        }
    }
}
