//! Accepts connections and serves them within limits. `axum::serve` installs no timer, so that a
//! slow sender would hold a connection for ever; this goes through hyper-util.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// Bounds of one server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the header of a request, and for a TLS handshake.
    pub header: Duration,
    /// For a whole request.
    pub request: Duration,
    /// Connections at once.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header: Duration::from_secs(5),
            request: Duration::from_secs(10),
            connections: 256,
        }
    }
}

/// What a server runs with.
#[derive(Clone)]
pub struct Serving {
    /// Answers requests.
    pub router: Router,
    /// Bounds.
    pub limits: Limits,
    /// Ends TLS; `None` serves plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// Told when connections cannot be accepted (`Some`, with the reason) and when they can again.
    pub accepting: Arc<dyn Fn(Option<String>) + Send + Sync>,
}

/// Serves until the future that runs this is dropped. Connections end with it.
pub async fn serve(listener: TcpListener, serving: Serving) {
    let places = Arc::new(Semaphore::new(serving.limits.connections));
    let mut connections = tokio::task::JoinSet::new();
    let mut failing = false;
    loop {
        // Ended connections give back their memory.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                if std::mem::take(&mut failing) {
                    (serving.accepting)(None);
                }
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                let serving = serving.clone();
                connections.spawn(async move {
                    connection(stream, serving).await;
                    drop(place);
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    (serving.accepting)(Some(error.to_string()));
                }
                // Out of descriptors: wait for some to come back.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, serving: Serving) {
    let _ = stream.set_nodelay(true);
    match serving.tls.clone() {
        None => http(stream, serving).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(serving.limits.header, acceptor.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                http(stream, serving).await;
            }
        }
    }
}

async fn http<S>(stream: S, serving: Serving)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Serving { router, limits, .. } = serving;
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let router = router.clone();
        async move {
            let answer = router.oneshot(request.map(Body::new));
            Ok::<_, Infallible>(match tokio::time::timeout(limits.request, answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => late(),
            })
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_headers(64)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn late() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    response.headers_mut().insert("connection", axum::http::HeaderValue::from_static("close"));
    response
}
