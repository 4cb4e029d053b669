//! What the detected ones alone look like: an HdrHistogram per stage, labelled "detected only".
//!
//! A histogram cannot hold a censoring, so nothing that claims a time to detect is taken from here;
//! it shows stages, lateness and floors. Range one microsecond to two years at three digits; what
//! lies beyond is counted apart and never clipped in silence.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

/// Two years, microseconds.
const HIGHEST_US: u64 = 2 * 366 * 86_400 * 1_000_000;

/// Times of one stage.
#[derive(Clone, Debug)]
pub struct StageHistogram {
    histogram: Option<Histogram<u64>>,
    beyond: u64,
}

impl Default for StageHistogram {
    fn default() -> Self {
        StageHistogram::new()
    }
}

impl StageHistogram {
    /// An empty one.
    pub fn new() -> StageHistogram {
        StageHistogram { histogram: Histogram::new_with_bounds(1, HIGHEST_US, 3).ok(), beyond: 0 }
    }

    /// Records one time; below a microsecond counts as one.
    pub fn record(&mut self, ns: u64) {
        let us = (ns / 1_000).max(1);
        let recorded = self.histogram.as_mut().is_some_and(|h| h.record(us).is_ok());
        self.beyond += u64::from(!recorded);
    }

    /// Number of recorded times.
    pub fn len(&self) -> u64 {
        self.histogram.as_ref().map_or(0, Histogram::len)
    }

    /// True when nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Times beyond the range.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    /// A quantile in nanoseconds, exact to three digits; `None` when empty.
    pub fn quantile_ns(&self, p: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref().filter(|h| !h.is_empty())?;
        Some(histogram.value_at_quantile(p) * 1_000)
    }

    /// The whole histogram of microseconds as other implementations read it: V2, compressed, base64.
    /// `None` when empty.
    pub fn encoded(&self) -> Option<String> {
        let histogram = self.histogram.as_ref().filter(|h| !h.is_empty())?;
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(histogram, &mut bytes).ok()?;
        Some(STANDARD.encode(bytes))
    }

    /// The largest in nanoseconds, exact to three digits; `None` when empty.
    pub fn max_ns(&self) -> Option<u64> {
        self.histogram.as_ref().filter(|h| !h.is_empty()).map(|h| h.max() * 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_panics_and_nothing_is_clipped_in_silence() {
        let mut histogram = StageHistogram::new();
        assert_eq!(histogram.quantile_ns(0.5), None);
        for ns in [0, 1, 1_000, 1_000_000_000, 400 * 86_400 * 1_000_000_000, u64::MAX] {
            histogram.record(ns);
        }
        assert_eq!((histogram.len(), histogram.beyond()), (5, 1));
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        assert_eq!(StageHistogram::new().encoded(), None);
        let mut histogram = StageHistogram::new();
        [1_000, 2_000_000, 3_000_000_000].into_iter().for_each(|ns| histogram.record(ns));
        let bytes = STANDARD.decode(histogram.encoded().unwrap()).unwrap();
        let read: Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .unwrap();
        assert_eq!(Some(read), histogram.histogram);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_thousandth(
            mut values in proptest::collection::vec(1_000u64..10_000_000_000_000, 1..200)
        ) {
            let mut histogram = StageHistogram::new();
            values.iter().for_each(|v| histogram.record(*v));
            values.sort_unstable();
            for p in [0.0, 0.5, 0.9, 1.0] {
                let rank = ((p * values.len() as f64).ceil() as usize).clamp(1, values.len());
                let exact = values[rank - 1] as f64;
                let found = histogram.quantile_ns(p).unwrap() as f64;
                prop_assert!((found - exact).abs() <= exact * 0.001 + 1_000.0, "{p} {found} {exact}");
            }
        }
    }
}
