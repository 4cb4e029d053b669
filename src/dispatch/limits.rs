//! What keeps a planned canary back: the authorisation's end, quiet hours, caps, the recipe's own hours.
//!
//! One place says so, for the run at the canary's instant and for `check`, `--dry-run` and `probe`
//! beforehand, so that what is foretold is what happens if the run begins now.

use std::collections::BTreeMap;
use std::sync::Arc;

use dwell_injectors::catalogue::Entry;
use dwell_injectors::recipe::Recipe;
use dwell_injectors::render::{RenderError, permitted};

use super::outcome::Fold;
use super::run::PlannedCanary;
use crate::config::checked::{Config, Route};
use crate::schedule::{Authorised, CAP_PER_DAY, CAP_PER_HOUR, CapRefusal, Caps};
use crate::schedule::{KILL_SWITCH, MIN_GAP, kill};
use crate::schedule::{OUTSIDE_AUTHORISATION, OUTSIDE_HOURS, QUIET_HOURS, QuietPlan};

const DAY_NS: i64 = 86_400_000_000_000;
const MINUTE_NS: i64 = 60_000_000_000;
/// How far ahead the next permitted minute is looked for.
const AHEAD_NS: i64 = 8 * DAY_NS;

/// The limits of one route.
#[derive(Clone)]
pub struct Limits {
    authorised: Authorised,
    caps: Caps,
    recipe: Arc<Recipe>,
    facts: BTreeMap<String, String>,
    /// `min_gap` after the last canary of earlier runs, wall nanoseconds.
    next_ns: Option<i64>,
}

impl Limits {
    /// Of a route; the fold holds what earlier runs injected.
    pub fn new(
        route: &Route,
        entry: &Entry,
        authorised: Authorised,
        fold: &Fold,
        now_wall_ns: i64,
    ) -> Limits {
        let gap = i64::try_from(route.min_gap.as_nanos()).unwrap_or(i64::MAX);
        let since = now_wall_ns.saturating_sub(gap.max(DAY_NS));
        let earlier = fold.injected_since(&route.name, since);
        let last = earlier.iter().max().copied();
        Limits {
            authorised,
            caps: Caps::new(route.cap_per_hour, route.cap_per_day, earlier),
            recipe: Arc::clone(&entry.recipe),
            facts: route.facts.clone(),
            next_ns: last.map(|last| last.saturating_add(gap)),
        }
    }

    /// How long after that instant `min_gap` keeps the next canary back, nanoseconds.
    pub fn not_before(&self, wall_ns: i64) -> u64 {
        self.next_ns.map_or(0, |next| next.saturating_sub(wall_ns).max(0).unsigned_abs())
    }

    /// Why a canary that is due then is withdrawn. One that is not counts against the caps.
    pub fn withheld(&mut self, quiet: &QuietPlan, due_wall_ns: i64) -> Option<String> {
        // A burst that would go on past the end is not begun.
        let span = i64::try_from(self.recipe.span().as_nanos()).unwrap_or(i64::MAX);
        if !self.authorised.covers(due_wall_ns, due_wall_ns.saturating_add(span)) {
            return Some(OUTSIDE_AUTHORISATION.to_owned());
        }
        if quiet.is_quiet(due_wall_ns) {
            return Some(QUIET_HOURS.to_owned());
        }
        if let Some(reason) = self.outside_hours(due_wall_ns) {
            return Some(reason);
        }
        match self.caps.admit(due_wall_ns) {
            Ok(()) => None,
            Err(CapRefusal::Hour) => Some(CAP_PER_HOUR.to_owned()),
            Err(CapRefusal::Day) => Some(CAP_PER_DAY.to_owned()),
        }
    }

    fn outside_hours(&self, wall_ns: i64) -> Option<String> {
        match permitted(&self.recipe, &self.facts, wall_ns) {
            Err(error @ RenderError::OutsideHours { .. }) => {
                Some(format!("{OUTSIDE_HOURS}: {error}"))
            }
            // Anything else that is wrong shows when it is rendered.
            _ => None,
        }
    }

    /// Where the recipe has hours of its own and `wall_ns` lies outside: the next minute that lies
    /// within them and in no quiet hour; the inner `None` where a week holds none.
    pub fn next_hours(&self, quiet: &QuietPlan, wall_ns: i64) -> Option<Option<i64>> {
        self.outside_hours(wall_ns)?;
        let first = wall_ns.div_euclid(MINUTE_NS).saturating_add(1).saturating_mul(MINUTE_NS);
        let mut minutes = (first..wall_ns.saturating_add(AHEAD_NS)).step_by(MINUTE_NS as usize);
        Some(minutes.find(|at| !quiet.is_quiet(*at) && self.outside_hours(*at).is_none()))
    }
}

