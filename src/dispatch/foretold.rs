//! What a run would cause at most, and what its canaries could not show: told before any leaves.
//!
//! One place says so for `check`, `run --dry-run` and `run`, from the same canaries, so that the three
//! never name different numbers. A canary that is withheld causes nothing and carries nothing.
//!
//! What is counted is one alert an event, and one more for a canary of several events, for the rule that
//! looks at the burst as a whole. Not promised: how many rules a SIEM has for one event; nobody here can know.

use dwell_injectors::catalogue::Catalogue;
use serde::Serialize;

use super::nanos;
use super::outcome::Fold;
use crate::config::checked::{Config, Response, Route};
use crate::ledger::Stage;
use crate::report::SHORTEST_NS;
use crate::report::words::{duration, percent};
use crate::stats::planning::canaries_needed;

/// How the most is counted, for whoever reads it.
pub const COUNTED: &str =
    "Counted are one alert an event and one more a burst; several rules for one event raise more.";

/// The most that a run can cause.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Most {
    /// Canaries of all routes.
    pub canaries: u64,
    /// Events of all canaries.
    pub events: u64,
    /// Alerts, if every event raised one and every burst one more.
    pub alerts: u64,
    /// Of these, those that open a ticket.
    pub tickets: u64,
    /// Of these, those that page somebody.
    pub pages: u64,
}

/// What there is to foretell of some routes.
pub struct Foretold {
    routes: Vec<OfRoute>,
    window_ns: u64,
}

struct OfRoute {
    name: String,
    /// Canaries of one run.
    count: u64,
    /// Events of one canary.
    events: u64,
    response: Response,
    /// True where a run of this campaign planned it before.
    begun: bool,
    claims: Vec<Claim>,
}

/// What an objective with a confidence claims by the run's own plan; one that was recorded beforehand
/// may be carried by several runs and is left out.
struct Claim {
    expectation: String,
    confidence: f64,
    /// Canaries that it needs, all in time; `None` where no number is enough.
    needed: Option<u64>,
    /// As many batches of this length, nanoseconds, it needs too: canaries that one run of the rule catches
    /// are one look at it. The report's may be longer, where the detections or a poll say so. 0: none.
    batch_ns: u64,
}

impl Foretold {
    /// Of these routes, in their order.
    pub fn new<'r>(
        config: &Config,
        routes: impl IntoIterator<Item = &'r Route>,
        catalogue: &Catalogue,
        fold: &Fold,
    ) -> Foretold {
        let campaign = config.campaign.name.as_str();
        let of = |route: &Route| OfRoute {
            name: route.name.clone(),
            count: u64::from(route.count),
            events: catalogue.get(&route.recipe).map_or(1, |e| e.recipe.event_count() as u64),
            response: route.response,
            begun: fold.planned_under(campaign, &route.name),
            claims: route
                .expectations
                .iter()
                .filter(|e| !fold.claimed_beforehand(campaign, &route.name, &e.name))
                .filter_map(|e| {
                    let confidence = e.objective.confidence?;
                    let needed = canaries_needed(e.objective.share, confidence, 0);
                    let batch_ns = match e.rule_period {
                        Some(period) => nanos(period),
                        None if e.stage < Stage::Detected => 0,
                        None => SHORTEST_NS,
                    };
                    Some(Claim { expectation: e.name.clone(), confidence, needed, batch_ns })
                })
                .collect(),
        };
        let window_ns = nanos(config.campaign.window);
        Foretold { routes: routes.into_iter().map(of).collect(), window_ns }
    }

    /// If every canary of the plan left.
    pub fn most_of_all(&self) -> Most {
        self.most(&self.routes.iter().map(|route| route.count).collect::<Vec<_>>())
    }

    /// If so many of each route left; parallel to the routes.
    pub fn most(&self, leaving: &[u64]) -> Most {
        let mut most = Most::default();
        for (route, canaries) in self.routes.iter().zip(leaving) {
            let events = canaries * route.events;
            let alerts = events + if route.events > 1 { *canaries } else { 0 };
            most.canaries += canaries;
            most.events += events;
            most.alerts += alerts;
            match route.response {
                Response::Ticket => most.tickets += alerts,
                Response::Page => most.pages += alerts,
                Response::None | Response::Automated => {}
            }
        }
        most
    }

    /// The objectives that a run of which so many leave cannot meet, however well the pipeline works.
    pub fn hollow(&self, leaving: &[u64]) -> Vec<String> {
        let of = |(route, leaving): (&OfRoute, &u64)| {
            let words = |claim: &Claim| {
                let why = route.hinders(claim, *leaving, self.window_ns)?;
                Some(format!(
                    "route {}: {} with {} confidence can end undecided at best: {why}",
                    route.name,
                    claim.expectation,
                    percent(claim.confidence)
                ))
            };
            route.claims.iter().filter_map(words).collect::<Vec<_>>()
        };
        self.routes.iter().zip(leaving).flat_map(of).collect()
    }
}

impl OfRoute {
    /// Why the run's own plan does not carry a claim.
    fn hinders(&self, claim: &Claim, leaving: u64, window_ns: u64) -> Option<String> {
        let Some(needed) = claim.needed else {
            return Some("no number of canaries carries it; set a share below 1".to_owned());
        };
        if self.begun {
            return Some(
                "its campaign has begun, and n and m were not fixed beforehand; set another \
                 `campaign.name`, or see `dwell plan --record`"
                    .to_owned(),
            );
        }
        let planned = match leaving == self.count {
            true => format!("{leaving} planned"),
            false => format!("{leaving} of {} planned would leave", self.count),
        };
        if leaving < needed {
            return Some(format!("{needed} canaries needed, {planned}; see `dwell plan`"));
        }
        let batches = window_ns.checked_div(claim.batch_ns).map_or(u64::MAX, |n| n + 1);
        (batches < needed).then(|| {
            format!(
                "{needed} batches needed, and a window of {} holds at most {batches} of {} \
                 (`rule_period`, by default 5 min): canaries that one run of the rule catches count once; \
                 see `dwell plan`",
                duration(window_ns),
                duration(claim.batch_ns)
            )
        })
    }
}
