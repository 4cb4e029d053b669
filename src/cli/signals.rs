//! Signals: the first SIGINT or SIGTERM stops injection and goes on watching what is outstanding;
//! the second leaves at once. SIGHUP counts as SIGTERM.

use crate::dispatch::run::Orders;

/// Ties signals to orders for as long as the runtime lives.
pub fn install(runtime: &tokio::runtime::Handle, orders: &Orders) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let _guard = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let orders = orders.clone();
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if orders.stop.is_ordered() {
                orders.leave.order("signal");
                return;
            }
            orders.stop.order("signal");
            eprintln!(
                "Injection stopped; still watching what is outstanding. Press Ctrl-C again to leave."
            );
        }
    });
    Ok(())
}
