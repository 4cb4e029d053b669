//! From a configuration to a run: which canaries, when, through what, watched by whom.
//!
//! Nothing here sends or waits. `--dry-run` stops after this step and prints what it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::injector::{Event, Injector};
use dwell_injectors::recipe::Recipe;
use dwell_injectors::render::{RenderError, RenderInput, render};
use dwell_injectors::stamp::{Clock, Stamp};
use dwell_injectors::token::{KeyRing, TokenId};

use super::foretold::Foretold;
use super::limits::{Foresight, Limits};
use super::nanos;
use super::outcome::Fold;
use super::run::{PlannedCanary, Refusal, Renderer, RouteParts};
use crate::config::checked::{Config, EntersAt, Route};
use crate::exit::Failure;
use crate::ledger::{Batch, ExpectationPlan, RoutePlan, Row, RunStarted, WatcherPlan, Withdrawn};
use crate::schedule::{self, Authorised, Demand, QuietPlan};

/// What the user asked for beyond the configuration.
#[derive(Clone, Default, Debug)]
pub struct Request {
    /// Only these routes; empty means all.
    pub routes: Vec<String>,
    /// Only routes with these recipes; empty means all.
    pub recipes: Vec<String>,
    /// One canary per selected route, at once.
    pub probe: bool,
    /// Seed instead of the configuration's.
    pub seed: Option<u64>,
}

/// A plan that could be carried out.
pub struct Plan {
    /// The row that opens the run; its number is still 0.
    pub row: RunStarted,
    /// The canaries, by instant.
    pub planned: Vec<PlannedCanary>,
    /// Parallel to the row's routes.
    pub routes: Vec<RouteParts>,
    /// Names of the injectors that the routes use.
    pub injectors: Vec<String>,
    /// When nothing is injected.
    pub quiet: QuietPlan,
    /// What its routes can cause, and what they cannot show.
    pub foretold: Foretold,
}

impl Plan {
    /// What would become of its canaries if it began at that instant.
    pub fn foresee(&self, begins_wall_ns: i64) -> Foresight {
        let asked = self.row.routes.iter().zip(&self.routes);
        let routes: Vec<(&str, u32, &Limits)> =
            asked.map(|(row, parts)| (row.name.as_str(), row.planned, &parts.limits)).collect();
        Foresight::new(&self.quiet, &routes, &self.planned, begins_wall_ns)
    }
}

/// What the whole configuration would do if a run began at that instant; needs no key.
pub fn foresee(
    config: &Config,
    catalogue: &Catalogue,
    fold: &Fold,
    begins_wall_ns: i64,
) -> Result<Foresight, Failure> {
    let quiet = QuietPlan::new(&config.campaign.quiet_hours, &config.campaign.time_zone)
        .map_err(|e| Failure::User(e.to_string()))?;
    let seed = config.campaign.seed.unwrap_or_else(rand::random);
    let authorised = Authorised::new(config.authorisation.as_ref());
    let mut planned = Vec::new();
    let mut limits = Vec::new();
    for (index, route) in (0u32..).zip(&config.routes) {
        let entry = catalogue.get(&route.recipe).ok_or_else(|| {
            Failure::User(format!("route {}: unknown recipe {}", route.name, route.recipe))
        })?;
        let of_route = Limits::new(route, entry, authorised, fold, begins_wall_ns);
        let not_before_ns = of_route.not_before(begins_wall_ns);
        planned.extend(arrivals(config, route, index, seed, not_before_ns));
        limits.push(of_route);
    }
    planned.sort_by_key(|p| (p.offset_ns, p.route, p.slot));
    let asked = config.routes.iter().zip(&limits);
    let routes: Vec<(&str, u32, &Limits)> =
        asked.map(|(route, limits)| (route.name.as_str(), route.count, limits)).collect();
    Ok(Foresight::new(&quiet, &routes, &planned, begins_wall_ns))
}

/// What planning looks at.
pub struct Sources<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The recipes.
    pub catalogue: &'a Catalogue,
    /// The keys.
    pub keys: &'a Arc<KeyRing>,
    /// The ledger's rows so far: caps count earlier runs.
    pub fold: &'a Fold,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// The watchers as they will run.
    pub watchers: Vec<WatcherPlan>,
    /// Dialect name to digest.
    pub dialects: BTreeMap<String, String>,
}

