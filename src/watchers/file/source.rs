//! One open file: its lines, its position, and whether it is still the file that was read.
//!
//! A position names device, inode and the offset of the first byte of the line that is not finished
//! yet, with the bytes before it as an anchor. A file whose anchor does not match is another file
//! (inode reused) or was cut and written anew (copytruncate), even when it is longer than before.
//!
//! Every read begins a little before the position and must find there what was read before. A file
//! that was cut and grew again between two looks would else yield the middle of a foreign line, and the
//! position that fits the copy made before the cut would be lost.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use dwell_injectors::file::born_ns;
use dwell_injectors::stamp::{Clock, Stamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest line that is handed on in one piece. A longer one is handed on in pieces that overlap.
pub(super) const MAX_LINE: usize = 10 << 20;
/// Bytes that two pieces share, so that no token falls between them.
const OVERLAP: usize = 256;
/// Bytes of one read.
const CHUNK: usize = 64 << 10;
/// Bytes read in one go before other duties have their turn.
const BUDGET: usize = 16 << 20;
/// Length of an anchor.
const ANCHOR: usize = 256;

/// Why a watcher of alerts does not open a file that an injector names.
pub(super) const OWN_FILE: &str =
    "it is what an injector of ours writes, which proves no alert; name the file of alerts";

/// Names a file whatever its path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) struct FileId {
    pub dev: u64,
    pub ino: u64,
}

impl FileId {
    pub fn of(meta: &std::fs::Metadata) -> FileId {
        FileId { dev: meta.dev(), ino: meta.ino() }
    }

    /// Of the file that a path names now.
    pub fn at(path: &Path) -> Option<FileId> {
        std::fs::metadata(path).ok().map(|meta| FileId::of(&meta))
    }
}

/// Where reading goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    #[serde(flatten)]
    pub id: FileId,
    pub offset: u64,
    /// Length and digest of the bytes before the offset.
    pub anchor_len: usize,
    pub anchor: String,
}

/// Where reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    /// At the first byte: the file is new.
    Beginning,
    /// At the present end: what is there already is none of ours.
    End,
    /// At the first byte of a line.
    At(u64),
}

/// What became of the file since it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// The same, perhaps longer.
    Same,
    /// Cut, and perhaps written anew.
    Cut,
}

/// Opens a regular file, and says of anything else what it is. A pipe that nobody writes into would else
/// keep whoever opens it.
pub(in crate::watchers) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    match irregular(&file.metadata()?) {
        None => Ok(file),
        Some(kind) => Err(io::Error::other(format!("it is a {kind}; name a regular file"))),
    }
}

/// Says that a file is our own.
pub(super) fn own_file() -> io::Error {
    io::Error::other(OWN_FILE)
}

/// What is at a path, where it is no regular file.
pub(crate) fn irregular(meta: &std::fs::Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    let named = [
        (kind.is_dir(), "folder"),
        (kind.is_fifo(), "pipe"),
        (kind.is_socket(), "socket"),
        (!kind.is_file(), "device"),
    ];
    named.into_iter().find_map(|(is, name)| is.then_some(name))
}

/// An open file. See the module's text.
pub(super) struct Open {
    file: File,
    pub id: FileId,
    /// Next byte to read.
    offset: u64,
    /// The line that is not finished yet.
    carry: Vec<u8>,
    /// The last bytes before the carry.
    tail: Vec<u8>,
    /// The last bytes before the next one, whichever line they are of: what a read must find again.
    edge: Vec<u8>,
    /// True until the end of a line that began before the starting position.
    skip: bool,
    /// Lower bound of the line that is not finished yet, kept by whoever reads.
    pub unfinished: Option<Stamp>,
    /// Lines handed on in pieces.
    pub cut: u64,
    chunk: Vec<u8>,
}

impl Open {
    pub fn at(path: &Path, start: Start) -> io::Result<Open> {
        let file = open_regular(path)?;
        let meta = file.metadata()?;
        let offset = match start {
            Start::Beginning => 0,
            Start::End => meta.len(),
            Start::At(offset) => offset,
        };
        let mut open = Open {
            id: FileId::of(&meta),
            file,
            offset,
            carry: Vec::new(),
            tail: Vec::new(),
            edge: Vec::new(),
            skip: false,
            unfinished: None,
            cut: 0,
            chunk: vec![0; ANCHOR + CHUNK],
        };
        let back = offset.min(ANCHOR as u64);
        open.tail = open.read_range(offset - back, back as usize)?;
        open.edge = open.tail.clone();
        open.skip = start == Start::End && open.tail.last().is_some_and(|b| *b != b'\n');
        Ok(open)
    }

