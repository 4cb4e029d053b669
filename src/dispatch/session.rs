//! A session: everything that `run`, `watch` and `probe` open in common, in the order in which it may fail.
//!
//! Configuration errors come first (exit 2, nothing opened), then the key, then the ledger's lock
//! (exit 3). The fold holds all earlier rows before any new one can be written, because this
//! process is the only writer from then on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::catalogue::Catalogue;
use dwell_injectors::injector::Injector;
use dwell_injectors::stamp::{Clock, SystemClock};
use dwell_injectors::token::KeyRing;

use super::keep::{self, Outstanding, keep_watching};
use super::nanos;
use super::outcome::{Assessment, Fold};
use super::plan::{self, Plan, Request, Sources, build_injector};
use super::run::{Observer, Orders, RunParts, carry_out};
use super::targets;
use super::watching::{WatchEnvironment, WatcherParts};
use crate::calibration;
use crate::config::checked::Config;
use crate::dialects::Dialects;
use crate::exit::Failure;
use crate::ledger::{Ledger, LedgerError, Opening, Reader, WatcherPlan};
use crate::matching::Scanner;
use crate::schedule::Authorised;
use crate::watchers::{self, Watcher};

/// What is open.
pub struct Session {
    /// The configuration.
    pub config: Config,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The keys.
    pub keys: Arc<KeyRing>,
    /// The recipes.
    pub catalogue: Catalogue,
    /// The dialects.
    pub dialects: Dialects,
    /// For what is asynchronous.
    pub runtime: tokio::runtime::Runtime,
    /// The earlier rows.
    pub fold: Fold,
    ledger: Option<Ledger>,
}

/// Who writes beyond the largest file that he may make (`ulimit -f`) is killed by a signal, unless it is caught:
/// then the write fails, and is told like a full disk. Once caught, a signal stays so.
fn survive_a_full_file(runtime: &tokio::runtime::Runtime) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let _guard = runtime.enter();
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

