//! A store without indexes, in memory: it keeps rows, and finds every answer by reading them all.
//!
//! It shows that the contract is no picture of SQLite, and it is the oracle of SQLite's indexes: the
//! same random work on both must give the same answers and the same chain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::super::store::{OpenRun, Store, Unfinished};
use super::*;

#[derive(Clone, Default)]
struct Kept {
    rows: Vec<Row>,
    cursors: BTreeMap<String, String>,
    bodies: BTreeMap<(TokenId, u32), String>,
    reserved: BTreeMap<Epoch, u32>,
    settled: Vec<u32>,
    head: Option<Head>,
}

/// Where committed rows are: it outlives the store, as a file would.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Kept>>);

pub(super) struct MemoryStore {
    disk: Arc<Mutex<Kept>>,
    now: Kept,
}

impl Memory {
    pub(super) fn open(&self) -> MemoryStore {
        MemoryStore { now: self.0.lock().unwrap().clone(), disk: Arc::clone(&self.0) }
    }
}

fn refused(reason: &str) -> LedgerError {
    LedgerError::store(Path::new("memory"), reason.to_owned())
}

impl MemoryStore {
    fn intents(&self) -> impl Iterator<Item = &Intent> {
        self.now.rows.iter().filter_map(|row| match row {
            Row::Intent(intent) => Some(intent),
            _ => None,
        })
    }

    fn runs(&self) -> impl Iterator<Item = &RunStarted> {
        self.now.rows.iter().filter_map(|row| match row {
            Row::Run(run) => Some(&**run),
            _ => None,
        })
    }

    /// Events of a canary that have neither receipt nor withdrawal after its intent.
    fn missing(&self, canary: TokenId) -> Vec<u32> {
        let mut missing = Vec::new();
        for row in &self.now.rows {
            match row {
                Row::Intent(i) if i.canary == canary => missing.extend(0..i.digests.len() as u32),
                Row::Receipt(r) if r.canary == canary => missing.retain(|event| *event != r.event),
                Row::Withdrawn(w) if w.canary == Some(canary) => missing.clear(),
                _ => {}
            }
        }
        missing
    }
}

impl Store for MemoryStore {
    fn begin(&mut self) -> Result<(), LedgerError> {
        self.now = self.disk.lock().unwrap().clone();
        Ok(())
    }

    fn commit(&mut self) -> Result<(), LedgerError> {
        *self.disk.lock().unwrap() = self.now.clone();
        Ok(())
    }

    fn rollback(&mut self) {
        self.now = self.disk.lock().unwrap().clone();
    }

    fn append(&mut self, row: &Row) -> Result<(), LedgerError> {
        let twice = match row {
            Row::Intent(intent) => self.knows(intent.canary)?,
            Row::Run(run) => self.run_row(run.run)?.is_some(),
            _ => false,
        };
        if twice {
            return Err(refused("recorded already"));
        }
        let body = serde_json::to_string(row).unwrap();
        self.now.head = Some(self.head().next(&KEY, row.kind(), &body));
        self.now.rows.push(row.clone());
        Ok(())
    }

    fn knows(&self, canary: TokenId) -> Result<bool, LedgerError> {
        Ok(self.planned(canary)?.is_some())
    }

    fn has_sighting(
        &self,
        watcher: &str,
        native_id: &str,
        canary: TokenId,
    ) -> Result<bool, LedgerError> {
        Ok(self.now.rows.iter().any(|row| {
            matches!(row, Row::Sighting(s)
                if (&*s.watcher, &*s.native_id, s.canary) == (watcher, native_id, canary))
        }))
    }

    fn planned(&self, canary: TokenId) -> Result<Option<Intent>, LedgerError> {
        Ok(self.intents().find(|intent| intent.canary == canary).cloned())
    }

    fn run_row(&self, run: u32) -> Result<Option<Box<RunStarted>>, LedgerError> {
        Ok(self.runs().find(|started| started.run == run).cloned().map(Box::new))
    }

    fn under_way(&self, canary: TokenId) -> Result<bool, LedgerError> {
        Ok(!self.missing(canary).is_empty())
    }

    fn set_cursor(&mut self, watcher: &str, position: &str) -> Result<(), LedgerError> {
        self.now.cursors.insert(watcher.to_owned(), position.to_owned());
        Ok(())
    }

