//! Listens for alerts that a product posts.
//!
//! Invariants:
//!
//! - A request is stamped when its header has arrived, before its body is read or queued.
//! - 2xx is answered after the commit of what the body brought, and only then; 503 when it cannot
//!   be committed. A sender that was not answered tries again, and the repeat is a duplicate.
//! - Trouble of ours is never answered 4xx, since senders drop what is refused.
//! - Nobody can be told what did not arrive: its looks mean "we were listening". The time in which no
//!   process listened is a blind span, opened by the next start; so is one of a second and more in which
//!   the process was stopped or the machine slept.
//! - A body over the limit is refused 413, and may have been the alert. Where who sends is known without it
//!   (a bearer token, a secret path), nobody listens from then on until the next body that is taken; the
//!   span says how many were refused. So it is with a compressed body (415), of whoever proves anything.
//! - When a sender first tried is not known. What arrives was sent just now only if we have been listening
//!   ever since its canary was submitted; the outcomes see to that, by the blind spans. What was waiting
//!   for a process that did not run carries the beginning of that as its lower bound.
//!
//! Not promised: that a sender posts. See `silence unproven` in the outcomes. Nor is a body over the limit
//! told where the signature covers it or nobody has to prove anything: any stranger could blind us so.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use dwell_injectors::stamp::{Clock, Stamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::intake::{Intake, Mark, ns};
use super::{Pulse, RESOLUTION, WatchContext, WatchError, Watcher, later, not_before};
use crate::dialects::Dialect;
use crate::ledger::LedgerError;
use crate::web::{Limits, MAX_BODY, Serving, Verifier, serve};

/// How often the listener records that it listens, and notices a stop.
const TICK: Duration = Duration::from_millis(100);

/// A pause of the listener from which on senders may have given up.
const DEAF: Duration = Duration::from_secs(1);

/// The webhook watcher.
pub(super) struct WebhookWatcher {
    pub listen: SocketAddr,
    pub path: String,
    pub hosts: Vec<String>,
    pub verifier: Verifier,
    pub tls: Option<TlsAcceptor>,
    pub dialect: Arc<Dialect>,
}

/// Bodies that a known sender was refused since the last one that was taken.
#[derive(Default)]
struct Refused {
    /// Over the limit.
    large: AtomicU64,
    packed: AtomicU64,
}

