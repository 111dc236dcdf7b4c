//! Ending KVM_RUN from outside: a signal to the thread that is in it.
//!
//! A thread that is about to call KVM_RUN publishes two things: its thread id, in the VM's
//! `protocol`, for other threads to signal; and the address of `immediate_exit` in its kvm_run
//! mapping, in a thread-local, for the signal's handler to set. KVM_RUN returns at once with
//! EINTR when a signal is pending or `immediate_exit` is set (KVM API documentation), so there is
//! no moment at which a signal could be lost:
//!
//! | the signal comes | what becomes of it |
//! | --- | --- |
//! | while the host is at work between two KVM_RUNs | the handler has set `immediate_exit`, which is looked at before each |
//! | between that look and KVM_RUN | the same, and KVM_RUN returns at once |
//! | in KVM_RUN | it returns, and `immediate_exit` is cleared |
//! | while a sink or a source of the host's blocks | its system call is interrupted, and the request looked at |
//! | right before that blocks | a timer interrupts it again: while there are no ticks, one is set around each |
//!
//! `immediate_exit` is cleared only where it was seen set, and what it stands for is looked at
//! after that: a second signal in between sets it again. The thread id is published before the
//! request is looked at, in one word with it: either the stopper sees the thread, or the thread
//! sees the request.

mod protocol;
mod signal;
mod watchdog;

/// What the protocol is made of; a model checker has its own.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

pub(crate) use signal::install;
pub use signal::{signal, unblock, use_signal};
pub(crate) use watchdog::Watchdog;

use protocol::{Look, Protocol};
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};
use std::time::Duration;

/// What a thread sleeps at a time while a stopper is about to signal it: that takes no longer than
/// a system call, unless the stopper has lost its processor.
const SIGNAL_TIME: Duration = Duration::from_micros(20);

thread_local! {
    /// Whether the signal is let through to this thread.
    static UNBLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Stops a VM from any thread, or from a signal handler: the run ends as
/// [`End::Stopped`](crate::End::Stopped), and so does every later run of that VM.
///
/// ```
/// use portcall::{End, Image, Kvm, Vm};
/// use std::thread;
/// use std::time::Duration;
///
/// // jmp to itself
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xeb, 0xfe])?);
/// let mut vm = Vm::builder(&kvm, &image).build()?;
/// let stopper = vm.stopper();
/// thread::spawn(move || {
///     thread::sleep(Duration::from_millis(20));
///     stopper.stop();
/// });
/// assert_eq!(vm.run()?.end, End::Stopped);
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Protocol>);

impl Stopper {
    /// Stops the VM now, or as soon as it is run. Only atomic accesses and one system call: it may
    /// be called from a signal handler.
    ///
    /// A handler of the host's that is at work answers first: one that runs another VM has to stop
    /// that by a stopper of its own.
    pub fn stop(&self) {
        self.0.stop(signal::send);
    }
}

/// A VM's side of its stoppers.
#[derive(Debug)]
pub(crate) struct StopState(Arc<Protocol>);

impl Default for StopState {
    fn default() -> Self {
        Self(Arc::new(Protocol::new()))
    }
}

impl StopState {
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.0))
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.requested()
    }

    /// The stoppers that there are stop it no more, unless one has. While it is borrowed so, it does
    /// not run.
    pub(crate) fn cut_off(&mut self) {
        if Arc::strong_count(&self.0) > 1 && !self.requested() {
            *self = Self::default();
        }
    }

    /// What there is to know before KVM_RUN.
    pub(crate) fn look(&self, take_signal: impl FnOnce() -> bool) -> Look {
        self.0.look(take_signal)
    }

    /// Publishes this thread and `immediate_exit` until the guard is dropped. Of a VM that was
    /// stopped there is nothing left to signal.
    ///
    /// # Safety
    /// `immediate_exit` stays writable while the guard lives.
    pub(crate) unsafe fn running(&self, immediate_exit: *mut u8) -> Running {
        if !UNBLOCKED.replace(true) {
            unblock(signal());
        }
        // Asked for each time: a fork leaves a thread with another.
        // SAFETY: the call touches no memory of ours.
        let thread = unsafe { libc::gettid() }.unsigned_abs();
        // SAFETY: it stays writable, as the caller says, until the guard puts back the one before.
        let outer = unsafe { signal::publish(immediate_exit) };
        compiler_fence(Ordering::SeqCst);
        let entered = self.0.enter(thread).then(|| (Arc::clone(&self.0), thread));
        Running { entered, outer, not_send: PhantomData }
    }
}

/// While it lives, a stopper's signal reaches this thread and ends its KVM_RUN.
pub(crate) struct Running {
    entered: Option<(Arc<Protocol>, u32)>,
    /// What was published before: a handler of one VM may run another.
    outer: *mut u8,
    not_send: PhantomData<*const ()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((protocol, thread)) = &self.entered {
            protocol.leave(*thread, || std::thread::sleep(SIGNAL_TIME));
        }
        compiler_fence(Ordering::SeqCst);
        // SAFETY: it is what an outer guard has published, which still lives, or null.
        unsafe { signal::publish(self.outer) };
    }
}
