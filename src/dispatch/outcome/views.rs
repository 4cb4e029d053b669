//! Which canaries belong together: one view a route, and more where its runs meant different things by it.
//!
//! A campaign is a series under one configuration, and `dwell run` refuses to go on with another one.
//! Ledgers of older versions, and probes, hold such series all the same. A number over canaries that were
//! judged by two rules or two deadlines means neither, so each meaning has a view of its own: its plan,
//! its canaries, its withdrawals. Within a view every verdict stands at the index of its expectation in
//! the view's plan, in whatever order the canary's own run had named them.
//!
//! # What is a meaning
//!
//! What the report says that its times are of: the recipe (the event's shape), where it enters, and per
//! expectation, by name: stage, watchers, rules, deadline and horizon. An expectation that is there in
//! one run alone is a difference as well, since outcomes add up over a view's canaries.
//!
//! No difference is made by what judges a number once it stands (share, confidence, `min_n`: the latest
//! run's hold), by what describes (owner, techniques, target), by the rule's period, which only lengthens
//! blocks, and by the proof, which is applied canary by canary. Nor by the order of anything.
//!
//! A run that injected nothing on a route measured nothing there: what it planned and withdrew is counted
//! with the latest run's meaning, so that a start with a wrong configuration does no harm.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{CanaryView, RouteView, WithdrawnView};
use crate::ledger::{ExpectationPlan, RoutePlan, RunStarted, Stage, Withdrawn};
use crate::report::words::duration;

/// What the canaries of a route are about.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Meaning<'a> {
    recipe: &'a str,
    enters_at: &'a str,
    expected: Vec<Expected<'a>>,
}

/// What is expected of them, with lists in order of their words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Expected<'a> {
    name: &'a str,
    stage: Stage,
    watchers: Vec<&'a str>,
    rules: Vec<&'a str>,
    deadline_ns: u64,
    horizon_ns: u64,
}

impl<'a> Meaning<'a> {
    fn of(plan: &'a RoutePlan) -> Meaning<'a> {
        let mut expected: Vec<Expected<'_>> = plan.expectations.iter().map(Expected::of).collect();
        expected.sort_unstable();
        Meaning { recipe: &plan.recipe, enters_at: &plan.enters_at, expected }
    }
}

impl<'a> Expected<'a> {
    fn of(plan: &'a ExpectationPlan) -> Expected<'a> {
        Expected {
            name: &plan.name,
            stage: plan.stage,
            watchers: sorted(&plan.watchers),
            rules: sorted(&plan.rules),
            deadline_ns: plan.deadline_ns,
            horizon_ns: plan.horizon_ns,
        }
    }
}

fn sorted(words: &[String]) -> Vec<&str> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// What the second plan of a route means otherwise than the first, in words; empty where both mean the
/// same. May hold foreign text.
pub(super) fn differences(then: &RoutePlan, now: &RoutePlan) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: String, then: String, now: String| {
        if then != now {
            found.push(format!("{what} was {then} and is {now}"));
        }
    };
    differ("recipe".to_owned(), then.recipe.clone(), now.recipe.clone());
    differ("enters_at".to_owned(), then.enters_at.clone(), now.enters_at.clone());
    let (old, new) = (by_name(then), by_name(now));
    for (name, a) in &old {
        let Some(b) = new.get(name) else { continue };
        let mut differ = |what: &str, then: String, now: String| {
            differ(format!("{what} of expectation {name}"), then, now);
        };
        differ("stage", a.stage.name().to_owned(), b.stage.name().to_owned());
        differ("watchers", listed(&a.watchers), listed(&b.watchers));
        differ("rules", listed(&a.rules), listed(&b.rules));
        differ(
            "deadline",
            exactly(a.deadline_ns, b.deadline_ns),
            exactly(b.deadline_ns, a.deadline_ns),
        );
        differ("horizon", exactly(a.horizon_ns, b.horizon_ns), exactly(b.horizon_ns, a.horizon_ns));
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    found.extend(gone.map(|name| format!("expectation {name} is gone")));
    let added = new.keys().filter(|name| !old.contains_key(*name));
    found.extend(added.map(|name| format!("expectation {name} is new")));
    found
}

fn by_name(plan: &RoutePlan) -> BTreeMap<&str, Expected<'_>> {
    plan.expectations.iter().map(|e| (e.name.as_str(), Expected::of(e))).collect()
}

fn listed(words: &[&str]) -> String {
    match words {
        [] => "any".to_owned(),
        words => words.join(", "),
    }
}

/// A time in words, in nanoseconds where words do not tell it from the other.
fn exactly(ns: u64, other: u64) -> String {
    match duration(ns) {
        words if ns != other && words == duration(other) => format!("{ns} ns"),
        words => words,
    }
}

/// What the grouping looks at beside the runs.
pub(super) struct Facts<'a> {
    pub withdrawn: &'a [Withdrawn],
    /// Run and route index of every canary that was not withdrawn.
    pub injected: HashSet<(u32, u32)>,
}

