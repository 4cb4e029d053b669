//! The index: what can be found, in the order in which it became so.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;

/// A searchable record.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// Since when it can be found, wall nanoseconds on this product's clock.
    pub ingested_ns: i64,
    /// Its fields.
    pub document: Value,
    /// Position in the order of becoming searchable.
    #[serde(skip)]
    pub position: u64,
    /// Its own time, wall nanoseconds.
    #[serde(skip)]
    pub time_ns: i64,
    /// Index of its source.
    #[serde(skip)]
    pub source: usize,
    /// When it became searchable, boot nanoseconds.
    #[serde(skip)]
    pub since_boot_ns: u64,
}

/// Documents by position; the oldest are forgotten beyond a set number.
#[derive(Debug)]
pub struct Index {
    documents: VecDeque<Document>,
    next: u64,
    keep: usize,
    latest_ns: i64,
}

/// One page of a search.
#[derive(Debug, Serialize)]
pub struct Page {
    /// Documents.
    pub records: Vec<Document>,
    /// Where the next page begins; `None` when there is no more now.
    pub next: Option<String>,
}

impl Index {
    /// An empty index that keeps so many documents.
    pub fn new(keep: usize) -> Index {
        Index { documents: VecDeque::new(), next: 0, keep: keep.max(1), latest_ns: i64::MIN }
    }

    /// Makes a document searchable. Its time of ingestion never lies before an earlier one's, so
    /// that a reader who goes on from where it stopped misses nothing even when the clock steps.
    pub fn insert(&mut self, mut document: Document) {
        document.position = self.next;
        document.ingested_ns = document.ingested_ns.max(self.latest_ns);
        self.latest_ns = document.ingested_ns;
        self.next += 1;
        self.documents.push_back(document);
        if self.documents.len() > self.keep {
            self.documents.pop_front();
        }
    }

    /// Documents that became searchable at or after this boot time.
    pub fn since(&self, boot_ns: u64) -> impl Iterator<Item = &Document> {
        let from = self.documents.partition_point(|d| d.since_boot_ns < boot_ns);
        self.documents.range(from..)
    }

    /// Documents ingested within `from_ns..=to_ns` and after a cursor.
    pub fn search(&self, from_ns: i64, to_ns: i64, after: Option<u64>, limit: usize) -> Page {
        let by_time = self.documents.partition_point(|d| d.ingested_ns < from_ns);
        let by_cursor = match after {
            Some(after) => self.documents.partition_point(|d| d.position <= after),
            None => 0,
        };
        let from = by_time.max(by_cursor);
        let mut found = self.documents.range(from..).take_while(|d| d.ingested_ns <= to_ns);
        let records: Vec<Document> = found.by_ref().take(limit).cloned().collect();
        let more = found.next().is_some();
        let next = records.last().filter(|_| more).map(|last| last.position.to_string());
        Page { records, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(times: &[i64]) -> Index {
        let mut index = Index::new(100);
        for ns in times {
            index.insert(Document {
                id: ns.to_string(),
                ingested_ns: *ns,
                document: Value::Null,
                position: 0,
                time_ns: 0,
                source: 0,
                since_boot_ns: 0,
            });
        }
        index
    }

    #[test]
    fn pages_hold_everything_once() {
        let index = index(&[1, 2, 2, 2, 3, 9]);
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = index.search(2, 8, after, 2);
            ids.extend(page.records.into_iter().map(|d| d.position));
            match page.next {
                Some(next) => after = Some(next.parse().unwrap()),
                None => break,
            }
        }
        assert_eq!(ids, [1, 2, 3, 4]);
    }

    #[test]
    fn a_clock_that_steps_back_hides_nothing() {
        let index = index(&[10, 5]);
        assert_eq!(index.search(10, i64::MAX, None, 10).records.len(), 2);
    }
}