impl Session {
    /// Loads and reads everything, but takes no lock and writes nothing: enough for a dry run.
    pub fn prepare(config: Config) -> Result<Session, Failure> {
        let keys = KeyRing::load(&config.key).map_err(|e| Failure::User(e.to_string()))?;
        let catalogue =
            Catalogue::load(&config.recipe_folders).map_err(|e| Failure::User(e.to_string()))?;
        let dialects =
            Dialects::load(&config.dialect_folders).map_err(|e| Failure::User(e.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| Failure::Environment(format!("cannot start the runtime: {e}")))?;
        survive_a_full_file(&runtime)
            .map_err(|e| Failure::Environment(format!("cannot catch signals: {e}")))?;
        let fold = read_ledger(&config)?;
        Ok(Session {
            config,
            clock: Arc::new(SystemClock::new()),
            keys: Arc::new(keys),
            catalogue,
            dialects,
            runtime,
            fold,
            ledger: None,
        })
    }

    /// Opens the ledger for writing: takes its lock and recovers what a crash left behind.
    pub fn open(&mut self, verb: &str) -> Result<Ledger, Failure> {
        let opening = Opening { verb: verb.to_owned() };
        let chain_key = self.keys.chain_key();
        let ledger =
            Ledger::open(&self.config.ledger, &chain_key, opening, Arc::clone(&self.clock))?;
        // Opening may have written (recovery): read anew, now that nobody else can write.
        self.fold = Fold::new(None);
        read_all(&self.config, &mut self.fold)?;
        self.ledger = Some(ledger.clone());
        Ok(ledger)
    }

    /// Plans a run without writing anything.
    pub fn plan(&self, request: &Request) -> Result<Plan, Failure> {
        let watchers = self.watcher_plans()?;
        plan::plan(
            &Sources {
                config: &self.config,
                catalogue: &self.catalogue,
                keys: &self.keys,
                fold: &self.fold,
                clock: self.clock.as_ref(),
                watchers,
                dialects: self.dialect_digests(),
            },
            request,
        )
    }

    /// Carries a plan out.
    pub fn run(
        &mut self,
        plan: Plan,
        until_horizon: bool,
        orders: &Orders,
        observer: &mut dyn Observer,
    ) -> Result<Assessment, Failure> {
        let ledger = self.writer()?;
        let injectors = self.admitted(&plan)?;
        let mut row = plan.row;
        row.run = self.fold.run_count() + 1;
        row.calibration = calibration::store::fact(&self.config.ledger).map(Box::new);
        let epoch = self.keys.newest();
        let number = u32::try_from(plan.planned.len())
            .map_err(|_| Failure::User("more canaries than an epoch holds".to_owned()))?;
        let first_serial = ledger.reserve_serials(epoch, number)?;
        let parts = RunParts {
            row,
            planned: plan.planned,
            routes: plan.routes,
            injectors,
            watchers: self.watcher_parts()?,
            quiet: plan.quiet,
            authorised: Authorised::new(self.config.authorisation.as_ref()),
            kill_switch: self.config.campaign.kill_switch.clone(),
            lead: self.config.campaign.intent_lead,
            timeout: self.config.campaign.deliver_timeout,
            epoch,
            first_serial,
            until_horizon,
        };
        let shared = self.shared(&ledger)?;
        carry_out(parts, &shared, orders, &mut self.fold, observer)
    }

    /// What of all campaigns may still be seen.
    pub fn outstanding(&self) -> Vec<Outstanding> {
        let now = self.fold.place(&self.clock.now()).max(self.fold.cut());
        keep::outstanding(&self.fold, now)
    }

    /// The plan's injectors, each of which was asked whether it takes the plan's events.
    fn admitted(&self, plan: &Plan) -> Result<BTreeMap<String, Box<dyn Injector>>, Failure> {
        let mut injectors = BTreeMap::new();
        for name in &plan.injectors {
            let mut built = build_injector(&self.config, name, &self.clock)?;
            let routes = self.config.routes.iter().filter(|route| {
                route.injector == *name && plan.row.routes.iter().any(|r| r.name == route.name)
            });
            let samples = targets::samples(routes, &self.catalogue);
            let timeout = self.config.campaign.deliver_timeout;
            targets::admit(name, built.as_mut(), &samples, timeout)?;
            injectors.insert(name.clone(), built);
        }
        Ok(injectors)
    }

    /// Goes on watching what is outstanding; injects nothing.
    pub fn watch(&mut self, orders: &Orders, observer: &mut dyn Observer) -> Result<(), Failure> {
        let ledger = self.writer()?;
        let watchers = self.watcher_parts()?;
        let shared = self.shared(&ledger)?;
        keep_watching(watchers, &shared, orders, &mut self.fold, observer)
    }

    /// Waits until all is durable and releases the lock.
    pub fn close(mut self) -> Result<(), Failure> {
        if let Some(ledger) = self.ledger.take() {
            ledger.close(Duration::from_secs(10))?;
        }
        self.runtime.shutdown_timeout(Duration::from_secs(2));
        Ok(())
    }

    fn writer(&self) -> Result<Ledger, Failure> {
        self.ledger.clone().ok_or_else(|| Failure::Bug("the ledger is not open".to_owned()))
    }

    fn shared(&self, ledger: &Ledger) -> Result<WatchEnvironment, Failure> {
        Ok(WatchEnvironment {
            ledger: ledger.clone(),
            clock: Arc::clone(&self.clock),
            scanner: Arc::new(Scanner::new(Arc::clone(&self.keys))),
            own_files: self.config.own_files().into(),
            runtime: self.runtime.handle().clone(),
            config_digest: self.config.digest.clone(),
        })
    }

    fn build_watcher(&self, name: &str) -> Result<Box<dyn Watcher>, Failure> {
        let entry =
            self.config.watchers.get(name).ok_or_else(|| {
                Failure::Bug(format!("watcher {name} is used but not configured"))
            })?;
        watchers::build(&entry.settings, &self.dialects)
            .map_err(|e| Failure::User(format!("watcher {name}: {e}")))
    }

    /// All configured watchers run, also those that no selected route asks: the last stage that a
    /// canary reached is found by any of them.
    fn watcher_parts(&self) -> Result<Vec<WatcherParts>, Failure> {
        let reader = Reader::open(&self.config.ledger)?;
        // With nothing outstanding, in any campaign, the past cannot matter.
        let anew = self.outstanding().is_empty();
        let mut parts = Vec::new();
        for (name, entry) in &self.config.watchers {
            parts.push(WatcherParts {
                name: name.clone(),
                stage: entry.stage,
                watcher: self.build_watcher(name)?,
                cursor: reader.cursor(name)?,
                anew,
            });
        }
        Ok(parts)
    }

    fn watcher_plans(&self) -> Result<Vec<WatcherPlan>, Failure> {
        let mut plans = Vec::new();
        for (name, entry) in &self.config.watchers {
            let watcher = self.build_watcher(name)?;
            let kind = entry.settings.kind();
            let dialect = self.dialects.get(entry.settings.dialect()).ok();
            plans.push(WatcherPlan {
                name: name.clone(),
                stage: entry.stage,
                kind: kind.to_owned(),
                dialect: entry.settings.dialect().to_owned(),
                push: watcher.push(),
                resolution_ns: nanos(watcher.resolution()),
                patience_ns: Some(nanos(watcher.patience())),
                max_offset_ns: entry.max_offset.map(nanos),
                dates_stage: entry.max_offset.is_some()
                    && dialect.is_some_and(|dialect| dialect.dates(entry.stage)),
                source: watcher.source(),
            });
        }
        Ok(plans)
    }

    fn dialect_digests(&self) -> BTreeMap<String, String> {
        self.config
            .watchers
            .values()
            .filter_map(|entry| {
                let name = entry.settings.dialect();
                self.dialects.get(name).ok().map(|d| (name.to_owned(), d.digest.clone()))
            })
            .collect()
    }
}

/// What the ledger holds, without a lock. One that is not there yet holds nothing.
pub fn read_ledger(config: &Config) -> Result<Fold, Failure> {
    let mut fold = Fold::new(None);
    read_all(config, &mut fold)?;
    Ok(fold)
}

fn read_all(config: &Config, fold: &mut Fold) -> Result<(), Failure> {
    let reader = match Reader::open_if_any(&config.ledger) {
        // A writer was killed before its first commit: there is nothing to read, and the next
        // writer makes the ledger as if the file were not there.
        Err(LedgerError::Empty { .. }) => return Ok(()),
        opened => opened?,
    };
    let Some(reader) = reader else { return Ok(()) };
    reader.rows(|_, row| {
        fold.apply(&row);
        ControlFlow::Continue(())
    })?;
    Ok(())
}