impl Refused {
    fn any(&self) -> bool {
        [&self.large, &self.packed].iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Forgets them: true if there were any.
    fn clear(&self) -> bool {
        let had = self.any();
        self.large.store(0, Ordering::Relaxed);
        self.packed.store(0, Ordering::Relaxed);
        had
    }

    fn words(&self) -> String {
        let counted = |count: &AtomicU64, before: &str, after: &str| {
            let count = count.load(Ordering::Relaxed);
            let bodies = if count == 1 { "body" } else { "bodies" };
            (count > 0).then(|| format!("{count} {before}{bodies} {after}"))
        };
        let limit = MAX_BODY >> 20;
        let large =
            format!("over {limit} MiB refused with 413; have the sender group fewer alerts");
        let packed = "refused with 415; have the sender send them as they are";
        let all = [counted(&self.large, "", &large), counted(&self.packed, "compressed ", packed)];
        all.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// What requests share.
struct Hook {
    path: String,
    hosts: Vec<String>,
    verifier: Verifier,
    clock: Arc<dyn Clock>,
    pulse: Arc<Pulse>,
    intake: Mutex<Option<Intake>>,
    failure: Mutex<Option<LedgerError>>,
    refused: Refused,
    position: Value,
}

impl Watcher for WebhookWatcher {
    fn source(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("webhook {scheme}://{}{}", self.listen, self.path)
    }

    fn push(&self) -> bool {
        true
    }

    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn run(self: Box<Self>, context: WatchContext) -> Result<(), WatchError> {
        let runtime = context.runtime.clone();
        runtime.block_on(self.listen(context))
    }
}

impl WebhookWatcher {
    async fn listen(self, context: WatchContext) -> Result<(), WatchError> {
        let watcher = context.name.clone();
        let listener = TcpListener::bind(self.listen).await.map_err(|e| {
            let reason = format!("cannot listen on {}: {e}; free it or change it", self.listen);
            WatchError::Environment { watcher: watcher.clone(), reason }
        })?;
        let (clock, pulse) = (context.clock.clone(), context.pulse.clone());
        pulse.heed();
        let (mut intake, mark) = Intake::open(context, self.dialect)?;
        let begin = intake.now();
        let position = json!({ "listen": self.listen.to_string() });
        resume(&mut intake, mark, begin);
        intake.look(begin, intake.now(), false, &position);
        intake.commit(&position)?;
        intake.ready();
        let hook = Arc::new(Hook {
            path: self.path,
            hosts: self.hosts.into_iter().map(|h| h.to_ascii_lowercase()).collect(),
            verifier: self.verifier,
            clock,
            pulse,
            intake: Mutex::new(Some(intake)),
            failure: Mutex::new(None),
            refused: Refused::default(),
            position,
        });
        let accepting = hook.clone();
        let serving = Serving {
            router: Router::new().fallback(answer).with_state(hook.clone()),
            limits: Limits::default(),
            tls: self.tls,
            accepting: Arc::new(move |trouble| accepting.accepting(trouble)),
        };
        let ended = tokio::select! {
            () = serve(listener, serving) => Ok(()),
            ended = hook.keep() => ended,
        };
        let intake = hook.lock().take();
        match (ended, intake) {
            (Ok(()), Some(intake)) => {
                let position = hook.position.clone();
                let close = move || intake.close(&position);
                tokio::task::spawn_blocking(close).await.unwrap_or(Ok(()))
            }
            (ended, _) => ended,
        }
    }
}

/// Nobody listened since the last run: that span is ours, and nothing makes it good.
fn resume(intake: &mut Intake, mark: Option<Mark>, now: Stamp) {
    intake.see(now, false);
    if let Some(looked) = mark.and_then(|m| m.looked) {
        intake.lost(looked, now, "no process listened", true);
    }
}

impl Hook {
    fn lock(&self) -> MutexGuard<'_, Option<Intake>> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepting(&self, trouble: Option<String>) {
        if let Some(intake) = self.lock().as_mut() {
            let now = intake.now();
            match trouble {
                Some(reason) => intake.blind(now, format!("cannot accept: {reason}"), true),
                // What was refused is not heard because more could be said.
                None if !self.refused.any() => intake.see(now, false),
                None => {}
            }
        }
    }

    /// A body over the limit, of a sender that is known or not: what to answer.
    fn refuse(&self, rest: &str, headers: &HeaderMap, observed: Stamp) -> StatusCode {
        let now_s = observed.wall_ns.div_euclid(1_000_000_000);
        let known = self.verifier.before_body() && self.verifier.accepts(rest, headers, &[], now_s);
        if let (true, Some(intake)) = (known, self.lock().as_mut()) {
            self.refused.large.fetch_add(1, Ordering::Relaxed);
            self.tell_refused(intake, observed);
        }
        StatusCode::PAYLOAD_TOO_LARGE
    }

    fn tell_refused(&self, intake: &mut Intake, observed: Stamp) {
        let reason = self.refused.words();
        intake.blind(observed, reason.clone(), true);
        intake.retell(reason);
    }

    /// Records looks until told to stop.
    async fn keep(&self) -> Result<(), WatchError> {
        let mut last = self.lock().as_ref().map(Intake::now);
        loop {
            tokio::time::sleep(TICK).await;
            let mut guard = self.lock();
            let Some(intake) = guard.as_mut() else { return Ok(()) };
            let now = intake.now();
            if let Some(before) = last.replace(now).filter(|last| now.since(last).ns > ns(DEAF)) {
                intake.lost(before, now, "the process was stopped, or got no time", true);
            }
            if let Some(source) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
            {
                return Err(WatchError::Ledger { watcher: intake.context.name.clone(), source });
            }
            let stopping = intake.stopping();
            if !intake.is_blind() && (stopping || intake.look_due(&now)) {
                intake.look(now, now, true, &self.position);
            }
            if intake.pending() {
                intake.commit(&self.position)?;
            }
            if stopping {
                return Ok(());
            }
        }
    }

    /// What follows the configured path, or `None` for another path.
    fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.path.trim_end_matches('/'))?;
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        (self.verifier.in_path() || rest.is_empty()).then_some(rest)
    }