/// Plans a run.
pub fn plan(sources: &Sources<'_>, request: &Request) -> Result<Plan, Failure> {
    let config = sources.config;
    let selected = select(config, request)?;
    let seed = request.seed.or(config.campaign.seed).unwrap_or_else(rand::random);
    let now = sources.clock.now();
    let quiet = QuietPlan::new(&config.campaign.quiet_hours, &config.campaign.time_zone)
        .map_err(|e| Failure::User(e.to_string()))?;
    let authorised = Authorised::new(config.authorisation.as_ref());
    let mut planned = Vec::new();
    let mut routes = Vec::new();
    let mut plans = Vec::new();
    let mut recipes = BTreeMap::new();
    for (index, route) in (0u32..).zip(&selected) {
        let entry = sources.catalogue.get(&route.recipe).ok_or_else(|| {
            Failure::User(format!("route {}: unknown recipe {}", route.name, route.recipe))
        })?;
        recipes.insert(route.recipe.clone(), entry.digest.clone());
        let limits = Limits::new(route, entry, authorised, sources.fold, now.wall_ns);
        let not_before_ns = limits.not_before(now.wall_ns);
        match request.probe {
            true => planned.extend(probe(index, not_before_ns)),
            false => planned.extend(arrivals(config, route, index, seed, not_before_ns)),
        }
        plans.push(route_plan(config, route, &entry.recipe, request.probe)?);
        routes.push(RouteParts {
            injector: route.injector.clone(),
            renderer: Box::new(RecipeRenderer {
                recipe: Arc::clone(&entry.recipe),
                facts: route.facts.clone(),
                key: route.key.clone(),
                keys: Arc::clone(sources.keys),
                seed,
            }),
            limits,
        });
    }
    planned.sort_by_key(|p| (p.offset_ns, p.route, p.slot));
    let mut injectors: Vec<String> = selected.iter().map(|r| r.injector.clone()).collect();
    injectors.sort();
    injectors.dedup();
    let chosen = selected.iter().copied();
    let foretold = Foretold::new(config, chosen, sources.catalogue, sources.fold);
    let row = run_row(sources, request, now, seed, &quiet, plans, recipes);
    if !request.probe {
        continues(&row, sources.fold)?;
    }
    Ok(Plan { row, planned, routes, injectors, quiet, foretold })
}

/// A campaign is a series under one configuration: a run of which a route means something else than it
/// did is none of it. Probes are single answers, asked again after each change, and go on.
fn continues(row: &RunStarted, fold: &Fold) -> Result<(), Failure> {
    for route in &row.routes {
        if let Some((run, differences)) = fold.meant_otherwise(&row.campaign, route) {
            return Err(Failure::User(format!(
                "route {}: it is not what run {run} of campaign {:?} measured: {}; give the campaign \
                 another name, so that no number mixes the two",
                route.name,
                row.campaign,
                differences.join(", ")
            )));
        }
    }
    Ok(())
}

fn select<'a>(config: &'a Config, request: &Request) -> Result<Vec<&'a Route>, Failure> {
    for name in &request.routes {
        if !config.routes.iter().any(|r| r.name == *name) {
            let known: Vec<&str> = config.routes.iter().map(|r| r.name.as_str()).collect();
            return Err(Failure::User(format!(
                "there is no route {name:?} in {}; it has: {}",
                config.path.display(),
                known.join(", ")
            )));
        }
    }
    let selected: Vec<&Route> = config
        .routes
        .iter()
        .filter(|r| request.routes.is_empty() || request.routes.contains(&r.name))
        .filter(|r| request.recipes.is_empty() || request.recipes.contains(&r.recipe))
        .collect();
    if selected.is_empty() {
        return Err(Failure::User(
            "no route matches the filters; leave out --recipe or name another".to_owned(),
        ));
    }
    Ok(selected)
}

fn arrivals(
    config: &Config,
    route: &Route,
    index: u32,
    seed: u64,
    not_before_ns: u64,
) -> Vec<PlannedCanary> {
    let demand = Demand {
        route: &route.name,
        count: route.count,
        window: config.campaign.window,
        arrivals: config.campaign.arrivals,
        min_gap: route.min_gap,
        not_before_ns,
    };
    schedule::plan(seed, &demand)
        .into_iter()
        .map(|a| PlannedCanary { route: index, slot: a.slot, offset_ns: a.offset_ns })
        .collect()
}

/// A probe's one canary. None where an earlier one is too near: a rule would swallow it as any other that
/// comes too early, and nobody waits for a probe.
fn probe(index: u32, not_before_ns: u64) -> Option<PlannedCanary> {
    let canary = PlannedCanary { route: index, slot: 0, offset_ns: PROBE_DELAY_NS };
    (not_before_ns <= PROBE_DELAY_NS).then_some(canary)
}

/// Between a probe's decision and its instant: time for its intent to become durable.
const PROBE_DELAY_NS: u64 = 50_000_000;

