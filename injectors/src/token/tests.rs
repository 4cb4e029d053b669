//! Every carrier through every mangling, forgeries, and the key file.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

fn ring() -> KeyRing {
    KeyRing::with_fixed_key(*b"0123456789abcdef0123456789abcdef")
}

const CARRIERS: [Carrier; 4] = [Carrier::Text, Carrier::Upper, Carrier::Uuid, Carrier::Ipv6];

fn mangle(text: &str, how: u8) -> String {
    match how {
        0 => text.to_owned(),
        1 => text.to_ascii_uppercase(),
        2 => text.to_ascii_lowercase(),
        3 => text.bytes().map(|b| format!("%{b:02X}")).collect(),
        4 => text.bytes().map(|b| format!("\\u{b:04x}")).collect(),
        5 => format!("https://example.net/?u={text}&x=1"),
        6 => format!("{{\"user\":\"{text}\"}}"),
        _ => text
            .char_indices()
            .map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c })
            .collect(),
    }
}

#[test]
fn no_prefix_is_what_logs_are_full_of() {
    for common in [
        "log4", "ext4", "win3", "amd6", "int6", "lib6", "sha5", "sha2", "ipv4", "ipv6", "eth2",
        "ip64", "a3f2", "be4d", "e2fs", "md5h",
    ] {
        assert!(key::is_common(common.as_bytes().try_into().unwrap()), "{common}");
    }
    for rare in ["r2lo", "q7xk", "w3h5"] {
        assert!(!key::is_common(rare.as_bytes().try_into().unwrap()), "{rare}");
    }
    // A word with its number, or part of a digest.
    let common = regex::Regex::new("^[a-z]+[2-7]+$|^[a-f2-7]+$").unwrap();
    for seed in 0..2000u32 {
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(&seed.to_be_bytes());
        let ring = KeyRing::with_fixed_key(secret);
        let prefix = ring.epochs()[0].prefix();
        assert!(!common.is_match(prefix), "{prefix}");
    }
}

proptest! {
    #[test]
    fn every_carrier_survives_every_mangling(serial in 0u32..(1 << 28), how in 0u8..8) {
        let token = ring().mint(Epoch(1), serial).unwrap();
        for carrier in CARRIERS {
            let text = mangle(&token.text(carrier), how);
            prop_assert_eq!(ring().recognise(&text), Recognition::Ours(token.id()), "{}", text);
        }
    }

    #[test]
    fn a_person_may_type_digits_for_letters(serial in 0u32..(1 << 28)) {
        let token = ring().mint(Epoch(1), serial).unwrap();
        let typed = token.text(Carrier::Text).replace('o', "0").replace('l', "1").replace('b', "8");
        prop_assert_eq!(ring().recognise(&typed), Recognition::Ours(token.id()));
    }

    #[test]
    fn one_flipped_bit_is_a_forgery(serial in 0u32..(1 << 28), bit in 0u32..60) {
        let key = ring().epochs()[0].clone();
        let bits = key.seal(serial) ^ (1 << bit);
        prop_assert!(key.unseal(bits).is_none());
        prop_assert_eq!(ring().recognise(&forms::text(&key, bits)), Recognition::Forged);
    }

    #[test]
    fn any_text_is_answered(text in ".{0,200}") {
        prop_assert_eq!(ring().recognise(&text), Recognition::None);
    }
}

#[test]
fn ten_thousand_random_forgeries_are_refused() {
    let key = ring().epochs()[0].clone();
    let mut state = 1u64;
    for _ in 0..10_000 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        assert!(key.unseal(state >> 4).is_none());
    }
}

#[test]
fn tokens_are_unique_and_hide_their_order() {
    let ring = ring();
    let texts: Vec<String> =
        (0..20_000).map(|s| ring.mint(Epoch(1), s).unwrap().text(Carrier::Text)).collect();
    assert_eq!(texts.iter().collect::<HashSet<_>>().len(), texts.len());
    let ascending = texts.windows(2).filter(|w| w[0] < w[1]).count();
    assert!((9_000..11_000).contains(&ascending), "{ascending} of 19999 ascend");
}

