//! Exit codes and the one error type that reaches `main`.
//!
//! | code | means |
//! |---|---|
//! | 0 | objectives met, or the verb did what was asked |
//! | 1 | missed or late: more canaries than an objective allows |
//! | 2 | the user's input is wrong: nothing was started |
//! | 3 | the environment failed, or canaries were undelivered |
//! | 4 | undecided: blind, unproven, too few |
//! | 70 | a bug in dwell, panics included |
//!
//! When several hold, the first of 70, 2, 3, 1, 4, 0 wins ([`Exit::worst`]).

use std::fmt;

/// A documented exit code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Exit {
    /// 0
    Met,
    /// 1
    Missed,
    /// 2
    User,
    /// 3
    Environment,
    /// 4
    Undecided,
    /// 70
    Bug,
    /// A verb with documented codes of its own (`verify`).
    Other(u8),
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Met => 0,
            Exit::Missed => 1,
            Exit::User => 2,
            Exit::Environment => 3,
            Exit::Undecided => 4,
            Exit::Bug => 70,
            Exit::Other(code) => code,
        }
    }

    /// Of two codes the one that has precedence: 70, 2, 3, 1, 4, then the rest.
    pub fn worst(self, other: Exit) -> Exit {
        fn rank(exit: Exit) -> u8 {
            match exit {
                Exit::Bug => 5,
                Exit::User => 4,
                Exit::Environment => 3,
                Exit::Missed => 2,
                Exit::Undecided => 1,
                Exit::Met | Exit::Other(_) => 0,
            }
        }
        if rank(other) > rank(self) { other } else { self }
    }
}

/// A message of several lines that cannot paint a terminal; the rule is the report's.
pub fn printable(text: &str) -> String {
    crate::report::escape::lines(text)
}

/// What went wrong, by who can act on it. The text says what is wrong and the next step.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The user's input is wrong. Exit code 2.
    User(String),
    /// The machine, a file or a service failed. Exit code 3.
    Environment(String),
    /// Dwell broke an invariant of its own. Exit code 70.
    Bug(String),
}

impl Failure {
    /// The exit code that goes with it.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::User(_) => Exit::User,
            Failure::Environment(_) => Exit::Environment,
            Failure::Bug(_) => Exit::Bug,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::User(text) | Failure::Environment(text) => f.write_str(text),
            Failure::Bug(text) => write!(
                f,
                "this is a bug in dwell: {text}; please report it with `dwell --version` and the steps"
            ),
        }
    }
}

impl std::error::Error for Failure {}

impl From<crate::ledger::LedgerError> for Failure {
    fn from(error: crate::ledger::LedgerError) -> Failure {
        Failure::Environment(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_code_wins_in_the_documented_order() {
        let order =
            [Exit::Bug, Exit::User, Exit::Environment, Exit::Missed, Exit::Undecided, Exit::Met];
        for (index, worse) in order.iter().enumerate() {
            for better in &order[index..] {
                assert_eq!(worse.worst(*better), *worse);
                assert_eq!(better.worst(*worse), *worse);
            }
        }
    }

    #[test]
    fn foreign_text_is_inert() {
        let text = printable("a\u{1b}[31mb\u{202e}c\r\nd\te\0");
        assert_eq!(text, "a\\u{1b}[31mb\\u{202e}c\\u{d}\nd\te\\u{0}");
    }
}
