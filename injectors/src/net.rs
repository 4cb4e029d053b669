//! Connections that know how many bytes have left and never wait past a deadline.
//!
//! A failed write is certain only while the operating system has taken no byte of the frame; after
//! the first byte nobody knows how much arrived. [`SendError::sent`] carries that distinction.
//! Names are looked up on a thread of their own, because the system's resolver cannot be told to
//! hurry.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// Why bytes did not leave.
#[derive(Debug)]
pub struct SendError {
    /// How many bytes the operating system had taken.
    pub sent: usize,
    /// What it said.
    pub error: std::io::Error,
}

/// What a look at an idle connection showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Nothing new.
    Open,
    /// The peer has ended its side.
    Closed,
    /// The connection broke.
    Reset,
}

/// A stream with or without TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

/// TLS over TCP, driven by hand so that sent bytes can be counted.
#[derive(Debug)]
pub struct TlsStream {
    socket: TcpStream,
    session: ClientConnection,
}

/// Time left until `deadline`; an error when there is none.
pub fn time_left(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < Duration::from_millis(1) {
        return Err(std::io::Error::new(ErrorKind::TimedOut, "the time is over"));
    }
    Ok(left)
}

/// Looks a name up, within the deadline.
pub fn resolve(host: &str, port: u16, deadline: Instant) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (reply, answer) = sync_channel(1);
    let name = host.to_owned();
    std::thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(|found| found.collect::<Vec<_>>());
        // Nobody waits any more when the time was over.
        let _ = reply.send(found);
    })?;
    let found = answer.recv_timeout(time_left(deadline)?).map_err(|_| {
        std::io::Error::new(ErrorKind::TimedOut, "the name server did not answer")
    })??;
    if found.is_empty() {
        return Err(std::io::Error::new(ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

/// Connects to the first address that answers.
pub fn connect(host: &str, port: u16, deadline: Instant) -> std::io::Result<TcpStream> {
    let addresses = resolve(host, port, deadline)?;
    let count = u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = std::io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        let share = (time_left(deadline)? / count).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, share) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Stream {
    /// Connects, and agrees on TLS where a configuration is given.
    pub fn open(
        host: &str,
        port: u16,
        tls: Option<(&Arc<ClientConfig>, &ServerName<'static>)>,
        deadline: Instant,
    ) -> std::io::Result<Stream> {
        let socket = connect(host, port, deadline)?;
        match tls {
            None => Ok(Stream::Plain(socket)),
            Some((config, name)) => TlsStream::handshake(socket, config, name, deadline)
                .map(|stream| Stream::Tls(Box::new(stream))),
        }
    }

    /// Sends every byte, or says how many had left.
    pub fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), SendError> {
        match self {
            Stream::Plain(socket) => {
                let mut sent = 0;
                while sent < bytes.len() {
                    sent += write_some(socket, deadline, |socket| socket.write(&bytes[sent..]))
                        .map_err(|error| SendError { sent, error })?;
                }
                Ok(())
            }
            Stream::Tls(stream) => stream.send(bytes, deadline),
        }
    }

    /// Looks, without waiting, whether the peer is still there.
    pub fn peer(&mut self) -> Peer {
        match self {
            Stream::Plain(socket) => look(socket, |socket| socket.peek(&mut [0; 1])),
            Stream::Tls(stream) => stream.peer(),
        }
    }

    /// Waits until the peer says something or `patience` is over: a server that refuses a client
    /// certificate says so only after the client believes that all is well.
    pub fn linger(&mut self, patience: Duration) -> Peer {
        let until = Instant::now() + patience;
        loop {
            let peer = self.peer();
            if peer != Peer::Open || Instant::now() >= until {
                return peer;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends our side and waits for the peer to end its own, so that nothing under way is lost to
    /// a reset.
    pub fn finish(mut self, deadline: Instant) {
        if let Stream::Tls(stream) = &mut self {
            stream.session.send_close_notify();
            let _ = stream.flush(deadline);
        }
        let mut socket = match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.socket,
        };
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut waste = [0; 4096];
        while let Ok(left) = time_left(deadline) {
            let ready = socket.set_read_timeout(Some(left)).and_then(|()| socket.read(&mut waste));
            if !matches!(ready, Ok(count) if count > 0) {
                return;
            }
        }
    }
}

impl TlsStream {
    fn handshake(
        socket: TcpStream,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
        deadline: Instant,
    ) -> std::io::Result<TlsStream> {
        let mut session = ClientConnection::new(Arc::clone(config), name.clone())
            .map_err(std::io::Error::other)?;
        session.set_buffer_limit(None);
        let mut stream = TlsStream { socket, session };
        while stream.session.is_handshaking() {
            stream.flush(deadline).map_err(|failed| failed.error)?;
            if !stream.session.is_handshaking() {
                break;
            }
            stream.socket.set_read_timeout(Some(time_left(deadline)?))?;
            match stream.session.read_tls(&mut stream.socket) {
                Ok(0) => {
                    return Err(std::io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "the peer hung up during the TLS handshake; is it a TLS port?",
                    ));
                }
                Ok(_) => {}
                Err(error) => return Err(plain_timeout(error)),
            }
            if let Err(error) = stream.session.process_new_packets() {
                // The alert that says why belongs to the peer; it is nobody's loss if it fails.
                let _ = stream.flush(deadline);
                return Err(std::io::Error::other(error));
            }
        }
        stream.flush(deadline).map_err(|failed| failed.error)?;
        Ok(stream)
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), SendError> {
        self.session.writer().write_all(bytes).map_err(|error| SendError { sent: 0, error })?;
        self.flush(deadline)
    }

    fn flush(&mut self, deadline: Instant) -> Result<(), SendError> {
        let mut sent = 0;
        while self.session.wants_write() {
            let session = &mut self.session;
            sent += write_some(&mut self.socket, deadline, |socket| session.write_tls(socket))
                .map_err(|error| SendError { sent, error })?;
        }
        Ok(())
    }

    fn peer(&mut self) -> Peer {
        let session = &mut self.session;
        let seen = look(&mut self.socket, |socket| session.read_tls(socket));
        if seen != Peer::Open {
            return seen;
        }
        match self.session.process_new_packets() {
            Ok(state) if state.peer_has_closed() => Peer::Closed,
            Ok(state) => {
                // Whatever a log server says is not for us, but it must not pile up.
                let mut waste = vec![0; state.plaintext_bytes_to_read().min(65_536)];
                let _ = self.session.reader().read(&mut waste);
                Peer::Open
            }
            Err(_) => Peer::Reset,
        }
    }
}

/// One write with the time that is left.
fn write_some(
    socket: &mut TcpStream,
    deadline: Instant,
    mut write: impl FnMut(&mut TcpStream) -> std::io::Result<usize>,
) -> std::io::Result<usize> {
    loop {
        socket.set_write_timeout(Some(time_left(deadline)?))?;
        match write(socket) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.map_err(plain_timeout),
        }
    }
}

/// A read that does not wait.
fn look(
    socket: &mut TcpStream,
    read: impl FnOnce(&mut TcpStream) -> std::io::Result<usize>,
) -> Peer {
    if socket.set_nonblocking(true).is_err() {
        return Peer::Reset;
    }
    let seen = match read(socket) {
        Ok(0) => Peer::Closed,
        Ok(_) => Peer::Open,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Peer::Open
        }
        Err(_) => Peer::Reset,
    };
    if socket.set_nonblocking(false).is_err() { Peer::Reset } else { seen }
}

/// A socket's timeout shows as "would block", which tells a reader nothing.
fn plain_timeout(error: std::io::Error) -> std::io::Error {
    if error.kind() == ErrorKind::WouldBlock {
        return std::io::Error::new(ErrorKind::TimedOut, "the peer did not answer in time");
    }
    error
}
