//! The fold: rows in commit order to the state that a verdict needs.

use std::collections::{BTreeMap, HashMap, HashSet};

use dwell_injectors::receipt::Cause;
use dwell_injectors::stamp::Stamp;
use dwell_injectors::token::TokenId;

use super::canary::{Canary, Handed, HandedResult, Seen};
use super::coverage::{BlindSpan, Coverage};
use super::lean::{Canaries, Few, Name, Names};
use super::views::{self, Places};
use super::{Assessment, AxisNs, CanaryView, FixedClaim, Outcome, RouteView, decide, replays};
use crate::ledger::{
    Axis, ClaimRow, ClockStep, Control, EventResult, Grade, Intent, Opened, ReceiptRow, RoutePlan,
    Row, RunStarted, SightingRow, Standing, StrayClass, Withdrawn,
};

/// Folds rows. See the module's text.
#[derive(Debug, Default)]
pub struct Fold {
    as_of: Option<AxisNs>,
    /// True where what all rows say together is given, and the cut hides none of them.
    whole: bool,
    /// The only canary that is kept, where one alone was asked for.
    only: Option<TokenId>,
    pub(super) standing: Standing,
    pub(super) runs: Vec<RunStarted>,
    ended: BTreeMap<u32, String>,
    canaries: Canaries,
    withdrawn: Vec<Withdrawn>,
    pub(super) coverage: BTreeMap<String, Coverage>,
    proven: HashSet<(String, String)>,
    strays: BTreeMap<String, BTreeMap<StrayClass, u64>>,
    controls: Vec<Control>,
    pub(super) clock_steps: Vec<(AxisNs, ClockStep)>,
    opened: Vec<Opened>,
    verifies: BTreeMap<String, u64>,
    claims: Vec<FixedClaim>,
    pub(super) names: Names,
}

impl Fold {
    /// An empty fold that ignores rows after `as_of_ns`.
    pub fn new(as_of_ns: Option<AxisNs>) -> Fold {
        Fold { as_of: as_of_ns, ..Fold::default() }
    }

    /// The same, which keeps no canary but one. Of that one it says what a fold of everything says.
    pub fn of_one(as_of_ns: Option<AxisNs>, canary: TokenId) -> Fold {
        Fold { only: Some(canary), ..Fold::new(as_of_ns) }
    }

    /// The same for one that needs no other canary's rows, because what they say together is given: the
    /// rows that bear on all and the canary's own are enough. `None` where rows are later than the cut,
    /// since which of them were known at it depends on those that are left out.
    pub fn standing_at(
        standing: &Standing,
        as_of_ns: Option<AxisNs>,
        canary: TokenId,
    ) -> Option<Fold> {
        let whole = as_of_ns.is_none_or(|cut| standing.last() <= cut);
        whole.then(|| Fold { standing: standing.clone(), whole, ..Fold::of_one(as_of_ns, canary) })
    }

    pub(super) fn axis(&self) -> &Axis {
        self.standing.axis()
    }

    /// Takes the next row in commit order.
    pub fn apply(&mut self, row: &Row) {
        self.take(row);
    }

