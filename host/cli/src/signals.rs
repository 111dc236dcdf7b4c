//! Signals that stop the guest: Ctrl-C, kill, a terminal that goes away.

use crate::code::Failure;
use crate::output;
use portcall::{End, Stopper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

pub(crate) const STOP_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// What is held after the run: the next signal is no stop any more.
const OVER: i32 = -1;

/// How long a signal that comes again is taken for the same one: timeout(1) sends its own to the
/// child and then to the child's group, and a terminal's may come beside it.
const ECHO_MILLIS: u64 = 500;

/// Has a file that outgrows its limit (ulimit -f) be an error that is said, as a full disk is, and
/// not the end of the process.
pub(crate) fn outlive_file_limits() {
    // SAFETY: to be ignored is what the signal is set to; nothing of ours runs by it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Has signals that stop the guest wait until [`Signals::stop`]: one that ended the process before
/// would leave a file behind that is not there under its name yet.
pub(crate) fn hold() {
    // SAFETY: all-zero bytes are a valid set of signals.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in STOP_SIGNALS {
        // SAFETY: `set` is writable for the call's duration.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: `set` is readable for the call's duration.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Whether a parent has the signal ignored.
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: all-zero bytes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `action` is writable for the call's duration.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Milliseconds of CLOCK_MONOTONIC (clock_gettime(2)), which a handler may ask for; never 0.
fn millis() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable for the call's duration.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let part = |it: i64| u64::try_from(it).unwrap_or(0);
    (part(time.tv_sec) * 1000 + part(time.tv_nsec) / 1_000_000).max(1)
}

/// Which signal came.
pub(crate) struct Signals(Arc<AtomicI32>);

impl Signals {
    /// SIGINT, SIGTERM and SIGHUP end the run as stopped. Half a second later a second one does
    /// what it does to any process, and so does a first one after the run, but for
    /// [what is being written](Self::writing).
    pub(crate) fn stop(stopper: &Stopper) -> Result<Self, Failure> {
        Self::stop_all(std::slice::from_ref(stopper))
    }

    /// The same for several VMs at once.
    pub(crate) fn stop_all(stoppers: &[Stopper]) -> Result<Self, Failure> {
        let came = Arc::new(AtomicI32::new(0));
        // When the first one came, in milliseconds of the clock.
        let first = Arc::new(AtomicU64::new(0));
        // What nohup has ignored stays so. The others are asked for, whoever started us.
        let hangs_up = !is_ignored(SIGHUP);
        for signal in STOP_SIGNALS.into_iter().filter(|signal| *signal != SIGHUP || hangs_up) {
            let (came, first) = (Arc::clone(&came), Arc::clone(&first));
            let stoppers = stoppers.to_vec();
            let stop = move || {
                let now = millis();
                // Those that come at once are one, and the run may be over between them.
                let earlier = first.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
                if earlier.is_err_and(|first| now.saturating_sub(first) < ECHO_MILLIS) {
                    return;
                }
                if came.swap(signal, Ordering::Relaxed) != 0 {
                    // It does not come back, but for signals that there are none of here.
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                output::interrupt();
                stoppers.iter().for_each(Stopper::stop);
            };
            // SAFETY: atomic accesses, clock_gettime, `Stopper::stop` and `emulate_default_handler`, all of which
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

    /// Writes what there is to write of a run that is over. A signal meanwhile ends what waits for a
    /// reader, so that it is said what is missing; a second one, or one where the run was stopped
    /// already, does what it does to any process. The signal, if one came, beside what is given.
    pub(crate) fn writing<T>(&self, write: impl FnOnce() -> T) -> (T, Option<i32>) {
        if !output::is_interrupted() {
            self.0.store(0, Ordering::Relaxed);
        }
        let written = write();
        let signal = self.0.swap(OVER, Ordering::Relaxed);
        (written, (signal > 0).then_some(signal))
    }

    /// The run is over: the signal that stopped it, if one did.
    pub(crate) fn over(&self, end: &End) -> Option<i32> {
        // One that came when the guest had ended by itself has stopped nothing.
        let signal = self.0.swap(OVER, Ordering::Relaxed);
        (*end == End::Stopped && signal > 0).then_some(signal)
    }
}