    fn put_body(&mut self, canary: TokenId, event: u32, body: &str) -> Result<(), LedgerError> {
        match self.now.bodies.insert((canary, event), body.to_owned()) {
            None => Ok(()),
            Some(_) => Err(refused("this body is kept already")),
        }
    }

    fn bodies(&self, canary: TokenId) -> Result<Vec<String>, LedgerError> {
        let of_canary = self.now.bodies.iter().filter(|((id, _), _)| *id == canary);
        let mut found: Vec<(u32, String)> =
            of_canary.map(|((_, event), body)| (*event, body.clone())).collect();
        found.sort();
        Ok(found.into_iter().map(|(_, body)| body).collect())
    }

    /// Without the circle: its numbers are small.
    fn reserve(&mut self, epoch: Epoch, number: u32, fresh: u32) -> Result<u32, LedgerError> {
        let used = self.intents().filter(|i| i.canary.epoch == epoch).map(|i| i.canary.serial + 1);
        let first = used.max().max(self.now.reserved.get(&epoch).copied()).unwrap_or(fresh);
        self.now.reserved.insert(epoch, first + number);
        Ok(first)
    }

    fn head(&self) -> Head {
        self.now.head.unwrap_or(Head::empty(1))
    }

    fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        for (pos, row) in (1..).zip(&self.now.rows) {
            standing.append(pos, row);
        }
        standing
    }

    fn unfinished(&self) -> Result<Vec<Unfinished>, LedgerError> {
        let with = |intent: &Intent| Unfinished {
            intent: intent.clone(),
            missing: self.missing(intent.canary),
        };
        Ok(self.intents().map(with).filter(|u| !u.missing.is_empty()).collect())
    }

    fn open_runs(&self) -> Result<Vec<OpenRun>, LedgerError> {
        let rows = &self.now.rows;
        let after =
            |run| rows.iter().skip_while(move |r| !matches!(r, Row::Run(s) if s.run == run));
        let ended = |run| after(run).any(|r| matches!(r, Row::Ended(e) if e.run == run));
        let taken = |run| {
            let slots = rows.iter().filter_map(|row| match row {
                Row::Intent(i) if i.run == run => Some((i.route, i.slot, 1)),
                Row::Withdrawn(w) if w.run == run => Some((w.route, w.slot_from, w.slots)),
                _ => None,
            });
            slots.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
        };
        let open =
            |started: &&RunStarted| !ended(started.run) && !self.now.settled.contains(&started.run);
        let mut found: Vec<OpenRun> = self
            .runs()
            .filter(open)
            .map(|s| OpenRun { started: Box::new(s.clone()), taken: taken(s.run) })
            .collect();
        found.sort_by_key(|open| open.started.run);
        Ok(found)
    }

    fn settle_run(&mut self, run: u32) -> Result<(), LedgerError> {
        if self.run_row(run)?.is_some() {
            self.now.settled.push(run);
        }
        Ok(())
    }
}

/// One call, on few canaries and runs, so that calls meet each other.
#[derive(Clone, Debug)]
enum Call {
    Append(Box<Row>),
    Reserve(u32),
    Settle(u32),
    Body(u32, u32),
    Commit,
    Rollback,
    Reopen,
}

fn numbered_run(run: u32) -> Row {
    let Row::Run(mut started) = run_row(3) else { panic!("not a run") };
    started.run = run;
    Row::Run(started)
}

fn withdrawn(run: u32, slot_from: u32, canary: Option<TokenId>) -> Row {
    let reason = "stop".to_owned();
    Row::Withdrawn(Withdrawn { at: stamp(), run, route: 0, slot_from, slots: 2, canary, reason })
}

/// Several boots, whose wall clocks do not agree.
fn moment(boot: u64, second: i64) -> Stamp {
    let ns = second * 1_000_000_000;
    Stamp {
        wall_ns: stamp().wall_ns + ns * boot as i64,
        boot_ns: stamp().boot_ns.saturating_add_signed(ns),
        boot: BootId(boot),
    }
}

fn look(boot: u64, second: i64) -> Row {
    Row::Look(Look {
        watcher: "alerts".to_owned(),
        from: moment(boot / 2, second - 2),
        to: moment(boot, second),
        complete: true,
        unbroken: false,
        position: String::new(),
        records: 1,
    })
}

