//! The file watcher's loop and its decisions at rotation.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dwell_injectors::stamp::Stamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::family::{Member, beside, family, untraced};
use super::source::{FileId, Open, Place, Shape, Start, own_file};
use super::wake::{STALL, Wake, folder};
use crate::watchers::intake::{Intake, Mark, ns};
use crate::watchers::{WatchError, earliest, later, not_before};

/// How long a rotated file is read on after its last line: writers reopen late.
const QUIET: Duration = Duration::from_secs(60);
/// Rotated files that are kept open when they have been read to their ends. Others are never closed before.
const MAX_RETIRED: usize = 8;
/// How long the file may be missing (a rotation takes a moment) before that is recorded.
const MISSING: Duration = Duration::from_secs(2);

/// How coarsely file systems tell times: one tick of the kernel, nanoseconds.
const TICK_NS: i64 = 10_000_000;

/// The watcher's position: the rotated files that are still read, the present one last.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
struct Position {
    files: Vec<Place>,
    /// Lines handed on in pieces so far.
    #[serde(default)]
    cut: u64,
}

struct Retired {
    open: Open,
    quiet_since: Instant,
    last: Read,
}

/// How the last read of a file went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// There is more.
    Amid,
    /// To its end.
    Ended,
    Failed,
}

/// The state of one file watcher.
pub(super) struct Tail {
    path: PathBuf,
    intake: Intake,
    wake: Wake,
    current: Option<Open>,
    retired: Vec<Retired>,
    /// Files of the family that are read already or were there before us, with when they were made: a
    /// number is given again once its file is deleted.
    known: HashSet<(FileId, Option<i64>)>,
    missing: Option<(Instant, Stamp)>,
    /// True while the path names nothing.
    absent: bool,
    /// True while a file that is open cannot be read.
    failing: bool,
    /// True while the file is there, was never open and cannot be opened: what it holds is lost.
    denied: bool,
    /// When everything had last been read to its end.
    at_end: Stamp,
    /// When what is open was last compared with what the path names.
    followed: Stamp,
    /// Before it, no line was there that is not read yet: begin of the last complete look, or later
    /// where a notification was waited for.
    since: Stamp,
    /// True while the last look read everything to its end, so that what comes is notified.
    attentive: bool,
    /// True until the first complete look: then `at_end` is when watching began.
    first: bool,
    /// False when something before the first look may have been lost.
    unbroken: bool,
    cut: u64,
}

impl Tail {
    /// Takes the starting position.
    pub fn open(path: PathBuf, intake: Intake, mark: Option<Mark>) -> Result<Tail, WatchError> {
        let at_end = intake.now();
        let pulse = intake.context.pulse.clone();
        pulse.heed();
        let mut wake = Wake::new(move || pulse.now());
        let since = mark.as_ref().map_or(at_end, |mark| mark.since(at_end));
        wake.follow(&path);
        let mut tail = Tail {
            path,
            intake,
            wake,
            current: None,
            retired: Vec::new(),
            known: HashSet::new(),
            missing: None,
            absent: false,
            failing: false,
            denied: false,
            at_end,
            followed: at_end,
            since,
            attentive: false,
            first: true,
            unbroken: false,
            cut: 0,
        };
        let position = mark.and_then(|m| serde_json::from_value::<Position>(m.position).ok());
        match position {
            Some(position) => tail.resume(position),
            None => tail.begin(),
        }
        tail.commit()?;
        Ok(tail)
    }

    fn begin(&mut self) {
        self.known = family(&self.path).iter().map(Member::birth).collect();
        match self.open_present(Start::End) {
            Ok(open) => self.adopt(open),
            Err(error) => self.unreadable(&error),
        }
    }

