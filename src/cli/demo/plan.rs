//! What the demo plants: the campaign's configuration, the detector's, and the faults that the
//! comparison expects to find again.
//!
//! Seven routes. Each plants something different:
//!
//! | route | planted |
//! |---|---|
//! | `ssh-failed` | nothing: healthy and fast, with a claim about 95 % |
//! | `web-portal` | a queue with an exponential delay; seen by the webhook alone |
//! | `okta-login` | its rule is enabled and evaluates nothing |
//! | `aws-console` | the parser loses a field that the rule needs |
//! | `windows-account` | a slow queue and a rule that runs every two seconds |
//! | `github-supplier` | a supplier's feed that loses a fifth of its records |
//! | `ssh-brute-force` | bursts; the correlation's alert holds only its group |

use std::fmt::Write as _;
use std::net::SocketAddr;

/// The route whose rule is silent.
pub(super) const SILENT: &str = "okta-login";
/// The route whose parser loses a field, and the field.
pub(super) const FAULTY: (&str, &str) = ("aws-console", "errorMessage");
/// The supplier's route, and the probability that its feed loses a record.
pub(super) const LOSSY: (&str, f64) = ("github-supplier", 0.2);
/// The slow route.
pub(super) const SLOW: &str = "windows-account";
/// The route whose canaries are bursts.
pub(super) const BURST: &str = "ssh-brute-force";
/// Watcher that polls the search API.
pub(super) const SEARCH: &str = "search";
/// Watcher to the outlet that it watches, and what kind it is.
pub(super) const OUTLETS: [(&str, &str, &str); 2] =
    [("alerts", "alert-file", "file"), ("soc", "alert-hook", "webhook")];
/// Canaries of each route.
pub(super) const COUNT: u32 = 60;
/// Least time between two canaries of a route: more than the period of the rule that carries the claim,
/// so that each of its runs catches one of them.
const GAP: &str = "300ms";
/// Seconds in which they are injected.
pub(super) const WINDOW_S: u32 = 36;

/// One route, on both sides.
struct Planted {
    name: &'static str,
    recipe: &'static str,
    log: &'static str,
    parser: &'static str,
    enters_at: &'static str,
    owner: &'static str,
    supplier: bool,
    /// Lines of the detector's source.
    source: &'static str,
    /// Lines of the detector's rule: period, lookback and outlets.
    rule: &'static str,
    /// Stage, watcher, deadline, and the rest of each expectation.
    expect: &'static [(&'static str, &'static str, &'static str, &'static str)],
}

const INGESTED: (&str, &str, &str, &str) = ("ingested", "search", "4s", "");

