//! What `verify` answers, in words, JSON and exit codes.

use dwell_injectors::token::TokenId;
use serde_json::{Value, json};

use super::super::Global;
use crate::dispatch::story::Origin;
use crate::exit::{Exit, Failure};
use crate::report::escape;

/// Findings that are printed in words, at most; all of them count.
const MAX_TOLD: usize = 20;
/// Fields beside what was sent that are named in words, at most.
const MAX_MORE: usize = 12;

/// The answers, from the best to the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Answer {
    Ours,
    Expired,
    Differs,
    Unknown,
    None,
    Forged,
}

impl Answer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Answer::Ours => "ours",
            Answer::Expired => "expired",
            Answer::Differs => "differs",
            Answer::Unknown => "unknown",
            Answer::None => "none",
            Answer::Forged => "forged",
        }
    }

    fn exit(self) -> Exit {
        match self {
            Answer::Ours => Exit::Met,
            Answer::Differs => Exit::Other(10),
            Answer::Expired => Exit::Other(11),
            Answer::Unknown => Exit::Other(12),
            Answer::Forged => Exit::Other(13),
            Answer::None => Exit::Other(14),
        }
    }
}

/// What one token, or one record without any, turned out to be.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) answer: Answer,
    pub(super) canary: Option<TokenId>,
    pub(super) origin: Option<Box<Origin>>,
    /// The record's number, from 1, where there are several.
    pub(super) record: Option<usize>,
    /// Why it is not what was sent; foreign text.
    pub(super) differences: Vec<String>,
    /// Fields that stand beside what was sent; foreign text.
    pub(super) more: Vec<String>,
}

impl Finding {
    pub(super) fn bare(answer: Answer) -> Finding {
        let (differences, more) = (Vec::new(), Vec::new());
        Finding { answer, canary: None, origin: None, record: None, differences, more }
    }

    /// The class under which a report counts such a sighting, if it is none of ours.
    fn stray(&self) -> Option<&'static str> {
        match self.answer {
            Answer::Ours | Answer::None => None,
            Answer::Expired | Answer::Differs => Some("replayed"),
            // Its canary never left: nothing of ours can show it.
            Answer::Unknown if self.origin.is_some() => Some("replayed"),
            Answer::Unknown => Some("unknown"),
            Answer::Forged => Some("forged"),
        }
    }

    fn line(&self, compared: bool) -> String {
        let holds_more;
        let what = match self.answer {
            Answer::Ours if compared && !self.more.is_empty() => {
                let named: Vec<String> =
                    self.more.iter().take(MAX_MORE).map(|name| escape::terminal(name)).collect();
                let rest = match self.more.len().saturating_sub(MAX_MORE) {
                    0 => String::new(),
                    n => format!(" and {n} other fields"),
                };
                holds_more =
                    format!("ours: it holds what was sent, and more: {}{rest}", named.join(", "));
                &holds_more
            }
            Answer::Ours if compared => "ours: it is what was sent",
            Answer::Ours => "ours",
            Answer::Expired => {
                "expired: ours, but nothing of it is expected any more; what is new is replayed"
            }
            Answer::Differs => {
                "not ours: replayed: the token is ours, the event differs from what was sent"
            }
            Answer::Unknown if self.origin.is_some() => {
                "not ours: unknown: the canary of this token never left; it is replayed"
            }
            Answer::Unknown => {
                "not ours: unknown: the tag is right, this ledger has no such canary"
            }
            Answer::None => "not ours: there is no token in it",
            Answer::Forged => "not ours: forged: it looks like a token, the tag is wrong",
        };
        match self.record {
            Some(number) => format!("record {number}: {what}"),
            None => what.to_owned(),
        }
    }

    fn json(&self) -> Value {
        let origin = self.origin.as_ref().map(|origin| {
            json!({
                "campaign": origin.run.campaign,
                "run": origin.run.run,
                "route": origin.plan.name,
                "recipe": origin.plan.recipe,
                "owner": origin.plan.owner,
                "target": origin.plan.target,
                "submitted": origin.submitted().timestamp().to_string(),
                "expected_until": expected_until(origin),
                "withdrawn": origin.withdrawn,
                "authorisation": origin.run.authorisation,
            })
        });
        json!({
            "answer": self.answer.name(),
            "stray": self.stray(),
            "canary": self.canary.map(|canary| canary.to_string()),
            "record": self.record,
            "differences": self.differences,
            "more": self.more,
            "origin": origin,
        })
    }
}