    /// The same; false when the ledger did not know the row yet at the cut.
    pub fn take(&mut self, row: &Row) -> bool {
        let at = self.standing.date(row);
        if !self.whole {
            let known = self.standing.known(row, at);
            if self.as_of.is_some_and(|cut| known > cut) {
                return false;
            }
        }
        self.standing.take(row, at);
        match row {
            Row::Opened(opened) => self.opened.push(opened.clone()),
            Row::Run(run) => {
                for watcher in &run.watchers {
                    self.names.intern(&watcher.name);
                }
                self.runs.push((**run).clone());
            }
            Row::Intent(intent) => self.intent(intent),
            Row::Receipt(receipt) => self.receipt(receipt),
            Row::Withdrawn(withdrawn) => self.withdraw(withdrawn),
            Row::Sighting(sighting) => self.sighting(sighting, at),
            Row::Look(look) => {
                let from = self.place(&look.from);
                let coverage = self.coverage.entry(look.watcher.clone()).or_default();
                coverage.look(from, at, look.complete, look.unbroken, look.records);
            }
            Row::Blind(blind) => {
                let from = self.place(&blind.from);
                let to = blind.to.as_ref().map(|to| self.place(to));
                let span = BlindSpan {
                    from,
                    to,
                    reason: Name::from(blind.reason.as_str()),
                    ours: blind.ours,
                    recovered: blind.recovered,
                };
                self.coverage.entry(blind.watcher.clone()).or_default().blind(span);
            }
            Row::Proven(proven) => {
                self.proven.insert((proven.watcher.clone(), proven.config_digest.clone()));
            }
            Row::Stray(stray) => {
                let classes = self.strays.entry(stray.watcher.clone()).or_default();
                *classes.entry(stray.class).or_insert(0) += stray.count;
            }
            Row::Control(control) => self.controls.push(control.clone()),
            Row::Clock(step) => self.clock_steps.push((at, step.clone())),
            Row::Verify(verify) => {
                *self.verifies.entry(verify.answer.clone()).or_insert(0) += 1;
            }
            Row::Ended(ended) => {
                self.ended.insert(ended.run, ended.reason.clone());
            }
            Row::Claim(claim) => self.claim(claim),
            // What lies where decides no outcome.
            Row::Made(_) => {}
        }
        true
    }

    fn intent(&mut self, intent: &Intent) {
        if self.only.is_some_and(|only| only != intent.canary) {
            return;
        }
        self.canaries.insert(
            intent.canary,
            Canary {
                id: intent.canary,
                run: intent.run,
                route: intent.route,
                slot: intent.slot,
                intended: intent.intended,
                events: intent.digests.len() as u32,
                completing: intent.completing,
                handed: Few::None,
                seen: Few::None,
                withdrawn: false,
            },
        );
    }

    fn receipt(&mut self, receipt: &ReceiptRow) {
        let Some(canary) = self.canaries.get_mut(&receipt.canary) else { return };
        if canary.handed.iter().any(|h| h.event == receipt.event) {
            return;
        }
        let result = match &receipt.result {
            EventResult::Accepted { strength, .. } => HandedResult::Accepted(*strength),
            EventResult::Rejected { reason, cause } => {
                let reason = self.names.intern(reason);
                HandedResult::Rejected(self.names.shared(reason), *cause == Some(Cause::Ours))
            }
            EventResult::Unknown { .. } => HandedResult::Unknown,
            EventResult::NotSent { .. } => HandedResult::NotSent,
        };
        canary.handed.push(Handed {
            event: receipt.event,
            submitted: receipt.submitted_at,
            late_ns: receipt.late_ns,
            result,
        });
    }

    fn withdraw(&mut self, withdrawn: &Withdrawn) {
        if let Some(canary) = withdrawn.canary.and_then(|id| self.canaries.get_mut(&id)) {
            canary.withdrawn = true;
        }
        if self.only.is_none_or(|only| withdrawn.canary == Some(only)) {
            self.withdrawn.push(withdrawn.clone());
        }
    }

    /// A claim holds only if none of the canaries that it is about had left when it was written.
    fn claim(&mut self, claim: &ClaimRow) {
        let earlier = self.injected_under(&claim.campaign, &claim.route);
        self.claims.push(FixedClaim { row: claim.clone(), beforehand: earlier == 0 });
    }

    /// Whether a claim on it was fixed before its campaign.
    pub fn claimed_beforehand(&self, campaign: &str, route: &str, expectation: &str) -> bool {
        let claims = self.claims_on(campaign, route);
        claims.iter().any(|c| c.beforehand && c.row.expectation == expectation)
    }

    /// Whether a run of the campaign has planned that route.
    pub fn planned_under(&self, campaign: &str, route: &str) -> bool {
        !self.planned_on(route, |run| run.campaign == campaign).is_empty()
    }

    /// What the latest of a campaign's runs that injected anything on a route meant otherwise by it, in
    /// words, and that run's number; `None` where it meant the same or there is no such run. May hold
    /// foreign text.
    pub fn meant_otherwise(&self, campaign: &str, plan: &RoutePlan) -> Option<(u32, Vec<String>)> {
        let planned = self.planned_on(&plan.name, |run| run.campaign == campaign);
        let left = self.canaries.values().filter(|c| !c.withdrawn);
        let used = left.map(|c| (c.run, c.route)).filter(|at| planned.contains(at));
        let (run, route) = used.max()?;
        let row = self.runs.iter().find(|r| r.run == run)?;
        let found = views::differences(row.routes.get(route as usize)?, plan);
        (!found.is_empty()).then_some((run, found))
    }