const ROUTES: [Planted; 7] = [
    Planted {
        name: "ssh-failed",
        recipe: "fake-login/sshd-failed-password",
        log: "logs/auth-web01.log",
        parser: "sshd",
        enters_at: "host-log",
        owner: "Linux platform",
        supplier: false,
        source: "delay = { type = \"fixed\", by = \"20ms\" }",
        rule: "every = \"250ms\"\nlookback = \"10s\"\noutlets = [\"alert-file\", \"alert-hook\"]",
        expect: &[
            INGESTED,
            (
                "detected",
                "alerts",
                "2s",
                "objective = { share = 0.95, confidence = 0.95, min_n = 59 }\nrule_period = \"250ms\"",
            ),
            ("notified", "soc", "2s", "rule_period = \"250ms\""),
        ],
    },
    Planted {
        name: "web-portal",
        recipe: "fake-login/nginx-form-login-failure",
        log: "logs/access.log",
        parser: "nginx-access",
        enters_at: "host-log",
        owner: "Web platform",
        supplier: false,
        source: "delay = { type = \"exponential\", mean = \"150ms\" }",
        rule: "every = \"500ms\"\nlookback = \"10s\"\noutlets = [\"alert-hook\"]",
        expect: &[INGESTED, ("notified", "soc", "4s", "rule_period = \"500ms\"")],
    },
    Planted {
        name: SILENT,
        recipe: "fake-login/okta-session-failure",
        log: "logs/okta.json",
        parser: "okta",
        enters_at: "collector",
        owner: "Identity",
        supplier: false,
        source: "delay = { type = \"uniform\", from = \"50ms\", to = \"300ms\" }",
        rule: "every = \"500ms\"\nlookback = \"10s\"\nsilent = true\noutlets = [\"alert-file\"]",
        expect: &[INGESTED, ("detected", "alerts", "4s", "rule_period = \"500ms\"")],
    },
    Planted {
        name: FAULTY.0,
        recipe: "fake-login/cloudtrail-console-login-failure",
        log: "logs/cloudtrail.json",
        parser: "cloudtrail",
        enters_at: "collector",
        owner: "Cloud platform",
        supplier: false,
        source: "delay = { type = \"fixed\", by = \"100ms\" }\ndrop_fields = [\"errorMessage\"]",
        rule: "every = \"500ms\"\nlookback = \"10s\"\noutlets = [\"alert-file\"]",
        expect: &[INGESTED, ("detected", "alerts", "4s", "rule_period = \"500ms\"")],
    },
    Planted {
        name: SLOW,
        recipe: "account-abuse/windows-4720-account-created",
        log: "logs/windows.json",
        parser: "windows",
        enters_at: "collector",
        owner: "Windows platform",
        supplier: false,
        source: "delay = { type = \"lognormal\", median = \"1500ms\", sigma = 0.6 }",
        rule: "every = \"2s\"\nlookback = \"20s\"\noutlets = [\"alert-file\"]",
        expect: &[(
            "detected",
            "alerts",
            "5s",
            "objective = { share = 0.9, min_n = 20 }\nrule_period = \"2s\"",
        )],
    },
    Planted {
        name: LOSSY.0,
        recipe: "decoy-credential/github-token-use",
        log: "logs/github.json",
        parser: "github",
        enters_at: "sensor",
        owner: "Example Forge Ltd",
        supplier: true,
        source: "delay = { type = \"uniform\", from = \"100ms\", to = \"800ms\" }\nloss = 0.2",
        rule: "every = \"500ms\"\nlookback = \"10s\"\noutlets = [\"alert-file\"]",
        expect: &[INGESTED, ("detected", "alerts", "4s", "rule_period = \"500ms\"")],
    },
    Planted {
        name: BURST,
        recipe: "fake-login/sshd-brute-force-success",
        log: "logs/auth-db01.log",
        parser: "sshd",
        enters_at: "host-log",
        owner: "Linux platform",
        supplier: false,
        source: "delay = { type = \"fixed\", by = \"20ms\" }",
        rule: "every = \"500ms\"\nlookback = \"30s\"\noutlets = [\"alert-file\"]",
        expect: &[(
            "detected",
            "alerts",
            "12s",
            "rules = [\"SSH Brute Force Followed by Success\"]\nrule_period = \"500ms\"",
        )],
    },
];

/// The log files, which exist before anything is written, as on a real host.
pub(super) fn logs() -> impl Iterator<Item = &'static str> {
    ROUTES.iter().map(|route| route.log)
}

/// The detector's configuration.
pub(super) fn detector(api: SocketAddr, hook: SocketAddr, seed: u64) -> String {
    let mut text = format!(
        "# The reference detector of the demo: a small SIEM whose delays and faults are known.\n\
         # Start it with: dwell detector -c detector.toml\n\
         seed = {seed}\napi = \"{api}\"\ntruth = \"truth.jsonl\"\n"
    );
    for route in &ROUTES {
        let Planted { name, recipe, log, parser, source, rule, .. } = route;
        let _ = write!(
            text,
            "\n[[source]]\nname = \"{name}\"\ninput = {{ type = \"file\", path = \"{log}\" }}\n\
             parsers = [\"{parser}\"]\n{source}\n\
             \n[[rule]]\nname = \"{name}\"\nrules = {{ type = \"recipe\", id = \"{recipe}\" }}\n\
             sources = [\"{name}\"]\n{rule}\n"
        );
    }
    let _ = write!(
        text,
        "\n[[outlet]]\nname = \"alert-file\"\nto = {{ type = \"file\", path = \"alerts.json\" }}\n\
         \n[[outlet]]\nname = \"alert-hook\"\nto = {{ type = \"webhook\", url = \"http://{hook}/alerts\" }}\n"
    );
    text
}

