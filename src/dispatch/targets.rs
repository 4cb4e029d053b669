//! Targets before the first canary: do they take the events that the routes would send?
//!
//! A target that answers and must not be used as configured (records in another framing, a
//! compacted topic) refuses the run before anything is written to it. A target that cannot be asked
//! does not: it may come up before the first canary is due, and until then each event is handed
//! over, rejected and recorded as undelivered, which is a finding and not a reason to stop looking.

use std::collections::BTreeSet;
use std::time::Duration;

use dwell_injectors::catalogue::{Catalogue, Entry};
use dwell_injectors::injector::{Injector, Sample};
use dwell_injectors::lint::{GOLDEN_SEED, GoldenToken, sample_time_ns};
use dwell_injectors::render::{RenderError, RenderInput, Rendered, render};

use crate::config::checked::Route;
use crate::exit::Failure;
use crate::report::escape::terminal;

/// The events of every distinct recipe of these routes, with a token that is nobody's.
pub fn samples<'r>(
    routes: impl IntoIterator<Item = &'r Route>,
    catalogue: &Catalogue,
) -> Vec<Sample> {
    let mut seen = BTreeSet::new();
    let mut samples = Vec::new();
    for route in routes {
        if !seen.insert(route.recipe.as_str()) {
            continue;
        }
        let Some(entry) = catalogue.get(&route.recipe) else { continue };
        // What cannot be rendered now is refused when its canary is due.
        let Ok(rendered) = sample_of(entry, route) else { continue };
        let of_recipe = |event| Sample { recipe: route.recipe.clone(), event };
        samples.extend(rendered.events.into_iter().map(of_recipe));
    }
    samples
}

/// Rendered at the first minute after the golden instant at which the recipe makes sense.
fn sample_of(entry: &Entry, route: &Route) -> Result<Rendered, RenderError> {
    let input = RenderInput {
        token: &GoldenToken,
        facts: &route.facts,
        time_ns: sample_time_ns(&entry.recipe, &route.facts),
        seed: GOLDEN_SEED,
        key: route.key.as_deref(),
    };
    render(&entry.recipe, &input)
}

/// Asks a target whether these events may go there. Reads only, within `timeout`.
pub fn admit(
    name: &str,
    injector: &mut dyn Injector,
    samples: &[Sample],
    timeout: Duration,
) -> Result<(), Failure> {
    let target = injector.target();
    match injector.check(samples, timeout) {
        Ok(notes) => match notes.iter().find(|note| note.refuse) {
            Some(note) => Err(Failure::Environment(format!(
                "injector {name}: {target}: {}; nothing was injected",
                note.text
            ))),
            None => Ok(()),
        },
        Err(error) => {
            let why = terminal(&error.to_string());
            tracing::warn!(injector = name, target = %target, %why, "The target could not be looked at; the run goes on.");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwell_injectors::injector::{CheckNote, Event, Target};
    use dwell_injectors::receipt::{InjectError, Receipt};

    /// A target that answers as told.
    #[derive(Debug)]
    struct Told(Result<Vec<(bool, &'static str)>, &'static str>);

    impl Injector for Told {
        fn target(&self) -> Target {
            Target { transport: "kafka", place: "b:1/t".to_owned(), local: true }
        }
        fn deliver(&mut self, _: &Event, _: Duration) -> Result<Receipt, InjectError> {
            panic!("looking must send nothing")
        }
        fn check(&mut self, _: &[Sample], _: Duration) -> Result<Vec<CheckNote>, InjectError> {
            let notes = self.0.clone().map_err(InjectError::rejected)?;
            let note = |(refuse, text): (bool, &str)| CheckNote { refuse, text: text.to_owned() };
            Ok(notes.into_iter().map(note).collect())
        }
        fn close(&mut self, _: Duration) -> usize {
            0
        }
    }

    #[test]
    fn a_refusal_stops_and_a_silent_target_does_not() {
        let ask = |told| admit("log", &mut Told(told), &[], Duration::from_secs(1));
        assert!(ask(Ok(vec![])).is_ok());
        assert!(ask(Ok(vec![(false, "empty topic")])).is_ok());
        assert!(ask(Err("connection refused")).is_ok());
        let refused = ask(Ok(vec![(false, "empty topic"), (true, "compacted")])).unwrap_err();
        assert!(matches!(&refused, Failure::Environment(text)
            if text.contains("injector log: kafka b:1/t: compacted")));
    }

    #[test]
    fn every_distinct_recipe_is_sampled_with_all_its_events() {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string("configs/quickstart.toml").unwrap();
        let key = dwell_injectors::token::KeyRing::with_fixed_key([7; 32]);
        key.create(&folder.path().join("dwell.key")).unwrap();
        let path = folder.path().join("dwell.toml");
        std::fs::write(&path, text).unwrap();
        let config = crate::config::load(&path).unwrap();
        let catalogue = Catalogue::load(&config.recipe_folders).unwrap();
        let route = |recipe: &str| Route {
            recipe: recipe.to_owned(),
            facts: std::collections::BTreeMap::new(),
            ..config.routes[0].clone()
        };
        let spray = "fake-login/windows-4625-spray";
        let line = "fake-login/sshd-failed-password";
        let found = samples(&[route(spray), route(line), route(spray)], &catalogue);
        let count = |recipe: &str| found.iter().filter(|s| s.recipe == recipe).count();
        assert_eq!((count(spray), count(line), found.len()), (10, 1, 11));
        // A recipe of the night is sampled too, although the golden instant is at noon.
        for entry in catalogue.iter() {
            let routes = [route(&entry.recipe.id)];
            assert!(!samples(&routes, &catalogue).is_empty(), "{}", entry.recipe.id);
        }
    }
}