    /// Canaries that a campaign's runs have injected on a route so far.
    pub fn injected_under(&self, campaign: &str, route: &str) -> usize {
        let planned = self.planned_on(route, |run| run.campaign == campaign);
        self.canaries
            .values()
            .filter(|c| !c.withdrawn && planned.contains(&(c.run, c.route)))
            .count()
    }

    /// Run and index of a route of that name, over the runs asked for.
    fn planned_on(&self, route: &str, wanted: impl Fn(&RunStarted) -> bool) -> HashSet<(u32, u32)> {
        let of_run = |run: &RunStarted| -> Vec<(u32, u32)> {
            let named = (0u32..).zip(&run.routes).filter(|(_, plan)| plan.name == route);
            named.map(|(index, _)| (run.run, index)).collect()
        };
        self.runs.iter().filter(|run| wanted(run)).flat_map(of_run).collect()
    }

    fn sighting(&mut self, row: &SightingRow, observed: AxisNs) {
        // Nothing but the token ties an alert to a canary: see `matching`.
        if row.grade != Grade::Exact {
            return;
        }
        let Some(canary) = self.canaries.get_mut(&row.canary) else { return };
        let watcher = self.names.intern(&row.watcher);
        let rule = row.rule.as_deref().map(|r| self.names.intern(r));
        let rule_names = self.names.group(&row.rule_names);
        let not_before = row.not_before.as_ref().map(|stamp| self.standing.axis().of(stamp));
        canary.seen.push(Seen {
            watcher,
            stage: row.stage,
            observed,
            observed_stamp: row.observed,
            not_before,
            rule,
            rule_names,
            created_wall_ns: row.created_time_ns,
            retrospective: row.retrospective,
            event: replays::event_key(row),
        });
    }

    /// True when the watcher read a real record under that configuration.
    pub(super) fn is_proven(&self, watcher: &str, config_digest: &str) -> bool {
        self.proven.contains(&(watcher.to_owned(), config_digest.to_owned()))
    }

    /// True for what lies at or before the cut.
    pub fn holds(&self, stamp: &Stamp) -> bool {
        self.place(stamp) <= self.cut()
    }

    /// True where the wall clock was noticed to step between two instants.
    pub(super) fn stepped_between(&self, from: AxisNs, to: AxisNs) -> bool {
        self.clock_steps.iter().any(|(at, _)| (from..=to).contains(at))
    }

    /// Wall instants (ns) of the canaries that a route injected since then, over all runs: what
    /// caps count.
    pub fn injected_since(&self, route: &str, wall_ns: i64) -> Vec<i64> {
        let planned = self.planned_on(route, |_| true);
        self.canaries
            .values()
            .filter(|c| !c.withdrawn && c.intended.wall_ns >= wall_ns)
            .filter(|c| planned.contains(&(c.run, c.route)))
            .map(|c| c.intended.wall_ns)
            .collect()
    }

    /// Number of runs so far.
    pub fn run_count(&self) -> u32 {
        self.runs.iter().map(|r| r.run).max().unwrap_or(0)
    }

    /// The campaign of the last run.
    pub fn latest_campaign(&self) -> Option<String> {
        self.runs.last().map(|run| run.campaign.clone())
    }

    /// Where a stamp lies on the common axis.
    pub fn place(&self, stamp: &Stamp) -> AxisNs {
        self.axis().of(stamp)
    }

    /// The cut: the stated one, else the last row's instant.
    pub fn cut(&self) -> AxisNs {
        self.as_of.unwrap_or(self.standing.last())
    }

    /// Assesses one campaign at the cut; `None` when the ledger holds no such campaign.
    pub fn assess(&self, campaign: Option<&str>) -> Option<Assessment> {
        self.assess_at(campaign, self.cut())
    }

