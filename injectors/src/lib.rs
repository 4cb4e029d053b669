//! The output side of dwell: recipes, tokens, rendering, and the transports that hand one event
//! to a pipeline. Usable alone; it never depends on `dwell`.

pub mod injector;
pub mod receipt;
pub mod registry;
pub mod secret;
pub mod stamp;
pub mod token;
