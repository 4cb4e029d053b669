//! Accepts connections and serves them within limits. `axum::serve` installs no timer, so that a
//! slow sender would hold a connection for ever; this goes through hyper-util.
//!
//! A request that takes too long is answered 408 while its body is still awaited, and 503 afterwards.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
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
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let arrived = Arc::new(AtomicBool::new(request.body().is_end_stream()));
            let told = Arc::clone(&arrived);
            let answer = router.oneshot(request.map(|body| Body::new(Arriving { body, told })));
            Ok::<_, Infallible>(match tokio::time::timeout(limits.request, answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => late(arrived.load(Ordering::Acquire)),
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

/// A body that says when all of it has been read.
struct Arriving {
    body: Incoming,
    told: Arc<AtomicBool>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.told.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whoever has sent everything waits for us: the trouble is ours, and senders drop what is refused 4xx.
fn late(arrived: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() =
        if arrived { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::REQUEST_TIMEOUT };
    response.headers_mut().insert("connection", axum::http::HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn our_own_slowness_is_not_answered_4xx_and_the_senders_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = async |request: Request<Body>| {
            let _ = axum::body::to_bytes(request.into_body(), 1 << 20).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        };
        let request = Duration::from_millis(300);
        let serving = Serving {
            router: Router::new().fallback(slow),
            limits: Limits { request, ..Limits::default() },
            tls: None,
            accepting: Arc::new(|_| {}),
        };
        let server = tokio::spawn(serve(listener, serving));
        let whole = "content-length: 2\r\n\r\nok";
        let chunked = "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        for (sent, status) in [
            (whole, "503"),
            (chunked, "503"),
            ("\r\n", "503"),
            ("content-length: 9\r\n\r\nok", "408"),
            ("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n", "408"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let sent = format!("POST / HTTP/1.1\r\nhost: h\r\n{sent}");
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer[9..], status.as_bytes(), "{sent}");
        }
        server.abort();
    }
}
