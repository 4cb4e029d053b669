//! A stand-in for a search API, and the watcher that asks it.

use std::net::SocketAddr;

use super::*;

/// A search API that answers with one record of somebody else's, or hangs up while it is down.
pub struct Api {
    pub address: SocketAddr,
    pub up: Arc<AtomicBool>,
}

impl Api {
    pub fn start() -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let up = Arc::new(AtomicBool::new(true));
        let answering = Arc::clone(&up);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 8192];
                let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
                let _ = stream.read(&mut request);
                if !answering.load(Ordering::SeqCst) {
                    continue;
                }
                let body = r#"{"records":[{"id":"f","document":{"user":"somebody"}}],"next":null}"#;
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
                     content-length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Api { address, up }
    }
}

/// The settings of a watcher that asks at this address.
pub fn search_at(address: SocketAddr) -> String {
    format!(
        "type = \"poll\"\nurl = \"http://{address}\"\ndialect = \"reference-detector-search\"\n\
         every = \"250ms\"\noverlap = \"5s\"\ntimeout = \"1s\""
    )
}
