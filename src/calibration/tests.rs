//! Planted truth, and planted mistakes.
