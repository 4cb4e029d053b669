//! The exit code of a report: each row of the documented order, alone and against the next one.

use super::ledger::{Fate, Route, model};
use crate::exit::Exit;

/// A campaign in which each route gives one reason for a code.
fn exit(routes: &[Route]) -> Exit {
    model(routes, "quickstart").exit()
}

fn route(name: &str, share: f64, min_n: u32, fates: &[Fate]) -> Route {
    Route { share, min_n, ..Route::new(name, fates) }
}

#[test]
fn each_code_wins_over_those_behind_it() {
    let met = route("met", 1.0, 1, &[Fate::Seen(1.0)]);
    let too_few = route("few", 1.0, 9, &[Fate::Seen(1.0)]);
    let unproven = route("unproven", 1.0, 1, &[Fate::Unknown]);
    let missed = route("missed", 1.0, 1, &[Fate::Silent]);
    let late = route("late", 1.0, 1, &[Fate::Seen(30.0)]);
    let undelivered = route("undelivered", 0.1, 1, &[Fate::Seen(1.0), Fate::Rejected]);
    assert_eq!(exit(std::slice::from_ref(&met)), Exit::Met);
    for undecided in [&too_few, &unproven] {
        assert_eq!(exit(&[met.clone(), undecided.clone()]), Exit::Undecided);
        for one in [&missed, &late] {
            assert_eq!(exit(std::slice::from_ref(one)), Exit::Missed);
            assert_eq!(exit(&[undecided.clone(), one.clone(), met.clone()]), Exit::Missed);
            assert_eq!(exit(&[one.clone(), undelivered.clone()]), Exit::Environment);
        }
    }
    assert_eq!(exit(&[undelivered, met]), Exit::Environment);
}

#[test]
fn what_an_objective_tolerates_is_no_miss_of_it() {
    let fates = [Fate::Seen(1.0), Fate::Seen(1.0), Fate::Silent, Fate::Seen(30.0)];
    assert_eq!(exit(&[route("half", 0.5, 1, &fates)]), Exit::Met);
    assert_eq!(exit(&[route("most", 0.9, 1, &fates)]), Exit::Missed);
    // Too few to say: what was missed may still turn out to be tolerated.
    assert_eq!(exit(&[route("early", 0.5, 9, &fates)]), Exit::Undecided);
    // Without an objective of its own an expectation tolerates nothing.
    assert_eq!(exit(&[Route::new("default", &fates)]), Exit::Missed);
}
