//! Why the demo's dropped-field canaries were missed: the indexed document, fetched back from the
//! search API, is compared with the event that was sent, and the rules are rehearsed on it.

use std::net::SocketAddr;
use std::time::Duration;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::token::TokenId;
use serde_json::Value;

use super::plan;
use crate::dispatch::outcome::Assessment;
use crate::exit::Failure;
use crate::ledger::Row;
use crate::rehearsal::{RuleSet, explain_document, field_map};

/// Asks the detector's search API.
pub(super) struct Explainer {
    api: SocketAddr,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    catalogue: Catalogue,
}

impl Explainer {
    pub(super) fn new(api: SocketAddr) -> Result<Explainer, Failure> {
        let broken = |e: String| Failure::Environment(format!("cannot ask the detector: {e}"));
        Ok(Explainer {
            api,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|e| broken(e.to_string()))?,
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(5))
                .no_proxy()
                .build()
                .map_err(|e| broken(e.to_string()))?,
            catalogue: Catalogue::embedded().map_err(|e| broken(e.to_string()))?,
        })
    }

    /// Reasons in words; empty when the document cannot be had.
    pub(super) fn explain(
        &self,
        canary: TokenId,
        assessment: &Assessment,
        rows: &[Row],
    ) -> Vec<String> {
        self.try_explain(canary, assessment, rows).unwrap_or_default()
    }

    fn try_explain(
        &self,
        canary: TokenId,
        assessment: &Assessment,
        rows: &[Row],
    ) -> Option<Vec<String>> {
        let route = assessment.routes.iter().find(|r| r.canaries.iter().any(|c| c.id == canary))?;
        let sighting = rows.iter().find_map(|row| match row {
            Row::Sighting(s) if s.canary == canary && s.watcher == plan::SEARCH => Some(s),
            _ => None,
        })?;
        let document = self.document(&sighting.native_id, sighting.created_time_ns.unwrap_or(0))?;
        let sigma = &self.catalogue.get(&route.plan.recipe)?.sigma;
        let set = RuleSet::from_texts(sigma).ok()?.with_field_map(field_map(&self.catalogue));
        let stories = explain_document(&set, &document);
        Some(stories.into_iter().flat_map(|s| s.reasons).map(|reason| reason.text).collect())
    }

    fn document(&self, id: &str, ingested_ns: i64) -> Option<Value> {
        // The document's own instant of ingestion is the first one that the search returns.
        let url = format!("http://{}/search?from_ns={ingested_ns}&limit=1000", self.api);
        let request = self.client.get(url);
        let bytes =
            self.runtime.block_on(async { request.send().await.ok()?.bytes().await.ok() })?;
        let page: Value = serde_json::from_slice(&bytes).ok()?;
        let records = page.get("records")?.as_array()?;
        records.iter().find(|record| record["id"] == id)?.get("document").cloned()
    }
}
