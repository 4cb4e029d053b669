//! One archive, read in chunks. Memory does not depend on its length.
//!
//! What a scan could only pass over in silence is refused instead: compressed files and UTF-16 hold
//! no token that bytes would show.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::matching::{Hit, Scanner, Stream};

/// Bytes asked for at once.
const CHUNK: usize = 1 << 20;
/// Longest beginning that tells what a file is.
const MAGIC: usize = 8;

/// First bytes, what they mean, and the command that makes text of it.
const OPAQUE: [(&[u8], &str, &str); 8] = [
    (b"\x1f\x8b", "gzip", "zcat"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
    (b"\xfd7zXZ", "xz", "xzcat"),
    (b"BZh", "bzip2", "bzcat"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4cat"),
    (b"PK\x03\x04", "zip", "unzip -p"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
];

/// Something to scan.
pub(super) struct Source {
    pub(super) name: String,
    /// Length, where it is known before it is read.
    pub(super) length: Option<u64>,
    input: Box<dyn Read>,
}

impl Source {
    /// Opens a file, or stdin for `-`.
    pub(super) fn open(path: &Path) -> Result<Source, String> {
        if path == Path::new("-") {
            let input = Box::new(std::io::stdin());
            return Ok(Source { name: "-".to_owned(), length: None, input });
        }
        let name = path.display().to_string();
        let told = |e: std::io::Error| format!("cannot read {name}: {e}");
        let file = File::open(path).map_err(told)?;
        let meta = file.metadata().map_err(told)?;
        if meta.is_dir() {
            return Err(format!("{name} is a folder; name its files"));
        }
        let length = meta.is_file().then_some(meta.len());
        Ok(Source { name, length, input: Box::new(file) })
    }

    /// Reads it to its end. `found` gets every hit with its offset, `read` the bytes read so far.
    pub(super) fn scan(
        mut self,
        scanner: &Scanner,
        found: &mut dyn FnMut(u64, Hit),
        read: &mut dyn FnMut(u64),
    ) -> Result<u64, String> {
        let mut chunk = vec![0; CHUNK];
        let mut stream = Stream::default();
        let mut total = 0u64;
        loop {
            // Short reads of a pipe are collected only while the beginning is looked at.
            let wanted = if total == 0 { MAGIC } else { 1 };
            let length = fill(&mut self.input, &mut chunk, wanted)
                .map_err(|e| format!("cannot read {}: {e}", self.name))?;
            if length == 0 {
                break;
            }
            if total == 0 {
                refuse_opaque(&self.name, &chunk[..length])?;
            }
            stream.push(scanner, &chunk[..length], found);
            total += length as u64;
            read(total);
        }
        stream.finish(scanner, found);
        Ok(total)
    }
}

/// Reads until at least `wanted` bytes are there or the end has come.
fn fill(input: &mut dyn Read, chunk: &mut [u8], wanted: usize) -> std::io::Result<usize> {
    let mut length = 0;
    while length < wanted {
        match input.read(&mut chunk[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

fn refuse_opaque(name: &str, head: &[u8]) -> Result<(), String> {
    match OPAQUE.iter().find(|(magic, _, _)| head.starts_with(magic)) {
        Some((_, kind, reader)) => Err(format!(
            "{name} is {kind}: nothing in it was looked at; use `{reader} {name} | dwell scan -`"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes one at a time, as a slow pipe may.
    struct Slow(Vec<u8>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            buffer[0] = self.0.remove(0);
            Ok(1)
        }
    }

    #[test]
    fn the_beginning_is_read_whole_before_it_is_judged() {
        let mut chunk = [0; 64];
        let mut slow = Slow(b"\xfd7zXZ\0\0\0rest".to_vec());
        let length = fill(&mut slow, &mut chunk, MAGIC).unwrap();
        assert!(refuse_opaque("a", &chunk[..length]).unwrap_err().contains("xzcat a"));
        assert_eq!(fill(&mut Slow(b"abc".to_vec()), &mut chunk, MAGIC).unwrap(), 3);
        refuse_opaque("a", b"BZ").unwrap();
    }
}
