//! A signal that ends KVM_RUN.

use super::helper::Helper;
use super::{Mechanism, Row};
use crate::report::Absent;
use crate::stopwatch::{Stopwatch, Timed};
use jail::Jail;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use portcall::{Stop as Step, Vm};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long the guest runs before it is stopped: by then it is in KVM_RUN, as a rule.
const RUNS: Duration = Duration::from_micros(300);

/// After which a signal has come too early, where the guest was not in KVM_RUN yet, and is sent again.
const LOST: Duration = Duration::from_millis(50);

/// Samples in a row that may fail so.
const TRIES: u32 = 100;

pub(super) const STOP: Row = Row {
    name: "stop",
    what: "a signal from another thread: from right before it is sent to KVM_RUN's return",
    make: || Box::new(Stop::default()),
};

#[derive(Default)]
struct Stop {
    helper: Option<(Sender<()>, Receiver<Sent>, Helper)>,
}

/// Signals that were sent up to a stop: how many, and when the last.
type Sent = (u32, Instant);

/// After a word that it hears, sends the VM's signal to its thread until it hears the next.
fn send(told: &Receiver<()>, sent: &Sender<Sent>, signal: impl Fn(), end: &AtomicBool) {
    while !end.load(Ordering::Acquire) && told.recv().is_ok() {
        thread::sleep(RUNS);
        let mut count = 0;
        let last = loop {
            let now = Instant::now();
            signal();
            count += 1;
            match told.recv_timeout(LOST) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => break now,
            }
        };
        if sent.send((count, last)).is_err() {
            return;
        }
    }
}

/// One stop; `None` where more than one signal was sent, so that nobody knows which it was.
fn stop(
    vm: &mut Vm,
    tell: &Sender<()>,
    times: &Receiver<Sent>,
) -> Result<Option<Duration>, Absent> {
    tell.send(()).map_err(|_| gone())?;
    let stop = vm.step().map_err(Absent::of_error)?;
    let stopped = Instant::now();
    tell.send(()).map_err(|_| gone())?;
    let (count, sent) = times.recv().map_err(|_| gone())?;
    if stop != Step::Interrupted {
        return Err(Absent::wrong(format!("{stop:?} in place of a stop")));
    }
    Ok(stopped.checked_duration_since(sent).filter(|_| count == 1))
}

fn gone() -> Absent {
    Absent::failed("the thread that sends the signal is gone")
}

impl Mechanism for Stop {
    fn built(&mut self, _: &mut Vm) -> Result<(), Absent> {
        let signal = Signal::try_from(portcall::stop::signal()).map_err(Absent::of_error)?;
        let thread = pthread_self();
        let (tell, told) = channel();
        let (sent, times) = channel();
        let helper = Helper::start(move |end| {
            // The VM's thread waits for what is said here, so it is there.
            let signal = || pthread_kill(thread, signal).unwrap_or_default();
            send(&told, &sent, signal, end);
        })?;
        self.helper = Some((tell, times, helper));
        Ok(())
    }

    fn jail(&self) -> Option<Jail> {
        Some(Jail::new().beside_threads())
    }

    fn drive(&mut self, vm: &mut Vm, watch: &Stopwatch) -> Result<Option<Timed>, Absent> {
        let (tell, times, helper) = self.helper.take().ok_or_else(gone)?;
        helper.wake();
        let sample = |vm: &mut Vm| {
            for _ in 0..TRIES {
                if let Some(time) = stop(vm, &tell, &times)? {
                    return Ok(time);
                }
            }
            Err(Absent::failed(format!("{TRIES} stops in a row took more than one signal")))
        };
        let timed = watch.collect(vm, sample).map(Some);
        // The thread hears no more, and ends.
        drop(tell);
        timed
    }
}
