//! The network surface: an HTTP server with limits of its own, and how senders prove themselves.
//!
//! | limit | value |
//! |---|---|
//! | header of a request | 5 s, 64 fields, 16 KiB |
//! | whole request | 10 s |
//! | body | 1 MiB |
//! | TLS handshake | 5 s |
//! | connections at once | 256; more are closed unread |
//! | nesting of JSON | 64 levels |
//!
//! Invariants: a refusal says nothing but its status; signatures are checked over the raw body, in
//! constant time, before anything is parsed; nothing is answered 2xx before what it brought is
//! committed.

mod auth;
mod serve;
mod tls;

pub use auth::{AuthError, Verifier};
pub use serve::{Limits, Serving, serve};
pub use tls::{TlsError, acceptor};

/// Largest body that is read.
pub const MAX_BODY: usize = 1 << 20;
