//! The thin binary: parse, call the library, map the result to an exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use dwell::exit::{Exit, printable};

/// What a process killed by SIGPIPE would end with: whoever read us has seen enough.
const READER_GONE: i32 = 141;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(on_panic));
    let cli = dwell::cli::Cli::parse();
    trace();
    // Fails only where a provider is set already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match dwell::cli::run(cli) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) => {
            eprintln!("error: {}", printable(&failure.to_string()));
            ExitCode::from(failure.exit().code())
        }
    }
}

/// Logs to stderr, warnings and worse unless `DWELL_LOG` says otherwise.
fn trace() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DWELL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// A panic on any thread ends the process: going on would mean to report wrong numbers.
fn on_panic(info: &std::panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    if text.contains("failed printing to std") {
        std::process::exit(READER_GONE);
    }
    use std::io::Write;
    let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
    // stderr may be gone as well; then the exit code has to do.
    let _ = writeln!(
        std::io::stderr(),
        "error: this is a bug in dwell: {} ({place}); what the ledger accepted is safe; please \
         report it with `dwell --version` and the steps",
        printable(&text)
    );
    std::process::exit(i32::from(Exit::Bug.code()));
}
