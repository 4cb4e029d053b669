//! Receivers that keep what they were sent, record by record, as a real receiver would split it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What arrived.
#[derive(Clone, Default, Debug)]
pub struct Inbox(Arc<Mutex<Vec<String>>>);

impl Inbox {
    pub fn push(&self, record: String) {
        self.0.lock().unwrap().push(record);
    }
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        super::wait_until(&format!("{count} records, only {}", self.len()), || self.len() >= count);
        self.all()
    }
}

/// The message of an RFC 5424 frame.
pub fn message(frame: &str) -> String {
    frame.splitn(8, ' ').nth(7).unwrap_or_else(|| panic!("no RFC 5424 frame: {frame:?}")).to_owned()
}

pub fn udp() -> (u16, Inbox) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let inbox = Inbox::default();
    let kept = inbox.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 70_000];
        while let Ok(length) = socket.recv(&mut buffer) {
            kept.push(message(std::str::from_utf8(&buffer[..length]).unwrap()));
        }
    });
    (port, inbox)
}

pub fn unix(path: &Path) -> Inbox {
    let socket = std::os::unix::net::UnixDatagram::bind(path).unwrap();
    let inbox = Inbox::default();
    let kept = inbox.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 300_000];
        while let Ok(length) = socket.recv(&mut buffer) {
            kept.push(message(std::str::from_utf8(&buffer[..length]).unwrap()));
        }
    });
    inbox
}

/// Reads frames that carry their length, until the stream ends.
pub fn read_counted(stream: impl Read, inbox: &Inbox) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut count = Vec::new();
        if reader.read_until(b' ', &mut count).unwrap_or(0) == 0 {
            return;
        }
        let count: usize = std::str::from_utf8(&count).unwrap().trim_end().parse().unwrap();
        let mut frame = vec![0; count];
        if reader.read_exact(&mut frame).is_err() {
            return;
        }
        inbox.push(message(std::str::from_utf8(&frame).unwrap()));
    }
}

pub fn read_lines(stream: impl Read, inbox: &Inbox) {
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        inbox.push(message(std::str::from_utf8(&line).unwrap()));
    }
}

pub fn tcp(read: fn(TcpStream, &Inbox)) -> (u16, Inbox) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let inbox = Inbox::default();
    let kept = inbox.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let kept = kept.clone();
            std::thread::spawn(move || read(stream.unwrap(), &kept));
        }
    });
    (port, inbox)
}

/// A certificate authority with a server's and a client's certificate, in files.
pub struct Authority {
    pub folder: tempfile::TempDir,
    pub server: Arc<rustls::ServerConfig>,
    pub strict_server: Arc<rustls::ServerConfig>,
}

pub fn authority(name: &str) -> Authority {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let issue = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (parameters.signed_by(&key, &issuer).unwrap(), key)
    };
    let (certificate, key) = issue(name);
    let (client_certificate, client_key) = issue("client.example");
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: String| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("ca.pem", ca_certificate.pem());
    write("client.pem", client_certificate.pem());
    write("client.key", client_key.serialize_pem());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
    };
    let chain = vec![certificate.der().clone()];
    let key = || PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_certificate.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    )
    .build()
    .unwrap();
    let server = builder().with_no_client_auth().with_single_cert(chain.clone(), key()).unwrap();
    let strict =
        builder().with_client_cert_verifier(verifier).with_single_cert(chain, key()).unwrap();
    Authority { folder, server: Arc::new(server), strict_server: Arc::new(strict) }
}

pub fn tls(config: Arc<rustls::ServerConfig>) -> (u16, Inbox) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let inbox = Inbox::default();
    let kept = inbox.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (kept, config) = (kept.clone(), Arc::clone(&config));
            std::thread::spawn(move || {
                let session = rustls::ServerConnection::new(config).unwrap();
                read_counted(rustls::StreamOwned::new(session, stream.unwrap()), &kept);
            });
        }
    });
    (port, inbox)
}

/// One request as an HTTP server saw it.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: String,
}

/// A small HTTP server: `answer` writes whatever it likes after each request.
pub fn http(
    answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static,
) -> (u16, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = channel();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (sender, answer) = (sender.clone(), Arc::clone(&answer));
            std::thread::spawn(move || serve(stream.unwrap(), &sender, answer.as_ref()));
        }
    });
    (port, requests)
}

/// The same over TLS, always with the answer that a document was created.
pub fn https(config: Arc<rustls::ServerConfig>) -> (u16, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let stream = rustls::StreamOwned::new(session, stream.unwrap());
            let mut reader = BufReader::new(stream);
            while let Some(request) = read_request(&mut reader) {
                let _ = sender.send(request);
                created(reader.get_mut());
            }
        }
    });
    (port, requests)
}

fn serve(
    mut stream: TcpStream,
    sender: &Sender<Request>,
    answer: &dyn Fn(&Request, &mut TcpStream),
) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader) {
        // The requests' receiver may be gone at the end of a test.
        let _ = sender.send(request.clone());
        answer(&request, &mut stream);
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body: String::from_utf8(body).unwrap() })
}

pub fn respond(stream: &mut impl Write, status: &str, headers: &str, body: &str) {
    let text =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
    // A client that has given up is what some tests are about.
    let _ = stream.write_all(text.as_bytes());
}

pub fn created(stream: &mut impl Write) {
    let body = r#"{"took":1,"errors":false,"items":[{"create":{"_index":"logs-a","_id":"one","status":201}}]}"#;
    respond(stream, "200 OK", "Content-Type: application/json\r\n", body);
}

/// A port at which nothing listens.
pub fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
