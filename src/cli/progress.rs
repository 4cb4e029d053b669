//! Progress on stderr: a bar on a terminal, else a plain line every ten seconds. Never on stdout,
//! which belongs to data.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::printable;

/// Distance between two plain lines.
const EVERY: Duration = Duration::from_secs(10);

/// How far a long verb has come.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    said: Option<Instant>,
}

impl Progress {
    /// Starts to show `total` steps; 0 where nobody knows how many.
    pub fn new(total: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let template = match total {
                0 => "{spinner} {msg}",
                _ => "{bar:30} {pos}/{len} {msg} (ends in {eta})",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Progress { bar, total, done: 0, said: None }
    }

    /// `done` steps are done; `message` says what is going on.
    pub fn set(&mut self, done: u64, message: &str) {
        self.done = done;
        let message = printable(message);
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message);
            }
            None if self.said.is_none_or(|said| said.elapsed() >= EVERY) => {
                self.said = Some(Instant::now());
                match self.total {
                    0 => eprintln!("{message}"),
                    total => eprintln!("{done}/{total} {message}"),
                }
            }
            None => {}
        }
    }

    /// A line of its own, above the bar.
    pub fn line(&self, text: &str) {
        let text = printable(text);
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Clears the bar.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
