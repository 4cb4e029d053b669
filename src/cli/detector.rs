//! `dwell detector`: the reference detector in a process of its own. Its configuration is not a
//! campaign's: `configs/detector.toml` shows one.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dwell_injectors::stamp::SystemClock;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Global;
use crate::detector::{DetectorError, Settings};
use crate::exit::{Exit, Failure};

/// Arguments of `dwell detector`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read the configuration and the rules that it names, say whether they are sound, and start
    /// nothing.
    #[arg(long)]
    pub check: bool,
    /// End when standard input does: a detector that a program started does not outlive it.
    #[arg(long, hide = true)]
    pub with_stdin: bool,
}

/// Runs `dwell detector` until SIGTERM or SIGINT. Once it is ready it prints one JSON line with the
/// bound address of its search API.
pub fn run(args: Args, global: &Global) -> Result<Exit, Failure> {
    let clock = Arc::new(SystemClock::new());
    if args.check {
        let checked = Settings::load(&global.config)
            .and_then(|settings| crate::detector::check(&settings, clock));
        return told(checked, global);
    }
    let settings = Settings::load(&global.config)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(&stop)?;
    if args.with_stdin {
        stop_with_stdin(&stop)?;
    }
    crate::detector::run(&settings, clock, &stop, |ready| {
        let line = serde_json::to_string(ready).unwrap_or_default();
        // A closed stdout must not end a detector that works.
        let _ = writeln!(std::io::stdout(), "{line}");
        let _ = std::io::stdout().flush();
    })?;
    Ok(Exit::Met)
}

/// What a check found: with `--json` on stdout, a problem of the configuration too.
fn told(checked: Result<usize, DetectorError>, global: &Global) -> Result<Exit, Failure> {
    match checked {
        Ok(rules) if global.json => super::put_json(&json!({ "ok": true, "rules": rules })),
        Ok(_) => {
            eprintln!("{}: sound", global.config.display());
            Ok(Exit::Met)
        }
        Err(DetectorError::Settings(problem)) if global.json => {
            super::put_json(&json!({ "ok": false, "problems": [problem] }))?;
            Ok(Exit::User)
        }
        Err(error) => Err(error.into()),
    }
}

/// Sets the flag on SIGTERM or SIGINT.
pub(super) fn stop_on_signal(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let deaf = |e: std::io::Error| Failure::Environment(format!("cannot listen for signals: {e}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(deaf)?;
    let (mut term, mut int) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate()).map_err(deaf)?,
            signal(SignalKind::interrupt()).map_err(deaf)?,
        )
    };
    let stop = Arc::clone(stop);
    let listen = move || {
        runtime.block_on(async {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        });
        stop.store(true, Ordering::Release);
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(deaf)?;
    Ok(())
}

fn stop_with_stdin(stop: &Arc<AtomicBool>) -> Result<(), Failure> {
    let stop = Arc::clone(stop);
    let wait = move || {
        // An error ends it too: then nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        stop.store(true, Ordering::Release);
    };
    let started = std::thread::Builder::new().name("stdin".into()).spawn(wait);
    started.map(drop).map_err(|e| Failure::Environment(format!("cannot start a thread: {e}")))
}

impl From<DetectorError> for Failure {
    fn from(error: DetectorError) -> Failure {
        match error {
            DetectorError::Settings(text) => Failure::User(text),
            DetectorError::Environment(text) => Failure::Environment(text),
        }
    }
}