/// The views of a campaign without canaries, and where each canary belongs.
pub(super) fn group<'a>(runs: &'a [RunStarted], facts: &Facts<'_>) -> (Vec<RouteView>, Places<'a>) {
    let mut latest: HashMap<&str, &RoutePlan> = HashMap::new();
    for plan in runs.iter().flat_map(|run| &run.routes) {
        latest.insert(&plan.name, plan);
    }
    let mut routes: Vec<RouteView> = Vec::new();
    // While views are still inserted a place is the view's meaning, looked up once all stand.
    let mut meant: Vec<(&RunStarted, Vec<&RoutePlan>)> = Vec::new();
    for run in runs {
        let mut plans = Vec::with_capacity(run.routes.len());
        for (index, planned) in (0u32..).zip(&run.routes) {
            let used = facts.injected.contains(&(run.run, index));
            let plan = match latest.get(planned.name.as_str()) {
                Some(latest) if !used => latest,
                _ => planned,
            };
            let at = at_view(&mut routes, plan);
            let route = &mut routes[at];
            route.plan = plan.clone();
            route.planned += u64::from(planned.planned);
            route.runs.push(run.run);
            let of_route = facts.withdrawn.iter().filter(|w| w.run == run.run && w.route == index);
            route.withdrawn.extend(of_route.map(|w| WithdrawnView {
                run: w.run,
                slot_from: w.slot_from,
                slots: w.slots,
                reason: w.reason.clone(),
            }));
            plans.push(plan);
        }
        meant.push((run, plans));
    }
    let mut in_all: HashMap<String, u32> = HashMap::new();
    for route in &routes {
        *in_all.entry(route.plan.name.clone()).or_insert(0) += route.runs.len() as u32;
    }
    for route in &mut routes {
        route.runs_in_all = in_all.get(&route.plan.name).copied().unwrap_or(0);
    }
    let places = Places::new(meant, &routes);
    (routes, places)
}

fn view_of(routes: &[RouteView], plan: &RoutePlan) -> Option<usize> {
    let meaning = Meaning::of(plan);
    routes.iter().position(|r| r.plan.name == plan.name && Meaning::of(&r.plan) == meaning)
}

/// The view of that meaning, made beside the route's others where there is none yet.
fn at_view(routes: &mut Vec<RouteView>, plan: &RoutePlan) -> usize {
    if let Some(at) = view_of(routes, plan) {
        return at;
    }
    let beside = routes.iter().rposition(|r| r.plan.name == plan.name);
    let at = beside.map_or(routes.len(), |at| at + 1);
    let view = RouteView {
        plan: plan.clone(),
        planned: 0,
        runs: Vec::new(),
        runs_in_all: 0,
        claims: Vec::new(),
        withdrawn: Vec::new(),
        canaries: Vec::new(),
    };
    routes.insert(at, view);
    at
}

/// Where the canaries of one route of one run belong.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub view: usize,
    /// For each expectation of the view its index in the run's own plan; `None` where they agree.
    order: Option<Vec<usize>>,
}

impl Place {
    fn new(own: &RoutePlan, view: usize, of: &RoutePlan) -> Place {
        let by_meaning = |plan: &RoutePlan| -> Vec<usize> {
            let mut order: Vec<usize> = (0..plan.expectations.len()).collect();
            order.sort_by(|a, b| {
                let expected = |at: &usize| Expected::of(&plan.expectations[*at]);
                expected(a).cmp(&expected(b))
            });
            order
        };
        let mut order = vec![0; of.expectations.len()];
        for (own, at) in by_meaning(own).into_iter().zip(by_meaning(of)) {
            order[at] = own;
        }
        let differs = order.iter().enumerate().any(|(at, own)| at != *own);
        Place { view, order: differs.then_some(order) }
    }

    /// Lays the verdicts in the order of the view's expectations.
    pub(super) fn arrange(&self, canary: &mut CanaryView) {
        let Some(order) = &self.order else { return };
        let verdicts = order.iter().filter_map(|own| canary.verdicts.get(*own).cloned());
        canary.verdicts = verdicts
            .enumerate()
            .map(|(expectation, verdict)| super::Verdict { expectation, ..verdict })
            .collect();
    }
}

/// Where the canaries of a campaign's runs belong.
pub(super) struct Places<'a> {
    runs: HashMap<u32, (&'a RunStarted, Vec<Option<Place>>)>,
}

impl<'a> Places<'a> {
    fn new(meant: Vec<(&'a RunStarted, Vec<&RoutePlan>)>, routes: &[RouteView]) -> Places<'a> {
        let place = |(run, plans): (&'a RunStarted, Vec<&RoutePlan>)| {
            let places = run.routes.iter().zip(plans).map(|(own, plan)| {
                let view = view_of(routes, plan)?;
                Some(Place::new(own, view, &routes[view].plan))
            });
            (run.run, (run, places.collect()))
        };
        Places { runs: meant.into_iter().map(place).collect() }
    }

    /// The run, the route's plan in it, and the place among the views.
    pub(super) fn of(
        &self,
        run: u32,
        route: u32,
    ) -> Option<(&'a RunStarted, &'a RoutePlan, &Place)> {
        let (run, places) = self.runs.get(&run)?;
        let at = route as usize;
        Some((run, run.routes.get(at)?, places.get(at)?.as_ref()?))
    }
}

/// `run 3`, `runs 1 to 4, 6`.
pub(super) fn in_words(runs: &[u32]) -> String {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for run in runs {
        match spans.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*run) => *last = *run,
            _ => spans.push((*run, *run)),
        }
    }
    let span = |(first, last): &(u32, u32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first} to {last}"),
    };
    let spans: Vec<String> = spans.iter().map(span).collect();
    format!("run{} {}", if runs.len() == 1 { "" } else { "s" }, spans.join(", "))
}
