//! Signals: the first SIGINT or SIGTERM stops injection and goes on watching what is outstanding;
//! the second leaves at once. SIGHUP counts as SIGTERM. A verb that injects nothing has nothing to
//! stop but itself: there the first one ends it.

use crate::dispatch::run::Orders;

/// What a verb that injects says at the first signal.
pub const STOPS: &str =
    "Injection stopped; still watching what is outstanding. Press Ctrl-C again to leave.";
/// What `watch` says at the first signal.
pub const ENDS: &str =
    "Watching ends here; what is outstanding stays outstanding, and `dwell watch` goes on with it.";

/// Ties signals to orders for as long as the runtime lives; `first` is said at the first one.
pub fn install(
    runtime: &tokio::runtime::Handle,
    orders: &Orders,
    first: &'static str,
) -> std::io::Result<()> {
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
            eprintln!("{first}");
        }
    });
    Ok(())
}
