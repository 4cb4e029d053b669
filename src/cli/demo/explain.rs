//! Why the demo's dropped-field canaries were missed: the same story that `dwell explain` tells, from
//! the demo's own ledger.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::token::{KeyRing, TokenId};

use crate::dispatch::outcome::Fold;
use crate::dispatch::story::{self, Sources};
use crate::exit::Failure;
use crate::ledger::Reader;

/// Tells stories from one ledger.
pub(super) struct Explainer {
    reader: Reader,
    fold: Fold,
    catalogue: Catalogue,
    keys: Arc<KeyRing>,
}

impl Explainer {
    pub(super) fn new(ledger: &Path, keys: &Arc<KeyRing>) -> Result<Explainer, Failure> {
        let reader = Reader::open(ledger)?;
        let mut fold = Fold::new(None);
        reader.rows(|_, row| {
            fold.apply(&row);
            ControlFlow::Continue(())
        })?;
        let catalogue = Catalogue::embedded()
            .map_err(|e| Failure::Bug(format!("the recipes of dwell itself are refused: {e}")))?;
        Ok(Explainer { reader, fold, catalogue, keys: Arc::clone(keys) })
    }

    /// Where the canary stopped and why, in words; empty when the ledger does not hold it.
    pub(super) fn explain(&self, canary: TokenId) -> Result<Vec<String>, Failure> {
        let sources = Sources {
            reader: &self.reader,
            fold: &self.fold,
            catalogue: &self.catalogue,
            keys: Some(&self.keys),
        };
        Ok(story::tell(&sources, canary)?.map(|story| story.conclusion).unwrap_or_default())
    }
}
