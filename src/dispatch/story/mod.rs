//! The whole story of one canary.

mod origin;

pub use origin::Origin;
