//! Dispatch: the one place that decides. It plans, records and resolves outcomes.

pub mod outcome;