fn expected_until(origin: &Origin) -> String {
    let end = origin.submitted().plus_ns(origin.horizon_ns()).timestamp();
    end.round(jiff::Unit::Second).unwrap_or(end).to_string()
}

/// Prints the answer; the worst finding is the exit code.
pub(super) fn print(
    findings: &[Finding],
    compared: bool,
    not_recorded: Option<&str>,
    global: &Global,
) -> Result<Exit, Failure> {
    let worst = findings.iter().map(|finding| finding.answer).max().unwrap_or(Answer::None);
    if global.json {
        super::super::put_json(&json!({
            "ours": worst == Answer::Ours,
            "answer": worst.name(),
            "compared": compared,
            "recorded": not_recorded.is_none(),
            "not_recorded_because": not_recorded,
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        }))?;
        return Ok(worst.exit());
    }
    let mut text = String::new();
    // The worst come first: they are what the reader must not overlook.
    let mut order: Vec<&Finding> = findings.iter().collect();
    order.sort_by_key(|finding| (std::cmp::Reverse(finding.answer), finding.record));
    for finding in order.iter().take(MAX_TOLD) {
        tell(&mut text, finding, compared);
    }
    if order.len() > MAX_TOLD {
        text.push_str(&format!("and {} more; --json shows all\n", order.len() - MAX_TOLD));
    }
    if worst == Answer::Ours && !compared {
        text.push_str(
            "  the token alone was looked at: compare the whole event with `dwell verify --event \
             FILE`, because whoever reads logs can copy a token\n",
        );
    }
    if let Some(reason) = not_recorded {
        text.push_str(&format!("  not recorded: {}\n", escape::terminal(reason)));
    }
    super::super::put(text.as_bytes())?;
    Ok(worst.exit())
}

fn tell(text: &mut String, finding: &Finding, compared: bool) {
    text.push_str(&finding.line(compared));
    text.push('\n');
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("  {name:<10} {}\n", escape::terminal(value)));
    };
    if let Some(canary) = finding.canary {
        line("canary", &canary.to_string());
    }
    if let Some(origin) = &finding.origin {
        let plan = &origin.plan;
        line("campaign", &format!("{}, run {}", origin.run.campaign, origin.run.run));
        line("route", &format!("{} ({}), owner {}", plan.name, plan.recipe, plan.owner));
        match &origin.withdrawn {
            Some(reason) => line("withdrawn", reason),
            None => {
                line("sent", &format!("{} to {}", origin.submitted().timestamp(), plan.target));
                line("expected", &format!("until {}", expected_until(origin)));
            }
        }
        let word =
            |name: &str| origin.run.authorisation.as_ref()?.get(name)?.as_str().map(str::to_owned);
        if let (Some(by), Some(contact)) = (word("approved_by"), word("contact")) {
            line("approved", &format!("by {by}; contact {contact}"));
        }
    }
    for difference in &finding.differences {
        line("differs", difference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ours_is_exit_code_0_and_the_worst_is_never_ours() {
        let all = [
            Answer::Ours,
            Answer::Expired,
            Answer::Differs,
            Answer::Unknown,
            Answer::None,
            Answer::Forged,
        ];
        let codes: Vec<u8> = all.iter().map(|answer| answer.exit().code()).collect();
        assert_eq!(codes, [0, 11, 10, 12, 14, 13]);
        assert!(all[1..].iter().all(|answer| *answer > Answer::Ours));
    }
}
