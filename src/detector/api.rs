//! The search API, on loopback alone:
//! `GET /search?from_ns=&to_ns=&after=&limit=` -> `{"records":[{"id","ingested_ns","document"}],"next"}`.
//! It shows what is searchable now. `from_ns` and `to_ns` are on this product's clock.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use dwell_injectors::stamp::{Clock, Stamp};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;

use super::engine::within;
use super::index::Index;
use super::settings::{DetectorError, Outage, OutageOf, Settings};

/// Most documents of one page.
const MAX_PAGE: usize = 1000;
/// Most connections at once.
const MAX_CONNECTIONS: usize = 64;

/// Knows when the API is out of order.
#[derive(Clone, Debug)]
pub struct Gate {
    clock: Arc<dyn Clock>,
    started: Stamp,
    outages: Vec<Outage>,
}

impl Gate {
    /// Outages count from now.
    pub fn new(settings: &Settings, clock: &Arc<dyn Clock>) -> Gate {
        Gate { clock: Arc::clone(clock), started: clock.now(), outages: settings.outages.clone() }
    }

    fn closed(&self) -> bool {
        within(&self.outages, OutageOf::Search, self.clock.now().since(&self.started).ns)
    }
}

#[derive(Clone)]
struct Shared {
    index: Arc<RwLock<Index>>,
    gate: Gate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    from_ns: Option<i64>,
    to_ns: Option<i64>,
    after: Option<String>,
    limit: Option<usize>,
}

/// Binds and answers until the runtime ends. Returns the bound address.
pub fn start(
    runtime: &tokio::runtime::Handle,
    address: SocketAddr,
    index: Arc<RwLock<Index>>,
    gate: Gate,
) -> Result<SocketAddr, DetectorError> {
    let broken = |e: std::io::Error| {
        DetectorError::Environment(format!("search API: cannot listen on {address}: {e}"))
    };
    let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(broken)?;
    let bound = listener.local_addr().map_err(broken)?;
    let routes = Router::new().route("/search", get(search)).with_state(Shared { index, gate });
    runtime.spawn(serve(listener, routes));
    Ok(bound)
}

async fn serve(listener: tokio::net::TcpListener, routes: Router) {
    let slots = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: others may be given back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "A search connection ended.");
            }
            drop(slot);
        });
    }
}

async fn search(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    if shared.gate.closed() {
        return (StatusCode::SERVICE_UNAVAILABLE, "out of order").into_response();
    }
    let after = match asked.after.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match text.parse::<u64>() {
            Ok(after) => Some(after),
            Err(_) => return (StatusCode::BAD_REQUEST, "after: no cursor").into_response(),
        },
    };
    let limit = asked.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let (from, to) = (asked.from_ns.unwrap_or(i64::MIN), asked.to_ns.unwrap_or(i64::MAX));
    let page = {
        let index = shared.index.read().unwrap_or_else(PoisonError::into_inner);
        index.search(from, to, after, limit)
    };
    Json(page).into_response()
}
