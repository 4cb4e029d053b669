//! Configuration in three steps: raw (as written) -> checked (no invalid states) -> built (sockets).
pub mod checked;
