//! What a record holds for whoever looks for tokens.

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};

/// Headers of a record that are read.
const MAX_HEADERS: usize = 64;

/// What a record carries beside its value.
pub(super) fn carried<'m>(message: &'m BorrowedMessage<'_>) -> Vec<&'m [u8]> {
    let headers = message.headers().into_iter().flat_map(|headers| {
        (0..headers.count().min(MAX_HEADERS)).flat_map(move |at| {
            let header = headers.get(at);
            [Some(header.key.as_bytes()), header.value]
        })
    });
    message.key().into_iter().chain(headers.flatten()).collect()
}