    /// Finds the files of the last run again.
    fn resume(&mut self, position: Position) {
        self.cut = position.cut;
        let looked = self.intake.looked();
        let beside = beside(&self.path);
        let mut whole = true;
        for place in &position.files {
            // What was read before is known by its bytes under any name; without bytes, by its name.
            let known = |rotated: bool| rotated || place.anchor_len > 0;
            let moved = beside.iter().filter(|f| f.id == place.id && known(f.rotated));
            let found = std::iter::once(self.path.clone())
                .chain(moved.map(|f| f.path.clone()))
                .find_map(|path| reopen(&path, place))
                .filter(|open| !self.is_own(open.id));
            match found {
                Some(open) => self.retire(open),
                None => whole = false,
            }
        }
        // Files that came and went while nobody watched.
        for file in beside.iter().filter(|f| f.rotated) {
            let since = looked.map_or(i64::MAX, |l| l.wall_ns / 1_000_000_000);
            let read = self.retired.iter().any(|r| r.open.id == file.id);
            if file.modified >= since && !read && !position.files.is_empty() {
                self.read_whole(file);
            }
            self.known.insert(file.birth());
        }
        let here = FileId::at(&self.path);
        let at = self.retired.iter().position(|r| Some(r.open.id) == here);
        match at {
            Some(at) => self.current = Some(self.retired.remove(at).open),
            None => match self.open_present(Start::Beginning) {
                Ok(open) => self.adopt(open),
                Err(error) => self.unreadable(&error),
            },
        }
        let reason = match whole {
            false => Some("the file was cut, or rotated away for good, while nobody watched"),
            true if at.is_none() && !position.files.is_empty() => untraced(&self.path, false),
            true => None,
        };
        self.unbroken = reason.is_none() && looked.is_some();
        if let (Some(reason), Some(from)) = (reason, looked) {
            self.intake.lost(from, self.at_end, reason, true);
        }
    }

    fn adopt(&mut self, open: Open) {
        self.known.insert((open.id, open.born_wall_ns()));
        self.current = Some(open);
    }

    fn retire(&mut self, open: Open) {
        self.known.insert((open.id, open.born_wall_ns()));
        self.retired.push(Retired { open, quiet_since: Instant::now(), last: Read::Amid });
    }

    /// True for a file that one of our injectors names: what is in there was sent by us.
    fn is_own(&self, id: FileId) -> bool {
        self.intake.context.own_files.iter().any(|own| FileId::at(own) == Some(id))
    }

    /// Opens what the path names now, unless it is a file of our own.
    fn open_present(&self, start: Start) -> io::Result<Open> {
        let open = Open::at(&self.path, start)?;
        if self.is_own(open.id) { Err(own_file()) } else { Ok(open) }
    }

    /// Takes a rotated file, under the name that it bears by now. What cannot be read is lost.
    fn read_whole(&mut self, file: &Member) {
        let open = Open::at(&file.path, Start::Beginning).or_else(|error| {
            let again = family(&self.path).into_iter().find(|f| f.id == file.id);
            again.map_or(Err(error), |f| Open::at(&f.path, Start::Beginning))
        });
        match open {
            Ok(open) if self.is_own(open.id) => {
                tracing::warn!("a file that an injector writes bears a rotated name; not read");
            }
            Ok(open) => self.retire(open),
            Err(error) => {
                let ours = error.kind() != io::ErrorKind::NotFound;
                let from = self.intake.looked().unwrap_or(self.at_end);
                let reason = format!("cannot read the rotated {}: {error}", file.path.display());
                self.intake.lost(from, self.intake.now(), reason, ours);
            }
        }
    }

    /// Runs until told to stop.
    pub fn run(mut self) -> Result<(), WatchError> {
        self.intake.ready();
        let mut told = None;
        while !self.intake.stopping() {
            told = if self.step(told)? { self.wake.wait() } else { None };
        }
        self.step(told)?;
        self.intake.note_since(self.unread_since());
        let position = self.position();
        self.intake.close(&position)
    }

    /// Hands over what was read, with the position behind it and how old what follows can be.
    fn commit(&mut self) -> Result<(), WatchError> {
        self.intake.note_since(self.unread_since());
        let position = self.position();
        self.intake.commit(&position)
    }

    /// Before it, nothing was there that lies behind the position.
    fn unread_since(&self) -> Stamp {
        let opens = self.retired.iter().map(|r| &r.open).chain(self.current.as_ref());
        earliest(self.since, opens.filter_map(|open| open.unfinished))
    }

    fn position(&self) -> Value {
        let mut retired: Vec<Place> = self.retired.iter().map(|r| r.open.place()).collect();
        retired.extend(self.current.as_ref().map(Open::place));
        let cut = self.cut + self.current.as_ref().map_or(0, |open| open.cut);
        serde_json::to_value(Position { files: retired, cut }).unwrap_or_default()
    }

