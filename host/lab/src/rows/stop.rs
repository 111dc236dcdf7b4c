//! A signal that ends KVM_RUN.

use super::Mechanism;
use super::helper::Helper;
use crate::report::Absent;
use crate::stopwatch::{Stopwatch, Timed};
use jail::Jail;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use portcall::{Stop as Step, Vm};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long the guest runs before it is stopped: by then it is in KVM_RUN.
const RUNS: Duration = Duration::from_micros(300);

#[derive(Default)]
pub(super) struct Stop {
    helper: Option<(Sender<()>, Receiver<Instant>, Helper)>,
}

/// Sends the VM's signal to its thread a while after each word that it hears, and says when.
fn send(asked: &Receiver<()>, sent: &Sender<Instant>, signal: impl Fn(), end: &AtomicBool) {
    while !end.load(Ordering::Acquire) && asked.recv().is_ok() {
        thread::sleep(RUNS);
        let now = Instant::now();
        signal();
        if sent.send(now).is_err() {
            return;
        }
    }
}

impl Mechanism for Stop {
    fn name(&self) -> &'static str {
        "stop"
    }

    fn what(&self) -> &'static str {
        "a signal from another thread: from right before it is sent to KVM_RUN's return"
    }

    fn built(&mut self, _: &mut Vm) -> Result<(), Absent> {
        let signal = Signal::try_from(portcall::stop::signal()).map_err(Absent::of_error)?;
        let thread = pthread_self();
        let (ask, asked) = channel();
        let (sent, times) = channel();
        let helper = Helper::start(move |end| {
            // The VM's thread waits for what is said here, so it is there.
            let signal = || pthread_kill(thread, signal).unwrap_or_default();
            send(&asked, &sent, signal, end);
        })?;
        self.helper = Some((ask, times, helper));
        Ok(())
    }

    fn jail(&self) -> Option<Jail> {
        Some(Jail::new().beside_threads())
    }

    fn drive(&mut self, vm: &mut Vm, watch: &Stopwatch) -> Result<Option<Timed>, Absent> {
        let gone = || Absent::failed("the thread that sends the signal is gone");
        let (ask, times, helper) = self.helper.take().ok_or_else(gone)?;
        helper.wake();
        let stop = |vm: &mut Vm| {
            ask.send(()).map_err(|_| gone())?;
            let stop = vm.step().map_err(Absent::of_error)?;
            let stopped = Instant::now();
            if stop != Step::Interrupted {
                return Err(Absent::wrong(format!("{stop:?} in place of a stop")));
            }
            let sent = times.recv().map_err(|_| gone())?;
            Ok(stopped.saturating_duration_since(sent))
        };
        let timed = watch.collect(vm, stop).map(Some);
        // The thread hears no more, and ends.
        drop(ask);
        timed
    }
}
