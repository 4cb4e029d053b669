//! The transports alone: checks one target, then delivers each line of standard input as one event
//! and prints what came back.
//!
//! ```text
//! printf 'first\nsecond\n' | cargo run -p dwell-injectors --example deliver -- injector.toml
//! cargo run -p dwell-injectors --example deliver -- injector.toml --check < sample.txt
//! ```
//!
//! The file holds the settings of one injector: `type = "file"`, `path = "a.log"`. With `--check`
//! nothing is sent; the first line serves as the sample. Exit code 1 when anything was refused.

use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dwell_injectors::injector::{Event, Injector, Sample};
use dwell_injectors::registry::InjectorSettings;
use dwell_injectors::stamp::{Clock, SystemClock};

const PATIENCE: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a file with the settings of one injector")?;
    let only_check = arguments.next().is_some_and(|argument| argument == "--check");
    let settings: InjectorSettings = toml::from_str(&std::fs::read_to_string(path)?)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut injector = settings.build(Arc::clone(&clock))?;
    println!("target: {}", injector.target());
    let mut lines = std::io::stdin().lock().lines();
    let refused = if only_check {
        let first = lines.next().transpose()?.map(|line| event(line, &clock));
        let sample = first.map(|event| Sample { recipe: "the first line".to_owned(), event });
        check(injector.as_mut(), sample.as_slice())?
    } else {
        let mut failed = false;
        for line in lines {
            match injector.deliver(&event(line?, &clock), PATIENCE) {
                Ok(receipt) => println!("{}", serde_json::to_string(&receipt)?),
                Err(error) => {
                    failed = true;
                    println!("{error:?}");
                }
            }
        }
        failed
    };
    let unflushed = injector.close(PATIENCE);
    if unflushed > 0 {
        println!("not flushed: {unflushed}");
    }
    Ok(if refused || unflushed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn check(injector: &mut dyn Injector, samples: &[Sample]) -> Result<bool, Failure> {
    let notes = injector.check(samples, PATIENCE)?;
    for note in &notes {
        println!("{}: {:?}", if note.refuse { "refused" } else { "note" }, note.text);
    }
    Ok(notes.iter().any(|note| note.refuse))
}

fn event(body: String, clock: &Arc<dyn Clock>) -> Event {
    Event {
        index: 0,
        offset: Duration::ZERO,
        body,
        completing: true,
        syslog: None,
        key: None,
        time_ns: clock.now().wall_ns,
    }
}