    fn host_allowed(&self, request: &Request<Body>) -> bool {
        if self.hosts.is_empty() {
            return true;
        }
        let listed = |host: &str| {
            let host = host.to_ascii_lowercase();
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            self.hosts.iter().any(|h| *h == host || h == name)
        };
        let mut named = request.headers().get_all("host").iter();
        let header = match (named.next(), named.next()) {
            (Some(value), None) => value.to_str().is_ok_and(listed),
            _ => false,
        };
        header && request.uri().authority().is_none_or(|a| listed(a.as_str()))
    }

    /// Takes a body whose sender is known: what to answer once it is committed.
    fn take(
        &self,
        (body, packed): (&[u8], bool),
        (observed, since): (Stamp, Stamp),
    ) -> (StatusCode, Option<crate::ledger::Ticket>) {
        let mut guard = self.lock();
        let Some(intake) = guard.as_mut() else { return (StatusCode::SERVICE_UNAVAILABLE, None) };
        // Whoever is answered by us is listened to.
        intake.note_look(intake.looked().map_or(observed, |looked| later(looked, observed)));
        let sighted = intake.message(body, observed, not_before(&observed, since));
        let status = match sighted {
            0 if packed => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            // The sender's mistake, and nothing of ours in it.
            0 if intake.dialect.parts(body).is_err() => StatusCode::BAD_REQUEST,
            _ => StatusCode::NO_CONTENT,
        };
        if status == StatusCode::NO_CONTENT && self.refused.clear() {
            intake.see(observed, false);
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE && self.verifier.knows() {
            self.refused.packed.fetch_add(1, Ordering::Relaxed);
            self.tell_refused(intake, observed);
        }
        let ticket = intake.pending().then(|| intake.hand_over(&self.position));
        (status, ticket)
    }
}

/// Answers one request. Bodies of answers are empty, whatever the reason.
async fn answer(State(hook): State<Arc<Hook>>, request: Request<Body>) -> StatusCode {
    // Before the lock, which whoever reads another body holds.
    let observed = hook.clock.now();
    let arrived = (observed, hook.pulse.since(&observed));
    if !hook.host_allowed(&request) {
        return StatusCode::FORBIDDEN;
    }
    let Some(rest) = hook.rest(request.uri().path()).map(str::to_owned) else {
        return StatusCode::NOT_FOUND;
    };
    if request.method() != Method::POST && request.method() != Method::PUT {
        return StatusCode::METHOD_NOT_ALLOWED;
    }
    let (parts, body) = request.into_parts();
    if declared(&parts.headers) > MAX_BODY as u64 {
        return hook.refuse(&rest, &parts.headers, observed);
    }
    let body = match axum::body::to_bytes(body, MAX_BODY).await {
        Ok(body) => body,
        Err(error) if is_too_much(&error) => {
            return hook.refuse(&rest, &parts.headers, observed);
        }
        Err(_) => return StatusCode::BAD_REQUEST,
    };
    let now_s = observed.wall_ns.div_euclid(1_000_000_000);
    if !hook.verifier.accepts(&rest, &parts.headers, &body, now_s) {
        return if hook.verifier.in_path() {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::UNAUTHORIZED
        };
    }
    let taker = hook.clone();
    let packed = is_packed(&parts.headers, &body);
    // Parsing a large body and a full queue both take time that other connections should not pay.
    let taken = tokio::task::spawn_blocking(move || taker.take((&body, packed), arrived)).await;
    match taken {
        Ok((status, None)) => status,
        Ok((status, Some(ticket))) => match ticket.done().await {
            Ok(_) => status,
            Err(error) => {
                hook.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                StatusCode::SERVICE_UNAVAILABLE
            }
        },
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn declared(headers: &HeaderMap) -> u64 {
    let value = headers.get("content-length").and_then(|v| v.to_str().ok());
    value.and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// A body that says so and is no text: what it holds cannot be read.
fn is_packed(headers: &HeaderMap, body: &[u8]) -> bool {
    let told =
        |value: &axum::http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    headers.get_all("content-encoding").iter().any(told) && std::str::from_utf8(body).is_err()
}

/// A body over the limit, not a sender that went away.
fn is_too_much(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(|source| source.is::<http_body_util::LengthLimitError>())
}
