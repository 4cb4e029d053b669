//! Models from hand-made ledger rows through the real fold: the laws, the formats, hostile text.

mod compare;
mod exits;
mod floor;
mod formats;
mod laws;
mod ledger;
mod schedule;
mod steps;
mod times;
mod verdicts;

use super::*;