/// What would become of planned canaries if the run began at an instant.
pub struct Foresight {
    /// Parallel to the planned ones: why it is withheld, or `None` where it leaves.
    pub withheld: Vec<Option<String>>,
    /// Per route, how many leave.
    pub by_route: Vec<u64>,
    /// Per route with hours of its own that are not now: when they begin next, if they ever do.
    pub next_hours: Vec<(String, Option<i64>)>,
    /// Per route whose slots do not all fit beside `min_gap`: how many do not, and when its next canary
    /// may leave, if an earlier run's is too near.
    pub no_room: Vec<(String, u64, Option<i64>)>,
}

impl Foresight {
    /// Looks ahead. Of each route its name, how many canaries were asked for, and its limits; what those
    /// count is counted on a copy.
    pub fn new(
        quiet: &QuietPlan,
        routes: &[(&str, u32, &Limits)],
        planned: &[PlannedCanary],
        begins_wall_ns: i64,
    ) -> Foresight {
        let mut limits: Vec<Limits> = routes.iter().map(|(.., limits)| (*limits).clone()).collect();
        let mut by_route = vec![0; limits.len()];
        let withheld = planned
            .iter()
            .map(|canary| {
                let (due, route) = (
                    begins_wall_ns.saturating_add_unsigned(canary.offset_ns),
                    canary.route as usize,
                );
                let withheld = limits.get_mut(route)?.withheld(quiet, due);
                by_route[route] += u64::from(withheld.is_none());
                withheld
            })
            .collect();
        let next_hours = routes
            .iter()
            .filter_map(|(name, _, limits)| {
                Some(((*name).to_owned(), limits.next_hours(quiet, begins_wall_ns)?))
            })
            .collect();
        let no_room = (0u32..).zip(routes).filter_map(|(index, (name, asked, limits))| {
            let placed = planned.iter().filter(|canary| canary.route == index).count() as u64;
            let left = u64::from(*asked).saturating_sub(placed);
            let next = limits.next_ns.filter(|next| *next > begins_wall_ns);
            (left > 0).then(|| ((*name).to_owned(), left, next))
        });
        Foresight { withheld, by_route, next_hours, no_room: no_room.collect() }
    }

    /// Number of those that leave.
    pub fn leaving(&self) -> usize {
        self.withheld.iter().filter(|reason| reason.is_none()).count()
    }

    /// Number of those withheld, by reason. Reasons of hours are one reason, whatever the minute.
    pub fn reasons(&self) -> BTreeMap<&str, u64> {
        let mut reasons = BTreeMap::new();
        for (_, left, _) in &self.no_room {
            *reasons.entry(MIN_GAP).or_insert(0) += left;
        }
        for reason in self.withheld.iter().flatten() {
            let short = if reason.starts_with(OUTSIDE_HOURS) { OUTSIDE_HOURS } else { reason };
            *reasons.entry(short).or_insert(0) += 1;
        }
        reasons
    }

    /// One line for each thing that keeps canaries back.
    pub fn in_words(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .reasons()
            .into_iter()
            .map(|(reason, n)| {
                let canaries = if n == 1 { "canary" } else { "canaries" };
                format!("{n} {canaries} would be withdrawn: {reason}")
            })
            .collect();
        lines.extend(self.no_room.iter().filter_map(|(route, _, next)| {
            let at = jiff::Timestamp::from_nanosecond(i128::from((*next)?)).ok()?;
            Some(format!("route {route}: `min_gap` lets its next canary out at {at:.0}"))
        }));
        lines.extend(self.next_hours.iter().map(|(route, next)| match next {
            Some(at) => {
                let at = jiff::Timestamp::from_nanosecond(i128::from(*at)).unwrap_or_default();
                format!("route {route}: it is outside the recipe's hours; they begin next at {at}")
            }
            None => format!(
                "route {route}: it is outside the recipe's hours, and quiet hours cover the next ones"
            ),
        }));
        lines
    }
}

/// The user error of a verb that would inject while the kill switch is there, or might be.
pub fn refuse_stopped(config: &Config) -> Result<(), crate::exit::Failure> {
    let path = config.campaign.kill_switch.display();
    let problem = match kill::thrown(&config.campaign.kill_switch) {
        None => return Ok(()),
        Some(reason) if reason == KILL_SWITCH => format!(
            "the kill switch {path} is there: nothing would be injected; `dwell stop --resume` takes it \
             back"
        ),
        Some(reason) => format!(
            "{reason}, so nothing would be injected; make {path} reachable for the user that runs dwell"
        ),
    };
    Err(crate::exit::Failure::User(problem))
}
