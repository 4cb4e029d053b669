//! How a sender proves itself. Every comparison is over all active secrets and in constant time; a
//! refusal does not say which part was wrong.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use dwell_injectors::secret::{SecretError, SecretRef};

use crate::watchers::WebhookAuth;

/// How far a signed time may lie from ours, seconds.
const TOLERANCE: i64 = 300;

/// Why secrets cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A reference could not be followed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The secret does not fit its use.
    #[error("the secret in {from} {reason}")]
    Unfit {
        /// The reference in words.
        from: String,
        /// What is wrong, and the next step.
        reason: &'static str,
    },
}

/// Checks requests. Its `Debug` shows no secret.
#[derive(Debug)]
pub struct Verifier {
    scheme: Scheme,
}

#[derive(Debug)]
enum Scheme {
    Bearer(Vec<SecretString>),
    Hmac { keys: Vec<SecretString>, header: String },
    Standard(Vec<SecretString>),
    Path(Vec<SecretString>),
    Open,
}

impl Verifier {
    /// Follows the references.
    pub fn new(auth: &WebhookAuth) -> Result<Verifier, AuthError> {
        let scheme = match auth {
            WebhookAuth::Bearer { secrets } => Scheme::Bearer(resolve(secrets, any)?),
            WebhookAuth::Hmac { secrets, header } => {
                Scheme::Hmac { keys: resolve(secrets, any)?, header: header.to_ascii_lowercase() }
            }
            WebhookAuth::StandardWebhooks { secrets } => {
                Scheme::Standard(resolve(secrets, standard)?)
            }
            WebhookAuth::SecretPath { secrets } => Scheme::Path(resolve(secrets, path)?),
            WebhookAuth::None {} => Scheme::Open,
        };
        Ok(Verifier { scheme })
    }

    /// True where the secret is the last part of the path.
    pub fn in_path(&self) -> bool {
        matches!(self.scheme, Scheme::Path(_))
    }

    /// True where who sends is known before the body is: by the path or the header.
    pub fn before_body(&self) -> bool {
        matches!(self.scheme, Scheme::Path(_) | Scheme::Bearer(_))
    }

    /// True where whoever is accepted knows a secret.
    pub fn knows(&self) -> bool {
        !matches!(self.scheme, Scheme::Open)
    }

    /// True when the request is from somebody who knows a secret. `rest` is what follows the
    /// configured path, `now_s` the present second.
    pub fn accepts(&self, rest: &str, headers: &HeaderMap, body: &[u8], now_s: i64) -> bool {
        match &self.scheme {
            Scheme::Open => true,
            Scheme::Path(secrets) => equals_one(secrets, rest.as_bytes()),
            Scheme::Bearer(secrets) => match single(headers, "authorization") {
                Some(value) => {
                    let (scheme, token) = value.split_once(' ').unwrap_or(("", ""));
                    scheme.eq_ignore_ascii_case("bearer") && equals_one(secrets, token.as_bytes())
                }
                None => false,
            },
            Scheme::Hmac { keys, header } => {
                let Some(value) = single(headers, header) else { return false };
                let Some(hex) = value.strip_prefix("sha256=") else { return false };
                let Ok(given) = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else {
                    return false;
                };
                let sign = |key: &SecretString| mac(key.expose_secret().as_bytes(), &[body]);
                keys.iter().fold(Choice::from(0), |hit, key| hit | sign(key).ct_eq(&given)).into()
            }
            Scheme::Standard(keys) => standard_accepts(keys, headers, body, now_s),
        }
    }
}

/// Standard Webhooks: the signature covers `id.timestamp.body`; the header lists candidates.
fn standard_accepts(keys: &[SecretString], headers: &HeaderMap, body: &[u8], now_s: i64) -> bool {
    let (Some(id), Some(time), Some(signatures)) = (
        single(headers, "webhook-id"),
        single(headers, "webhook-timestamp"),
        single(headers, "webhook-signature"),
    ) else {
        return false;
    };
    let Ok(sent) = time.parse::<i64>() else { return false };
    if now_s.abs_diff(sent) > TOLERANCE.unsigned_abs() {
        return false;
    }
    let mut hit = Choice::from(0);
    for candidate in signatures.split(' ').filter_map(|s| s.strip_prefix("v1,")).take(8) {
        let Ok(given) = STANDARD.decode(candidate) else { continue };
        for key in keys {
            let key = standard_key(key.expose_secret()).unwrap_or_default();
            let parts: [&[u8]; 5] = [id.as_bytes(), b".", time.as_bytes(), b".", body];
            hit |= mac(&key, &parts).ct_eq(&given);
        }
    }
    hit.into()
}

fn standard_key(secret: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok().filter(|k| k.len() >= 16)
}

/// The header's value, if there is exactly one and it is text.
fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Compares digests, so that neither length nor content is told by the time it takes.
fn equals_one(secrets: &[SecretString], given: &[u8]) -> bool {
    let given = Sha256::digest(given);
    let equal = |secret: &SecretString| {
        Sha256::digest(secret.expose_secret().as_bytes()).as_slice().ct_eq(given.as_slice())
    };
    secrets.iter().fold(Choice::from(0), |hit, secret| hit | equal(secret)).into()
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn resolve(
    secrets: &[SecretRef],
    fit: fn(&str) -> Result<(), &'static str>,
) -> Result<Vec<SecretString>, AuthError> {
    let one = |secret: &SecretRef| {
        let value = secret.resolve()?;
        fit(value.expose_secret())
            .map_err(|reason| AuthError::Unfit { from: secret.to_string(), reason })?;
        Ok(value)
    };
    secrets.iter().map(one).collect()
}

fn any(secret: &str) -> Result<(), &'static str> {
    if secret.len() < 16 { Err("is shorter than 16 characters; make a longer one") } else { Ok(()) }
}

