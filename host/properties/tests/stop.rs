//! The stopper's protocol under a model checker (loom): every order in which the steps of two
//! threads can come, and those of three with up to three switches that none asked for, on a memory
//! that is as weak as Rust's.
//!
//! What is modelled beside it is the kernel: tgkill and timers make a signal pending, KVM_RUN
//! returns when one is, or where the handler has set `immediate_exit` before. To both the same flag
//! stands, which is cleared only where it was seen set. A lost wake-up is a KVM_RUN that never
//! returns, which loom finds as a deadlock.

#[path = "../../src/stop/protocol.rs"]
mod protocol;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use protocol::Protocol;

const RUNNER: u32 = 7;

/// A VM, its stoppers' side and its runner's.
struct Model {
    protocol: Protocol,
    /// Whether a signal is pending for the runner's thread, or was handled.
    signalled: Mutex<bool>,
    came: Condvar,
    /// Whether the runner is in a run, as it itself would say.
    inside: AtomicBool,
    signals: AtomicU32,
    /// How many signals the runner has seen.
    seen: AtomicU32,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            protocol: Protocol::new(),
            signalled: Mutex::new(false),
            came: Condvar::new(),
            inside: AtomicBool::new(false),
            signals: AtomicU32::new(0),
            seen: AtomicU32::new(0),
        })
    }

    fn signal(&self) {
        *self.signalled.lock().expect("no panics") = true;
        self.came.notify_one();
    }

    /// `Stopper::stop`.
    fn stop(&self) {
        self.protocol.stop(|thread| {
            assert_eq!(thread, RUNNER);
            // The one order that the protocol has to give: neither before the run nor behind it.
            assert!(self.inside.load(Ordering::Relaxed), "a signal to a thread that is elsewhere");
            self.signals.fetch_add(1, Ordering::Relaxed);
            self.signal();
        });
        assert!(self.protocol.requested());
    }

    /// `Vcpu::take_signal`. In one piece: the handler runs on the runner's own thread, so that
    /// nothing comes between its look and its write but what is looked at afterwards.
    fn take_signal(&self) -> bool {
        std::mem::take(&mut *self.signalled.lock().expect("no panics"))
    }

    /// KVM_RUN, of a guest that makes no exit: it returns by a signal, or never.
    fn kvm_run(&self) {
        let mut signalled = self.signalled.lock().expect("no panics");
        while !*signalled {
            signalled = self.came.wait(signalled).expect("no panics");
        }
    }

    /// `Vm::run`: `exits` of the guest's, behind which it spins. Whether it was stopped: `false`
    /// if the run came to its end by itself, which is behind the last exit if it does not spin.
    fn run(&self, exits: u32, spins: bool) -> bool {
        self.inside.store(true, Ordering::Relaxed);
        let entered = self.protocol.enter(RUNNER);
        let mut stopped = !entered;
        let mut left = exits;
        while !stopped {
            // As in `Vm::once`.
            let look = self.protocol.look(|| self.take_signal());
            self.seen.fetch_add(u32::from(look.signalled), Ordering::Relaxed);
            stopped = look.stopped;
            if stopped {
                break;
            }
            if left > 0 {
                left -= 1;
            } else if spins {
                self.kvm_run();
            } else {
                break;
            }
        }
        if entered {
            self.protocol.leave(RUNNER, thread::yield_now);
        }
        self.inside.store(false, Ordering::Relaxed);
        stopped
    }
}

/// Runs a model of three threads. Without a bound that takes hours.
fn three_threads(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A guest that spins ends, whenever the stop comes; and every later run does at once.
#[test]
fn a_stop_at_any_moment_ends_a_run_for_good() {
    loom::model(|| {
        let model = Model::new();
        let other = Arc::clone(&model);
        let stopper = thread::spawn(move || other.stop());
        assert!(model.run(1, true));
        assert!(model.run(0, true));
        stopper.join().expect("no panics");
        assert!(model.protocol.requested());
        let [sent, seen] = [&model.signals, &model.seen].map(|it| it.load(Ordering::Relaxed));
        assert!(seen <= sent && sent <= 1, "{sent} sent, {seen} seen");
    });
}

#[test]
fn two_stoppers_stop_once() {
    three_threads(|| {
        let model = Model::new();
        let stoppers = [(); 2].map(|()| {
            let model = Arc::clone(&model);
            thread::spawn(move || model.stop())
        });
        assert!(model.run(0, true));
        for stopper in stoppers {
            stopper.join().expect("no panics");
        }
        let [sent, seen] = [&model.signals, &model.seen].map(|it| it.load(Ordering::Relaxed));
        assert!(seen <= sent && sent <= 1, "{sent} sent, {seen} seen");
    });
}

/// Runs that end by themselves while a stop comes: the signal is never sent behind them, and no
/// run begins after a stop that was over before it.
#[test]
fn no_signal_comes_behind_a_run() {
    loom::model(|| {
        let model = Model::new();
        let other = Arc::clone(&model);
        let stopper = thread::spawn(move || other.stop());
        let first = model.run(1, false);
        // Out of the run, this thread is at something else.
        let second = model.run(0, false);
        assert!(second || !first, "a stop does not go away");
        stopper.join().expect("no panics");
        assert!(model.run(0, true), "what was stopped before does not run");
    });
}

/// A tick may come at the same time, and be taken for the stop's signal or the other way round.
#[test]
fn a_tick_takes_no_stop_away() {
    three_threads(|| {
        let model = Model::new();
        let (one, other) = (Arc::clone(&model), Arc::clone(&model));
        let stopper = thread::spawn(move || one.stop());
        let timer = thread::spawn(move || other.signal());
        assert!(model.run(0, true));
        stopper.join().expect("no panics");
        timer.join().expect("no panics");
    });
}