    fn read_range(&self, from: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.file.read_at(&mut bytes[filled..], from + filled as u64)? {
                0 => break,
                n => filled += n,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// First byte of the line that is not finished yet.
    pub fn line_start(&self) -> u64 {
        self.offset - self.carry.len() as u64
    }

    /// When the file was made, wall nanoseconds, where the file system says; not when it got its name.
    pub fn born_wall_ns(&self) -> Option<i64> {
        born_ns(&self.file.metadata().ok()?)
    }

    /// True when it has no name any more.
    pub fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// True when a line has begun that is not finished yet.
    pub fn is_amid_line(&self) -> bool {
        !self.carry.is_empty()
    }

    pub fn place(&self) -> Place {
        Place {
            id: self.id,
            offset: self.line_start(),
            anchor_len: self.tail.len(),
            anchor: digest(&self.tail),
        }
    }

    /// True when the file holds at the place what was read there.
    pub fn matches(&self, place: &Place) -> io::Result<bool> {
        let len = place.anchor_len.min(ANCHOR);
        let Some(from) = place.offset.checked_sub(len as u64) else { return Ok(false) };
        let bytes = self.read_range(from, len)?;
        Ok(bytes.len() == len && digest(&bytes) == place.anchor)
    }

    /// Compares the file with what was read from it.
    pub fn shape(&self) -> io::Result<Shape> {
        if self.file.metadata()?.len() < self.offset {
            return Ok(Shape::Cut);
        }
        let from = self.offset - self.edge.len() as u64;
        let same = self.read_range(from, self.edge.len())? == self.edge;
        Ok(if same { Shape::Same } else { Shape::Cut })
    }

    /// Begins anew after a cut.
    pub fn rewind(&mut self) {
        self.offset = 0;
        self.carry.clear();
        self.tail.clear();
        self.edge.clear();
        self.skip = false;
        self.unfinished = None;
    }

    /// Hands on every finished line with the stamp of the read that finished it. Returns true at
    /// the end of the file and where it was cut (see [`Open::shape`]), false when the budget ran out
    /// before.
    pub fn read(
        &mut self,
        clock: &dyn Clock,
        line: &mut dyn FnMut(&[u8], Stamp),
    ) -> io::Result<bool> {
        let mut spent = 0;
        let mut chunk = std::mem::take(&mut self.chunk);
        let ended = loop {
            let known = self.edge.len();
            match self.file.read_at(&mut chunk, self.offset - known as u64) {
                Ok(n) if n <= known || chunk[..known] != self.edge[..] => break Ok(true),
                Ok(n) => {
                    let stamp = clock.now();
                    self.offset += (n - known) as u64;
                    spent += n - known;
                    self.edge = chunk[n.saturating_sub(ANCHOR)..n].to_vec();
                    self.take(&chunk[known..n], stamp, line);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
            if spent >= BUDGET {
                break Ok(false);
            }
        };
        self.chunk = chunk;
        ended
    }

    fn take(&mut self, mut bytes: &[u8], stamp: Stamp, line: &mut dyn FnMut(&[u8], Stamp)) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (head, rest) = bytes.split_at(end + 1);
            if self.carry.is_empty() {
                self.finish(head, stamp, line);
            } else {
                self.carry.extend_from_slice(head);
                let whole = std::mem::take(&mut self.carry);
                self.finish(&whole, stamp, line);
            }
            bytes = rest;
        }
        self.carry.extend_from_slice(bytes);
        if self.carry.len() >= MAX_LINE {
            self.cut += 1;
            let piece = std::mem::take(&mut self.carry);
            if !self.skip {
                line(&piece, stamp);
            }
            let keep = piece.len() - OVERLAP;
            self.remember(&piece[..keep]);
            self.carry = piece[keep..].to_vec();
        }
    }

    fn finish(&mut self, whole: &[u8], stamp: Stamp, line: &mut dyn FnMut(&[u8], Stamp)) {
        self.remember(whole);
        if std::mem::take(&mut self.skip) {
            return;
        }
        let text = trim(whole);
        if !text.is_empty() {
            line(text, stamp);
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        let keep = bytes.len().min(ANCHOR);
        self.tail.extend_from_slice(&bytes[bytes.len() - keep..]);
        let over = self.tail.len().saturating_sub(ANCHOR);
        self.tail.drain(..over);
    }

    /// Hands on a last line that will never be finished.
    pub fn last(&mut self, clock: &dyn Clock, line: &mut dyn FnMut(&[u8], Stamp)) {
        let whole = std::mem::take(&mut self.carry);
        self.finish(&whole, clock.now(), line);
    }
}

/// Without line end, and without the hole that a writer leaves who goes on at its old offset after
/// the file was cut.
fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = line.iter().position(|b| *b != 0).unwrap_or(line.len());
    &line[text..]
}

fn digest(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes)[..16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwell_injectors::stamp::SystemClock;
    use std::io::Write;

    fn lines(open: &mut Open) -> Vec<String> {
        let mut all = Vec::new();
        let ended = open
            .read(&SystemClock::new(), &mut |line, _| {
                all.push(String::from_utf8_lossy(line).into_owned());
            })
            .unwrap();
        assert!(ended);
        all
    }

    #[test]
    fn partial_lines_wait_and_line_ends_go() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut open = Open::at(file.path(), Start::Beginning).unwrap();
        file.write_all(b"one\r\n\ntw").unwrap();
        assert_eq!(lines(&mut open), ["one"]);
        assert_eq!(open.place().offset, 6);
        file.write_all(b"o\nthree").unwrap();
        assert_eq!(lines(&mut open), ["two"]);
        let mut last = Vec::new();
        open.last(&SystemClock::new(), &mut |line, _| last.push(line.to_vec()));
        assert_eq!(last, [b"three".to_vec()]);
    }

    #[test]
    fn starting_at_the_end_skips_a_line_that_had_begun() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"old\nhalf").unwrap();
        let mut open = Open::at(file.path(), Start::End).unwrap();
        file.write_all(b" done\nnew\n").unwrap();
        assert_eq!(lines(&mut open), ["new"]);
    }

    #[test]
    fn a_place_is_found_again_and_another_file_is_not_taken_for_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one\ntwo\n").unwrap();
        let mut open = Open::at(file.path(), Start::Beginning).unwrap();
        lines(&mut open);
        let place = open.place();
        assert!(Open::at(file.path(), Start::At(place.offset)).unwrap().matches(&place).unwrap());
        assert_eq!(open.shape().unwrap(), Shape::Same);
        // Cut and written anew, longer than before.
        file.as_file().set_len(0).unwrap();
        std::fs::write(file.path(), b"another text that is longer\n").unwrap();
        assert_eq!(open.shape().unwrap(), Shape::Cut);
        assert!(!open.matches(&place).unwrap());
    }

    #[test]
    fn a_file_that_was_cut_and_grew_beyond_the_position_is_not_read_from_its_middle() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"one\nha").unwrap();
        let mut open = Open::at(file.path(), Start::Beginning).unwrap();
        assert_eq!(lines(&mut open), ["one"]);
        let before = open.place();
        // The finished line is the same, what follows is not.
        std::fs::write(file.path(), b"one\nother\nmore\n").unwrap();
        assert_eq!(lines(&mut open), Vec::<String>::new());
        assert_eq!((open.shape().unwrap(), open.place()), (Shape::Cut, before));
        open.rewind();
        assert_eq!(lines(&mut open), ["one", "other", "more"]);
    }

    #[test]
    fn a_hole_in_front_of_a_line_is_no_text() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; 100_000]).unwrap();
        file.write_all(b"text\n").unwrap();
        let mut open = Open::at(file.path(), Start::Beginning).unwrap();
        assert_eq!(lines(&mut open), ["text"]);
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut open = Open::at(file.path(), Start::Beginning).unwrap();
        file.write_all(&vec![b'x'; MAX_LINE + 1000]).unwrap();
        file.write_all(b"\nnext\n").unwrap();
        let all = lines(&mut open);
        assert_eq!((all.len(), open.cut), (3, 1));
        assert!(all[0].len() >= MAX_LINE && all[1].len() < CHUNK + 2000);
        assert_eq!(all[2], "next");
    }
}