fn calls() -> impl Strategy<Value = Call> {
    let (serial, event, run) = (0..5u32, 0..3u32, 1..3u32);
    let rows =
        prop_oneof![
            (serial.clone(), 1..3usize).prop_map(|(serial, events)| intent(serial, events)),
            (serial.clone(), event.clone()).prop_map(|(serial, event)| receipt(serial, event)),
            (serial.clone(), "[ab]").prop_map(|(serial, id)| Row::Sighting(sighting(serial, &id))),
            (run.clone(), serial.clone(), any::<bool>()).prop_map(
                |(run, serial, named)| withdrawn(run, serial, named.then(|| canary(serial)))
            ),
            run.clone().prop_map(numbered_run),
            (0..4u64, 0..9i64).prop_map(|(boot, second)| look(boot, second)),
            (serial.clone(), 0..4u64, 0..9i64, any::<bool>()).prop_map(
                |(serial, boot, second, retrospective)| Row::Sighting(SightingRow {
                    observed: moment(boot, second),
                    not_before: Some(moment(boot / 2, second - 1)),
                    retrospective,
                    ..sighting(serial, "c")
                })
            ),
            run.clone().prop_map(|run| {
                Row::Ended(Ended { at: stamp(), run, reason: "stopped".to_owned() })
            }),
        ];
    prop_oneof![
        8 => rows.prop_map(|row| Call::Append(Box::new(row))),
        1 => (1..4u32).prop_map(Call::Reserve),
        1 => run.prop_map(Call::Settle),
        1 => (serial, event).prop_map(|(serial, event)| Call::Body(serial, event)),
        2 => Just(Call::Commit),
        1 => Just(Call::Rollback),
        1 => Just(Call::Reopen),
    ]
}

/// Everything that a store can be asked.
fn answers(store: &dyn Store) -> String {
    let of = |serial: u32| {
        let canary = canary(serial);
        let seen = |id| store.has_sighting("alerts", id, canary).unwrap();
        let known = (store.knows(canary).unwrap(), store.planned(canary).unwrap());
        let (under_way, bodies) = (store.under_way(canary).unwrap(), store.bodies(canary).unwrap());
        format!("{known:?} {under_way} {bodies:?} {} {}\n", seen("a"), seen("b"))
    };
    let canaries: String = (0..5).map(of).collect();
    let runs: Vec<_> = (0..4).map(|run| store.run_row(run).unwrap()).collect();
    let (unfinished, open) = (store.unfinished().unwrap(), store.open_runs().unwrap());
    let (head, standing) = (store.head(), store.standing());
    format!("{head:?}\n{canaries}{runs:?}\n{unfinished:?}\n{open:?}\n{standing:?}")
}

/// Makes the call; what it answered, or that it was refused. A refusal ends the transaction, as the
/// writer ends it.
fn make(store: &mut dyn Store, call: &Call) -> Option<u32> {
    let told = match call {
        Call::Append(row) => store.append(row).map(|()| 0),
        Call::Reserve(number) => store.reserve(Epoch(1), *number, 2),
        Call::Settle(run) => store.settle_run(*run).map(|()| 0),
        Call::Body(serial, event) => {
            let body = format!("event {event} of {serial}");
            store.put_body(canary(*serial), *event, &body).map(|()| 0)
        }
        Call::Commit => store.commit().and_then(|()| store.begin()).map(|()| 0),
        Call::Rollback | Call::Reopen => {
            store.rollback();
            store.begin().map(|()| 0)
        }
    };
    if told.is_err() {
        store.rollback();
        store.begin().unwrap();
    }
    told.ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sqlites_indexes_say_what_the_rows_say(calls in prop::collection::vec(calls(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("l.db");
        let memory = Memory::default();
        let reopen = || SqliteStore::open(&path, &KEY).unwrap();
        let (mut sqlite, mut model) = (reopen(), memory.open());
        sqlite.begin().unwrap();
        model.begin().unwrap();
        for call in &calls {
            prop_assert_eq!(make(&mut sqlite, call), make(&mut model, call), "{:?}", call);
            if let Call::Reopen = call {
                drop(sqlite);
                (sqlite, model) = (reopen(), memory.open());
                sqlite.begin().unwrap();
                model.begin().unwrap();
            }
            prop_assert_eq!(answers(&sqlite), answers(&model), "after {:?}", call);
        }
    }
}