/// The campaign's configuration.
pub(super) fn campaign(api: SocketAddr, hook: SocketAddr, seed: u64, count: u32) -> String {
    let mut text = format!(
        "# The demo's campaign. Start the detector first, then: dwell run -c dwell.toml\n\
         [ledger]\npath = \"dwell.db\"\n\n[key]\nfile = \"dwell.key\"\n\n\
         [campaign]\nname = \"demo\"\nwindow = \"{WINDOW_S}s\"\narrivals = \"stratified\"\n\
         seed = {seed}\nkill_switch = \"STOP\"\n\n\
         [[watcher]]\nname = \"{SEARCH}\"\ntype = \"poll\"\nurl = \"http://{api}\"\n\
         dialect = \"reference-detector-search\"\nevery = \"250ms\"\noverlap = \"5s\"\n\
         timeout = \"5s\"\nstage = \"ingested\"\n\n\
         [[watcher]]\nname = \"alerts\"\ntype = \"file\"\npath = \"alerts.json\"\n\
         dialect = \"reference-detector\"\nstage = \"detected\"\n\n\
         [[watcher]]\nname = \"soc\"\ntype = \"webhook\"\nlisten = \"{hook}\"\npath = \"/alerts\"\n\
         dialect = \"reference-detector\"\nstage = \"notified\"\nauth = {{ type = \"none\" }}\n"
    );
    for route in &ROUTES {
        let Planted { name, recipe, log, enters_at, owner, supplier, expect, .. } = route;
        let _ = write!(
            text,
            "\n[[injector]]\nname = \"{name}\"\ntype = \"file\"\npath = \"{log}\"\n\
             \n[[route]]\nname = \"{name}\"\nrecipe = \"{recipe}\"\ninjector = \"{name}\"\n\
             enters_at = \"{enters_at}\"\nowner = \"{owner}\"\nsupplier = {supplier}\n\
             count = {count}\nmin_gap = \"{GAP}\"\ncap_per_hour = 1000\ncap_per_day = 10000\n\
             proof = \"written\"\nresponse = \"none\"\n"
        );
        for (stage, watcher, deadline, rest) in *expect {
            let _ = write!(
                text,
                "[[route.expect]]\nstage = \"{stage}\"\nwatchers = [\"{watcher}\"]\n\
                 deadline = \"{deadline}\"\nhorizon = \"60s\"\n{rest}{}",
                if rest.is_empty() { "" } else { "\n" }
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{RulesFrom, Settings};
    use dwell_injectors::catalogue::Catalogue;
    use std::path::Path;

    #[test]
    fn the_detectors_configuration_is_sound_and_names_real_recipes() {
        let at: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let settings = Settings::parse(&detector(at, at, 1), Path::new(".")).unwrap();
        assert_eq!(settings.sources.len(), ROUTES.len());
        let catalogue = Catalogue::embedded().unwrap();
        for rule in &settings.rules {
            let RulesFrom::Recipe { id } = &rule.rules else { panic!("{rule:?}") };
            assert!(catalogue.get(id).is_some(), "{id}");
        }
        assert!(settings.rules.iter().any(|r| r.silent && r.name == SILENT));
        let faulty = settings.sources.iter().find(|s| s.name == FAULTY.0).unwrap();
        assert_eq!(faulty.drop_fields, [FAULTY.1]);
        let lossy = settings.sources.iter().find(|s| s.name == LOSSY.0).unwrap();
        assert_eq!(lossy.loss, LOSSY.1);
    }
}
