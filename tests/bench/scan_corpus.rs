//! Makes what `tests/bench/scan.sh` measures: a folder with configuration, key and ledger of a given
//! number of canaries, the same canaries' tokens as a pattern file, and alert lines of which a few
//! hold a token. Seeded: the same arguments and key give the same bytes.
//!
//! `cargo run --release --example scan_corpus -- ledger DIR CANARIES`
//! `cargo run --release --example scan_corpus -- lines DIR MIB CANARIES > lines.json`

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dwell::ledger::{Batch, Intent, Ledger, Opening, Row};
use dwell_injectors::stamp::{BootId, ManualClock, Stamp};
use dwell_injectors::token::{Carrier, Epoch, KeyRing, TokenId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SEED: u64 = 42;
/// Intents committed together.
const BATCH: u32 = 5000;
/// One line in so many holds a token.
const RARITY: u32 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["ledger", dir, canaries] => ledger(Path::new(dir), canaries.parse()?),
        ["lines", dir, mib, canaries] => lines(Path::new(dir), mib.parse()?, canaries.parse()?),
        _ => Err("usage: scan_corpus ledger DIR CANARIES | lines DIR MIB CANARIES".into()),
    }
}

/// A key of its own in every folder would give every ledger other tokens: all share one.
fn keys(dir: &Path) -> Result<KeyRing, Box<dyn Error>> {
    let path = dir.join("dwell.key");
    if !path.exists() {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("dwell.toml"), include_str!("../../configs/quickstart.toml"))?;
        let secret = "5d".repeat(32);
        std::fs::write(&path, format!("epoch 1 {secret}\n"))?;
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(KeyRing::load(&path)?)
}

fn ledger(dir: &Path, canaries: u32) -> Result<(), Box<dyn Error>> {
    let keys = keys(dir)?;
    let at = Stamp { wall_ns: 1_795_000_000_000_000_000, boot_ns: 1_000_000_000, boot: BootId(7) };
    let opening = Opening { verb: "run".to_owned() };
    let clock = Arc::new(ManualClock::new(at));
    let ledger = Ledger::open(&dir.join("dwell.db"), &keys.chain_key(), opening, clock)?;
    let mut patterns = BufWriter::new(File::create(dir.join("patterns"))?);
    for first in (0..canaries).step_by(BATCH as usize) {
        let mut batch = Batch::default();
        for serial in first..canaries.min(first + BATCH) {
            let canary = TokenId { epoch: Epoch(1), serial };
            writeln!(patterns, "{}", keys.mint(Epoch(1), serial)?.text(Carrier::Text))?;
            batch.rows.push(Row::Intent(Intent {
                canary,
                run: 1,
                route: 0,
                slot: serial,
                intended: at,
                digests: Vec::new(),
                completing: 0,
            }));
        }
        ledger.append(batch).wait()?;
    }
    patterns.flush()?;
    ledger.close(Duration::from_secs(60))?;
    Ok(())
}

fn lines(dir: &Path, mib: u64, canaries: u32) -> Result<(), Box<dyn Error>> {
    let keys = keys(dir)?;
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let mut written = 0u64;
    let mut number = 0u64;
    while written < mib << 20 {
        number += 1;
        let user = match random.random_range(0..RARITY) {
            0 => keys.mint(Epoch(1), random.random_range(0..canaries))?.text(Carrier::Text),
            _ => word(&mut random),
        };
        let line = line(&mut random, number, &user);
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    out.flush()?;
    Ok(())
}

/// Names as accounts have them.
fn word(random: &mut ChaCha8Rng) -> String {
    let length = random.random_range(4..12);
    (0..length).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect()
}

/// An alert in the shape of what host agents write.
fn line(random: &mut ChaCha8Rng, number: u64, user: &str) -> String {
    let host = random.random_range(0..500);
    let address = format!(
        "10.{}.{}.{}",
        random.random_range(0..255),
        random.random_range(0..255),
        random.random_range(1..255)
    );
    let port = random.random_range(1024..65535);
    let pid = random.random_range(300..99_999);
    let rule = random.random_range(1000..6000);
    let hash: u128 = random.random();
    format!(
        "{{\"timestamp\":\"2026-11-{:02}T{:02}:{:02}:{:02}.{:03}+0000\",\"rule\":{{\"level\":{},\
         \"description\":\"sshd: authentication failed.\",\"id\":\"{rule}\",\"mitre\":{{\"id\":\
         [\"T1110.001\"],\"tactic\":[\"Credential Access\"]}},\"firedtimes\":{},\"groups\":\
         [\"syslog\",\"sshd\",\"authentication_failed\"]}},\"agent\":{{\"id\":\"{host:03}\",\"name\":\
         \"web{host:03}.example.net\",\"ip\":\"192.0.2.{}\"}},\"manager\":{{\"name\":\"siem01\"}},\
         \"id\":\"1795000000.{number}\",\"full_log\":\"Nov 24 10:00:00 web{host:03} sshd[{pid}]: \
         Failed password for {user} from {address} port {port} ssh2\",\"data\":{{\"srcip\":\
         \"{address}\",\"srcport\":\"{port}\",\"srcuser\":\"{user}\",\"sha1\":\"{hash:032x}\"}},\
         \"location\":\"/var/log/auth.log\"}}\n",
        random.random_range(1..29),
        random.random_range(0..24),
        random.random_range(0..60),
        random.random_range(0..60),
        random.random_range(0..1000),
        random.random_range(0..15),
        random.random_range(1..900),
        random.random_range(1..255),
    )
}