fn route_plan(
    config: &Config,
    route: &Route,
    recipe: &Recipe,
    probe: bool,
) -> Result<RoutePlan, Failure> {
    let settings = config.injectors.get(&route.injector).ok_or_else(|| {
        Failure::User(format!("route {}: unknown injector {}", route.name, route.injector))
    })?;
    Ok(RoutePlan {
        name: route.name.clone(),
        recipe: route.recipe.clone(),
        attack: recipe.attack.techniques.clone(),
        enters_at: enters_at(route.enters_at).to_owned(),
        owner: route.owner.clone(),
        supplier: route.supplier,
        target: settings.target().to_string(),
        proof: route.proof,
        planned: if probe { 1 } else { route.count },
        expectations: route
            .expectations
            .iter()
            .map(|e| ExpectationPlan {
                name: e.name.clone(),
                stage: e.stage,
                watchers: e.watchers.clone(),
                rules: e.rules.clone(),
                deadline_ns: nanos(e.deadline),
                horizon_ns: nanos(e.horizon),
                rule_period_ns: e.rule_period.map(nanos),
                share: e.objective.share,
                confidence: e.objective.confidence,
                min_n: e.objective.min_n,
            })
            .collect(),
    })
}

/// The run's row, and withdrawals of the slots for which its window has no room.
pub(super) fn begun(row: &RunStarted, planned: &[PlannedCanary]) -> Batch {
    let mut rows = vec![Row::Run(Box::new(row.clone()))];
    for (route, plan) in (0u32..).zip(&row.routes) {
        let placed = planned.iter().filter(|p| p.route == route).count() as u32;
        if placed < plan.planned {
            rows.push(Row::Withdrawn(Withdrawn {
                at: row.at,
                run: row.run,
                route,
                slot_from: placed,
                slots: plan.planned - placed,
                canary: None,
                reason: schedule::MIN_GAP.to_owned(),
            }));
        }
    }
    Batch { rows, ..Batch::default() }
}

fn enters_at(place: EntersAt) -> &'static str {
    match place {
        EntersAt::Sensor => "sensor",
        EntersAt::HostLog => "host-log",
        EntersAt::Collector => "collector",
        EntersAt::Broker => "broker",
        EntersAt::Index => "index",
    }
}

fn run_row(
    sources: &Sources<'_>,
    request: &Request,
    now: Stamp,
    seed: u64,
    quiet: &QuietPlan,
    routes: Vec<RoutePlan>,
    recipes: BTreeMap<String, String>,
) -> RunStarted {
    let config = sources.config;
    let arrivals = serde_json::to_value(config.campaign.arrivals).ok();
    let window = if request.probe { Duration::ZERO } else { config.campaign.window };
    RunStarted {
        at: now,
        run: 0,
        campaign: match request.probe {
            // A probe is never mixed with a campaign's numbers.
            true => format!("{} (probe)", config.campaign.name),
            false => config.campaign.name.clone(),
        },
        seed,
        arrivals: arrivals.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default(),
        starts: now,
        window_ns: nanos(window),
        quiet_hours: quiet.in_words(),
        config_digest: config.digest.clone(),
        config: config.resolved.clone(),
        recipes,
        dialects: sources.dialects.clone(),
        authorisation: config.authorisation.as_ref().and_then(|a| serde_json::to_value(a).ok()),
        calibration: None,
        routes,
        watchers: sources.watchers.clone(),
    }
}

/// Builds an injector.
pub fn build_injector(
    config: &Config,
    name: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Box<dyn Injector>, Failure> {
    let settings = config
        .injectors
        .get(name)
        .ok_or_else(|| Failure::Bug(format!("injector {name} is used but not configured")))?;
    settings
        .build(Arc::clone(clock))
        .map_err(|e| Failure::Environment(format!("injector {name}: {e}")))
}

/// Renders a route's canaries from its recipe.
pub struct RecipeRenderer {
    /// The recipe.
    pub recipe: Arc<Recipe>,
    /// The route's facts.
    pub facts: BTreeMap<String, String>,
    /// Template of the transport's key.
    pub key: Option<String>,
    /// The keys that mint tokens.
    pub keys: Arc<KeyRing>,
    /// The run's seed.
    pub seed: u64,
}

impl Renderer for RecipeRenderer {
    fn render(&self, canary: TokenId, intended_wall_ns: i64) -> Result<Vec<Event>, Refusal> {
        let token = self
            .keys
            .mint(canary.epoch, canary.serial)
            .map_err(|e| Refusal::Fail(e.to_string()))?;
        let input = RenderInput {
            token: &token,
            facts: &self.facts,
            time_ns: intended_wall_ns,
            seed: self.seed,
            key: self.key.as_deref(),
        };
        match render(&self.recipe, &input) {
            Ok(rendered) => Ok(rendered.events),
            Err(error @ RenderError::OutsideHours { .. }) => {
                Err(Refusal::Withdraw(format!("{}: {error}", schedule::OUTSIDE_HOURS)))
            }
            Err(error) => Err(Refusal::Fail(error.to_string())),
        }
    }
}