    /// Reads what there is, follows rotations, and records the look. False when there is more.
    fn step(&mut self, told: Option<Stamp>) -> Result<bool, WatchError> {
        let told = told.filter(|_| self.wake.fine());
        if let (Some(told), true) = (told, self.attentive) {
            self.since = later(self.since, told);
        }
        let from = self.intake.now();
        let mut ended = false;
        // A rotation may follow upon a rotation; bounded, since the next wake goes on.
        for _ in 0..16 {
            ended = self.read_all()?;
            let (whole, absent) = (ended, self.absent);
            if !self.follow() {
                break;
            }
            if let Some(told) = told.filter(|told| whole && absent && self.is_born_since(told)) {
                self.since = later(self.since, told);
            }
            ended = false;
        }
        let to = self.intake.now();
        self.followed = to;
        self.attentive = ended && self.missing.is_none();
        if self.attentive {
            self.since = later(self.since, from);
            self.looked(from, to);
        }
        if self.intake.full() || self.intake.pending() {
            self.commit()?;
        }
        self.intake.healthy()?;
        Ok(ended || self.intake.is_blind())
    }

    /// True for a file that was made no earlier, not moved here with what others wrote into it before.
    fn is_born_since(&self, told: &Stamp) -> bool {
        let born = self.current.as_ref().and_then(Open::born_wall_ns);
        born.is_some_and(|born| born >= told.wall_ns.saturating_sub(TICK_NS))
    }

    fn looked(&mut self, from: Stamp, to: Stamp) {
        self.intake.note_look(to);
        if self.first || self.intake.is_blind() || self.intake.look_due(&to) {
            let position = self.position();
            // The first look reaches back to the moment when the position was taken.
            let begin = if self.first { self.at_end } else { from };
            let unbroken = self.unbroken || !self.first;
            self.intake.look(begin, to, unbroken, &position);
            self.first = false;
        }
        self.at_end = from;
    }

    /// Reads the rotated files and the present one to their ends.
    fn read_all(&mut self) -> Result<bool, WatchError> {
        let clock = self.intake.context.clock.clone();
        let since = self.since;
        let mut ended = true;
        let mut failed = None;
        let opens = self.retired.iter_mut();
        let opens = opens.map(|r| (&mut r.open, Some((&mut r.quiet_since, &mut r.last))));
        let opens = opens.chain(self.current.iter_mut().map(|open| (open, None)));
        for (open, retired) in opens {
            let before = open.line_start();
            let intake = &mut self.intake;
            // The first line that is finished may have begun long before.
            let mut begun = open.unfinished.take();
            let read = open.read(&*clock, &mut |line, stamp| {
                let since = begun.take().unwrap_or(since);
                intake.message(line, stamp, not_before(&stamp, since));
            });
            let how = match &read {
                Ok(true) => Read::Ended,
                Ok(false) => Read::Amid,
                Err(_) => Read::Failed,
            };
            ended &= how == Read::Ended;
            failed = read.err().or(failed);
            open.unfinished = open.is_amid_line().then(|| begun.unwrap_or(since));
            let moved = open.line_start() != before;
            if let Some((quiet_since, last)) = retired {
                *last = how;
                *quiet_since = if moved { Instant::now() } else { *quiet_since };
            }
        }
        self.failing = failed.is_some();
        if let Some(error) = failed {
            let from = self.at_end;
            self.intake.blind(from, format!("cannot read the file: {error}"), true);
        }
        self.forget_quiet();
        if !ended && self.intake.full() {
            self.commit()?;
        }
        Ok(ended)
    }

    /// Closes rotated files that were read to their ends and have nothing more to say, or are too many.
    /// One that cannot be read is given up after the same time, and what it held is lost.
    fn forget_quiet(&mut self) {
        let clock = self.intake.context.clock.clone();
        loop {
            let many = self.retired.len() > MAX_RETIRED;
            let at = self.retired.iter().position(|r| match r.last {
                Read::Amid => false,
                Read::Ended => many || r.quiet_since.elapsed() > QUIET,
                Read::Failed => r.quiet_since.elapsed() > QUIET,
            });
            let Some(at) = at else { return };
            let retired = self.retired.remove(at);
            if retired.last == Read::Failed {
                let reason = "a rotated file could not be read to its end";
                self.intake.lost(self.at_end, self.intake.now(), reason, true);
            }
            let mut old = retired.open;
            let since = old.unfinished.unwrap_or(self.since);
            let intake = &mut self.intake;
            old.last(&*clock, &mut |line, stamp| {
                intake.message(line, stamp, not_before(&stamp, since));
            });
            self.cut += old.cut;
        }
    }