fn path(secret: &str) -> Result<(), &'static str> {
    any(secret)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if secret.bytes().all(plain) {
        return Ok(());
    }
    Err("does not fit into a path; use letters, digits, '-' and '_'")
}

fn standard(secret: &str) -> Result<(), &'static str> {
    standard_key(secret).map(|_| ()).ok_or("is no base64 of at least 16 bytes (whsec_...)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    const NOW: i64 = 1_795_511_101;
    const KEY: &str = "0123456789abcdef-first";
    const NEXT: &str = "0123456789abcdef-second";

    fn secrets(values: &[&str]) -> Vec<SecretString> {
        values.iter().map(|v| SecretString::from((*v).to_owned())).collect()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn hex(key: &str, body: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(&mac(key.as_bytes(), &[body]))
    }

    #[test]
    fn hmac_over_the_raw_body() {
        let scheme = Scheme::Hmac { keys: secrets(&[KEY, NEXT]), header: "x-sig".into() };
        let verifier = Verifier { scheme };
        let body = b"{\"a\": 1}".as_slice();
        let good = hex(KEY, body);
        let ok =
            |pairs: &[(&str, &str)], body: &[u8]| verifier.accepts("", &headers(pairs), body, NOW);
        let sig = |hex: &str| format!("sha256={hex}");
        assert!(ok(&[("x-sig", &sig(&good))], body));
        assert!(ok(&[("x-sig", &sig(&hex(NEXT, body)))], body), "the second key while rotating");
        assert!(ok(&[("x-sig", &sig(&good.to_uppercase()))], body));
        for wrong in [
            String::new(),
            "sha256=".into(),
            good.clone(),
            sig(&good[..62]),
            sig(&format!("{good}00")),
            format!("sha1={good}"),
            sig(&good.replace(&good[..1], if good.starts_with('a') { "b" } else { "a" })),
            sig(&hex("0123456789abcdef-third", body)),
        ] {
            assert!(!ok(&[("x-sig", &wrong)], body), "{wrong}");
        }
        assert!(!ok(&[], body));
        assert!(!ok(&[("x-sig", &sig(&good)), ("x-sig", &sig(&good))], body), "two signatures");
        assert!(!ok(&[("x-sig", &sig(&good))], b"{\"a\": 2}"), "one bit off in the body");
    }

    #[test]
    fn standard_webhooks_with_their_time() {
        let secret = format!("whsec_{}", STANDARD.encode(b"0123456789abcdef01234567"));
        let verifier = Verifier { scheme: Scheme::Standard(secrets(&[&secret])) };
        let body = b"{}".as_slice();
        let signed = |time: i64| {
            let time = time.to_string();
            let parts: [&[u8]; 5] = [b"m1", b".", time.as_bytes(), b".", body];
            let mac = mac(&standard_key(&secret).unwrap(), &parts);
            (time, format!("v1,{}", STANDARD.encode(mac)))
        };
        let ok = |id: &str, time: &str, signature: &str| {
            let pairs =
                [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
            verifier.accepts("", &headers(&pairs), body, NOW)
        };
        for (offset, want) in [(0, true), (-299, true), (299, true), (-301, false), (301, false)] {
            let (time, signature) = signed(NOW + offset);
            assert_eq!(ok("m1", &time, &signature), want, "{offset}");
        }
        let (time, signature) = signed(NOW);
        assert!(ok("m1", &time, &format!("v1,AAAA {signature}")), "any of the listed");
        assert!(!ok("m2", &time, &signature));
        assert!(!ok("m1", &(NOW + 1).to_string(), &signature), "the time is signed");
        assert!(!ok("m1", "soon", &signature));
        assert!(!ok("m1", &time, signature.trim_start_matches("v1,")));
    }

    #[test]
    fn bearer_and_path() {
        let bearer = Verifier { scheme: Scheme::Bearer(secrets(&[KEY])) };
        let ok = |value: &str| bearer.accepts("", &headers(&[("authorization", value)]), b"", NOW);
        assert!(ok(&format!("Bearer {KEY}")) && ok(&format!("bearer {KEY}")));
        assert!(!ok(KEY) && !ok("Bearer ") && !ok(&format!("Basic {KEY}")));
        assert!(!ok(&format!("Bearer {}", &KEY[1..])));
        let path = Verifier { scheme: Scheme::Path(secrets(&[KEY])) };
        assert!(path.accepts(KEY, &HeaderMap::new(), b"", NOW));
        assert!(!path.accepts("", &HeaderMap::new(), b"", NOW));
        assert!(!format!("{path:?}").contains(KEY));
    }

    #[test]
    fn unfit_secrets_are_refused() {
        assert!(any("short").is_err());
        assert!(path("0123456789abcdef/").is_err() && path("0123456789abcdef").is_ok());
        assert!(standard("whsec_AAAA").is_err());
    }
}