#[test]
fn forms_have_the_shape_that_their_fields_allow() {
    let ring = ring();
    for serial in 0..2_000 {
        let token = ring.mint(Epoch(1), serial).unwrap();
        let text = token.text(Carrier::Text);
        assert_eq!(text.len(), 16);
        assert!(text.starts_with(|c: char| c.is_ascii_lowercase()));
        assert!(text[..4].bytes().any(|b| b.is_ascii_digit()));
        let uuid = token.text(Carrier::Uuid);
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
        assert!("89ab".contains(&uuid[19..20]));
        let address: std::net::Ipv6Addr = token.text(Carrier::Ipv6).parse().unwrap();
        assert_eq!(address.to_string(), token.text(Carrier::Ipv6), "nothing compresses");
        assert!(address.segments().iter().all(|s| *s != 0));
    }
}

#[test]
fn the_key_file_is_private_grows_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let mut ring = KeyRing::generate();
    ring.create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(ring.create(&path), Err(KeyError::Exists { .. })));
    let old = ring.mint(Epoch(1), 5).unwrap();
    assert_eq!(ring.rotate(&path).unwrap(), Epoch(2));
    let loaded = KeyRing::load(&path).unwrap();
    assert_eq!(loaded.newest(), Epoch(2));
    assert_eq!(loaded.recognise(&old.text(Carrier::Uuid)), Recognition::Ours(old.id()));
    assert_eq!(loaded.chain_key(), ring.chain_key());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(KeyRing::load(&path), Err(KeyError::Secret(_))));
}

#[test]
fn a_damaged_key_file_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    for (text, line) in [("", 1), ("# note\nepoch x", 2), ("epoch 1 00", 1), ("nonsense", 1)] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        match KeyRing::load(&path) {
            Err(KeyError::Damaged { line: at, .. }) => assert_eq!(at, line, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_waits_at_the_old_temporary_name_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let open = folder.path().join("key.new");
    std::fs::write(&open, "mine").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut ring = KeyRing::generate();
    ring.create(&path).unwrap();
    ring.rotate(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&open).unwrap(), "mine");
    std::fs::remove_file(&open).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &open).unwrap();
    ring.rotate(&path).unwrap();
    assert!(!elsewhere.exists(), "the link was not followed");
    assert_eq!(names(folder.path()), ["key", "key.new"], "no temporary file is left");
    assert_eq!(KeyRing::load(&path).unwrap().newest(), Epoch(3));
}

#[test]
fn one_of_many_creators_wins_and_its_key_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let barrier = std::sync::Barrier::new(8);
    let won: Vec<[u8; 32]> = std::thread::scope(|scope| {
        let creators: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let ring = KeyRing::generate();
                    barrier.wait();
                    match ring.create(&path) {
                        Ok(()) => Some(ring.chain_key()),
                        Err(KeyError::Exists { .. }) => None,
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        creators.into_iter().filter_map(|c| c.join().unwrap()).collect()
    });
    assert_eq!(won, [KeyRing::load(&path).unwrap().chain_key()]);
    assert_eq!(names(folder.path()), ["key"]);
    let dangling = folder.path().join("dangling");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &dangling).unwrap();
    assert!(matches!(KeyRing::generate().create(&dangling), Err(KeyError::Exists { .. })));
}

#[test]
fn a_rotation_that_cannot_be_written_opens_no_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let mut ring = KeyRing::generate();
    let missing = folder.path().join("missing").join("key");
    assert!(matches!(ring.rotate(&missing), Err(KeyError::Unwritable { .. })));
    // The temporary file can be written, the step that replaces cannot: a folder stands there.
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert!(matches!(ring.rotate(&taken), Err(KeyError::Unwritable { .. })));
    assert_eq!((ring.newest(), ring.epochs().len()), (Epoch(1), 1));
    assert_eq!(names(folder.path()), ["taken"]);
}

#[test]
fn the_last_epoch_is_an_error_and_not_the_same_number_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, format!("epoch 65535 {}\n", "ab".repeat(32))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut ring = KeyRing::load(&path).unwrap();
    assert!(matches!(ring.rotate(&path), Err(KeyError::LastEpoch { epoch: 65_535 })));
    assert_eq!(KeyRing::load(&path).unwrap().epochs().len(), 1);
}
