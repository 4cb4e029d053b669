//! Filters for times and functions for what varies.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Environment, Error, ErrorKind, State};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// Adds filters and functions.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_filter("rfc3164", |state: &State, ns: i64| local(state, ns, "%b %e %H:%M:%S"));
    environment.add_filter("local_iso", |state: &State, ns: i64| {
        local(state, ns, "%Y-%m-%dT%H:%M:%S%.6f%:z")
    });
    environment
        .add_filter("clf", |state: &State, ns: i64| local(state, ns, "%d/%b/%Y:%H:%M:%S %z"));
    environment.add_filter("iso", |ns: i64| utc(ns, "%Y-%m-%dT%H:%M:%S%.3fZ"));
    environment.add_filter("iso_s", |ns: i64| utc(ns, "%Y-%m-%dT%H:%M:%SZ"));
    environment.add_filter("iso_us", |ns: i64| utc(ns, "%Y-%m-%dT%H:%M:%S%.6fZ"));
    environment.add_filter("iso_7", |ns: i64| utc(ns, "%Y-%m-%dT%H:%M:%S%.7fZ"));
    environment.add_filter("epoch_ms", |ns: i64| ns.div_euclid(1_000_000));
    environment.add_filter("epoch", |ns: i64| {
        let ms = ns.div_euclid(1_000_000);
        format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
    });
    environment.add_function("vary", |state: &State, name: String, low: i64, high: i64| {
        let width = u64::try_from(high.saturating_sub(low)).ok().and_then(|w| w.checked_add(1));
        let Some(width) = width else {
            return Err(Error::new(ErrorKind::InvalidOperation, "vary: low is above high"));
        };
        // The bias of a remainder is below 2^-40 for every range that a log field has.
        let offset = stream(state, &name)?.next_u64() % width;
        Ok(low.saturating_add_unsigned(offset))
    });
    environment.add_function("vary_uuid", |state: &State, name: String| uuid(state, &name));
    environment.add_function("vary_hex", |state: &State, name: String, digits: usize| {
        let mut bytes = vec![0; digits.min(128).div_ceil(2)];
        stream(state, &name)?.fill_bytes(&mut bytes);
        let mut text = data_encoding::HEXLOWER.encode(&bytes);
        text.truncate(digits.min(128));
        Ok::<_, Error>(text)
    });
}

/// The instant in a named zone.
pub(super) fn zoned(ns: i64, zone: &str) -> Result<jiff::ZonedDateTime, String> {
    let zone = TimeZone::get(zone).map_err(|error| error.to_string())?;
    let at = Timestamp::from_nanosecond(i128::from(ns)).map_err(|error| error.to_string())?;
    Ok(at.to_zoned_datetime(zone))
}

fn local(state: &State, ns: i64, format: &str) -> Result<String, Error> {
    let zone = private(state, "_zone")?;
    let at = zoned(ns, &zone).map_err(|text| Error::new(ErrorKind::InvalidOperation, text))?;
    Ok(at.strftime(format).to_string())
}

fn utc(ns: i64, format: &str) -> Result<String, Error> {
    let at = zoned(ns, "UTC").map_err(|text| Error::new(ErrorKind::InvalidOperation, text))?;
    Ok(at.strftime(format).to_string())
}

fn private(state: &State, name: &str) -> Result<String, Error> {
    state
        .lookup(name)
        .and_then(|value| value.as_str().map(str::to_owned))
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "used outside a rendering"))
}

/// The stream that belongs to this canary and this name.
fn stream(state: &State, name: &str) -> Result<ChaCha12Rng, Error> {
    let mut hash = Sha256::new();
    hash.update(private(state, "_vary")?);
    hash.update(name);
    Ok(ChaCha12Rng::from_seed(hash.finalize().into()))
}

fn uuid(state: &State, name: &str) -> Result<String, Error> {
    let mut b = [0_u8; 16];
    stream(state, name)?.fill_bytes(&mut b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&b);
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    Ok(format!("{a}-{b}-{c}-{d}-{e}"))
}