    /// The same at a later cut: what is decided if nothing more is written until then.
    pub fn assess_at(&self, campaign: Option<&str>, cut: AxisNs) -> Option<Assessment> {
        let (name, runs) = self.runs_of(campaign)?;
        let routes = self.routes_of(&name, &runs, cut);
        Some(self.assembled(name, runs, routes, cut, self.all_strays()))
    }

    /// The same of one run, for the thread that injects: no other run's canary is judged. Strays, which are
    /// no run's, are left out.
    pub fn assess_run(&self, run: u32, cut: AxisNs) -> Option<Assessment> {
        let runs: Vec<RunStarted> = self.runs.iter().filter(|r| r.run == run).cloned().collect();
        let name = runs.first()?.campaign.clone();
        let routes = self.routes_of(&name, &runs, cut);
        Some(self.assembled(name, runs, routes, cut, BTreeMap::new()))
    }

    fn routes_of(&self, campaign: &str, runs: &[RunStarted], cut: AxisNs) -> Vec<RouteView> {
        let (mut routes, places) = self.empty_routes(campaign, runs);
        for canary in self.canaries.values() {
            self.place_canary(&places, &mut routes, canary, cut);
        }
        routes
    }

    /// The same as [`Fold::assess`] for the last time: each canary is given up as soon as its view
    /// stands, so that a million of them are never in memory twice.
    pub fn into_assessment(mut self, campaign: Option<&str>) -> Option<Assessment> {
        let (name, runs) = self.runs_of(campaign)?;
        let strays = self.all_strays();
        let cut = self.cut();
        let (mut routes, places) = self.empty_routes(&name, &runs);
        for canary in std::mem::take(&mut self.canaries).into_values() {
            self.place_canary(&places, &mut routes, &canary, cut);
        }
        Some(self.assembled(name, runs, routes, cut, strays))
    }

    /// Canaries per campaign and route that may still be seen after `now`, and until when: what
    /// [`Assessment::outstanding`] says, without holding a view of every canary.
    pub fn outstanding_at(&self, now: AxisNs) -> Vec<(String, String, u64, AxisNs)> {
        let mut found: BTreeMap<(&str, &str), (u64, AxisNs)> = BTreeMap::new();
        for (run, plan, view) in self.views_at(now) {
            if let Some(until) = view.open_until(&plan.expectations, now) {
                let key = (run.campaign.as_str(), plan.name.as_str());
                let entry = found.entry(key).or_insert((0, until));
                *entry = (entry.0 + 1, entry.1.max(until));
            }
        }
        found
            .into_iter()
            .map(|((campaign, route), (n, until))| {
                (campaign.to_owned(), route.to_owned(), n, until)
            })
            .collect()
    }

    /// True while a verdict waits for the look that decides, of any campaign.
    pub fn is_pending_at(&self, now: AxisNs) -> bool {
        let pending =
            |view: &CanaryView| view.verdicts.iter().any(|v| v.outcome == Outcome::Pending);
        self.views_at(now).any(|(_, _, view)| pending(&view))
    }

    /// What had left before `now`, of all campaigns.
    fn views_at(&self, now: AxisNs) -> impl Iterator<Item = (&RunStarted, &RoutePlan, CanaryView)> {
        let by_number: HashMap<u32, &RunStarted> = self.runs.iter().map(|r| (r.run, r)).collect();
        self.canaries.values().filter(move |c| self.had_left(c, now)).filter_map(move |canary| {
            let run = *by_number.get(&canary.run)?;
            let plan = run.routes.get(canary.route as usize)?;
            Some((run, plan, self.view(canary, run, plan, now)))
        })
    }

    fn runs_of(&self, campaign: Option<&str>) -> Option<(String, Vec<RunStarted>)> {
        let name = match campaign {
            Some(name) => name.to_owned(),
            None => self.runs.last()?.campaign.clone(),
        };
        let runs: Vec<RunStarted> =
            self.runs.iter().filter(|r| r.campaign == name).cloned().collect();
        (!runs.is_empty()).then_some((name, runs))
    }

