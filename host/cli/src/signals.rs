//! Signals that stop the guest: Ctrl-C, kill, a terminal that goes away.

use crate::code::Failure;
use crate::output;
use portcall::{End, Stopper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

const STOP_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// What is held after the run: the next signal is no stop any more.
const OVER: i32 = -1;

/// Which signal came.
pub(crate) struct Signals(Arc<AtomicI32>);

impl Signals {
    /// SIGINT, SIGTERM and SIGHUP end the run as stopped. A second one, or one after the run,
    /// does what it does to any process.
    pub(crate) fn stop(stopper: &Stopper) -> Result<Self, Failure> {
        let came = Arc::new(AtomicI32::new(0));
        for signal in STOP_SIGNALS {
            let (came, stopper) = (Arc::clone(&came), stopper.clone());
            let stop = move || {
                if came.swap(signal, Ordering::Relaxed) != 0 {
                    // It does not come back, but for signals that there are none of here.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                output::interrupt();
                stopper.stop();
            };
            // SAFETY: atomic accesses, `Stopper::stop` and `emulate_default_handler`, all of which
            // may be called in a handler.
            let done = unsafe { signal_hook::low_level::register(signal, stop) };
            done.map_err(|error| {
                Failure::Message(format!("cannot handle signal {signal}: {error}"))
            })?;
        }
        // A parent may have blocked them.
        STOP_SIGNALS.into_iter().for_each(portcall::stop::unblock);
        Ok(Self(came))
    }

    /// The run is over: the signal that stopped it, if one did.
    pub(crate) fn over(&self, end: &End) -> Option<i32> {
        // One that came when the guest had ended by itself has stopped nothing.
        let signal = self.0.swap(OVER, Ordering::Relaxed);
        (*end == End::Stopped && signal > 0).then_some(signal)
    }
}