    /// Compares what is open with what the path names now. True when there is more to read.
    fn follow(&mut self) -> bool {
        if matches!(self.current.as_ref().map(Open::shape), Some(Ok(Shape::Cut))) {
            self.was_cut();
            return true;
        }
        let meta = match std::fs::metadata(&self.path) {
            Ok(meta) => meta,
            Err(error) => {
                self.unreadable(&error);
                return false;
            }
        };
        let id = FileId::of(&meta);
        if self.current.as_ref().is_none_or(|open| open.id != id) {
            return self.rotated();
        }
        if self.is_own(id) {
            self.current = None;
            self.unreadable(&own_file());
        } else {
            self.found();
        }
        false
    }

    fn rotated(&mut self) -> bool {
        let start = if self.denied { Start::End } else { Start::Beginning };
        let open = match self.open_present(start) {
            Ok(open) => open,
            Err(error) => {
                self.unreadable(&error);
                return false;
            }
        };
        if let Some(old) = self.current.take() {
            self.tell_untraced(&old);
            self.retire(old);
        }
        let mut missed = family(&self.path);
        missed.retain(|f| f.id != open.id && self.known.insert(f.birth()));
        for file in missed {
            self.read_whole(&file);
        }
        self.adopt(open);
        self.wake.follow(&self.path);
        self.found();
        true
    }

    /// Nobody looked for a while, and files that the path named in between would have left no trace.
    fn tell_untraced(&mut self, old: &Open) {
        let now = self.intake.now();
        let stalled = now.since(&self.followed).ns > ns(STALL);
        if let (true, Some(reason)) = (stalled, untraced(&self.path, old.is_deleted())) {
            self.intake.lost(self.at_end, now, reason, true);
        }
    }

    /// The present file was cut where it stands.
    fn was_cut(&mut self) {
        let (from, to) = (self.at_end, self.intake.now());
        let Some(mut open) = self.current.take() else { return };
        // The copy that was made before the cut holds what we had not read yet.
        let place = open.place();
        let mut copies = family(&self.path);
        copies.retain(|f| !self.known.contains(&f.birth()) && !self.is_own(f.id));
        for copy in copies {
            self.known.insert(copy.birth());
            let moved = Place { id: copy.id, ..place.clone() };
            if let Some(rest) = reopen(&copy.path, &moved) {
                self.retire(rest);
            }
        }
        open.rewind();
        self.current = Some(open);
        let reason =
            "the file was cut in place; lines between the last read and the cut are unknown";
        self.intake.lost(from, to, reason, false);
    }

    /// The path names something readable again.
    fn found(&mut self) {
        self.missing = None;
        self.absent = false;
        if self.intake.is_blind() && !self.failing {
            let now = self.intake.now();
            // What was open has been read on, and what is new is read from its first byte.
            self.intake.see(now, !self.denied);
            if self.denied && self.first {
                self.at_end = now;
            }
        }
        self.denied = false;
    }

    /// The path names nothing that can be read.
    fn unreadable(&mut self, error: &io::Error) {
        let now = self.intake.now();
        let gone = error.kind() == io::ErrorKind::NotFound;
        self.absent = gone;
        self.denied |= !gone && self.current.is_none();
        let (since, from) = *self.missing.get_or_insert((Instant::now(), now));
        if !gone || self.current.is_none() || since.elapsed() > MISSING {
            let reason = if gone {
                format!("{} does not exist", self.path.display())
            } else {
                format!("cannot open {}: {error}", self.path.display())
            };
            self.intake.blind(from, reason, !gone);
        }
        if gone && !folder(&self.path).exists() || since.elapsed() > MISSING {
            self.wake.renew(&self.path);
        }
    }
}

/// Opens the file at a place, if it is the file that was read up to there.
fn reopen(path: &Path, place: &Place) -> Option<Open> {
    let open = Open::at(path, Start::At(place.offset)).ok()?;
    let same = open.id == place.id && open.matches(place).unwrap_or(false);
    same.then_some(open)
}