    fn assembled(
        &self,
        campaign: String,
        runs: Vec<RunStarted>,
        mut routes: Vec<RouteView>,
        cut: AxisNs,
        strays: BTreeMap<String, BTreeMap<StrayClass, u64>>,
    ) -> Assessment {
        for route in &mut routes {
            // Ids are unique: no two canaries are equal, and no order is left to chance.
            route.canaries.sort_unstable_by_key(|c| (c.submitted, c.id));
        }
        let latest = runs.last();
        let watchers = latest.map(|run| run.watchers.clone()).unwrap_or_default();
        let proven = watchers
            .iter()
            .filter(|w| latest.is_some_and(|run| self.is_proven(&w.name, &run.config_digest)))
            .map(|w| w.name.clone())
            .collect();
        Assessment {
            campaign_of: self.campaign_number(&campaign),
            campaign,
            cut,
            ended: self.ended.clone(),
            routes,
            coverage: self.coverage.clone(),
            watchers,
            proven,
            strays,
            controls: self.controls.clone(),
            clock_steps: self.clock_steps.iter().map(|(_, step)| step.clone()).collect(),
            opened: self.opened.clone(),
            verifies: self.verifies.clone(),
            runs,
        }
    }

    /// The counted strays, and the replays among the recorded sightings of all campaigns.
    fn all_strays(&self) -> BTreeMap<String, BTreeMap<StrayClass, u64>> {
        let mut strays = self.strays.clone();
        let plans: HashMap<u32, &RunStarted> = self.runs.iter().map(|r| (r.run, r)).collect();
        for canary in self.canaries.values().filter(|c| !c.seen.is_empty()) {
            let Some(run) = plans.get(&canary.run) else { continue };
            let Some(plan) = run.routes.get(canary.route as usize) else { continue };
            let case = decide::Case { fold: self, canary, run, plan, cut: self.cut() };
            let found = replays::replays(&case, self.place(&canary.submitted()));
            for (watcher, count) in found.outside.into_iter().chain(found.excess) {
                let classes = strays.entry(self.names.name(watcher).to_owned()).or_default();
                *classes.entry(StrayClass::Replayed).or_insert(0) += count;
            }
        }
        strays
    }

    fn campaign_number(&self, name: &str) -> (u32, u32) {
        let mut order: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !order.contains(&run.campaign.as_str()) {
                order.push(&run.campaign);
            }
        }
        let position = order.iter().position(|n| *n == name).unwrap_or(0);
        (position as u32 + 1, order.len() as u32)
    }

    fn claims_on(&self, campaign: &str, route: &str) -> Vec<FixedClaim> {
        let about = |c: &&FixedClaim| c.row.campaign == campaign && c.row.route == route;
        self.claims.iter().filter(about).cloned().collect()
    }

    fn empty_routes<'a>(
        &self,
        campaign: &str,
        runs: &'a [RunStarted],
    ) -> (Vec<RouteView>, Places<'a>) {
        let left = self.canaries.values().filter(|c| !c.withdrawn);
        let facts = views::Facts {
            withdrawn: &self.withdrawn,
            injected: left.map(|c| (c.run, c.route)).collect(),
        };
        let (mut routes, places) = views::group(runs, &facts);
        for route in &mut routes {
            route.claims = self.claims_on(campaign, &route.plan.name);
        }
        (routes, places)
    }

    /// False where it was withdrawn, and where its instant lies ahead of the cut. An intent is written
    /// ahead of its instant, so that its row cannot tell what a cut had already seen.
    fn had_left(&self, canary: &Canary, cut: AxisNs) -> bool {
        let ahead = canary.handed.is_empty() && self.place(&canary.intended) > cut;
        !canary.withdrawn && !ahead
    }

    fn place_canary(
        &self,
        places: &Places<'_>,
        routes: &mut [RouteView],
        canary: &Canary,
        cut: AxisNs,
    ) {
        let Some((run, plan, place)) = places.of(canary.run, canary.route) else { return };
        if !self.had_left(canary, cut) {
            return;
        }
        if let Some(route) = routes.get_mut(place.view) {
            let mut view = self.view(canary, run, plan, cut);
            place.arrange(&mut view);
            route.canaries.push(view);
        }
    }

    fn view(&self, canary: &Canary, run: &RunStarted, plan: &RoutePlan, cut: AxisNs) -> CanaryView {
        decide::view(&decide::Case { fold: self, canary, run, plan, cut })
    }
}
