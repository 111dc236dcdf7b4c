//! Ending KVM_RUN from outside: a signal to the thread that is in it.
//!
//! A vCPU thread that is about to call KVM_RUN publishes two things: its thread id, in the VM's
//! shared state, for other threads to signal; and the address of `immediate_exit` in its
//! kvm_run mapping, in a thread-local, for the signal's handler to set. KVM_RUN returns at once
//! with EINTR when a signal is pending or `immediate_exit` is set (KVM API documentation), so
//! there is no moment at which a signal could be lost:
//!
//! | the signal comes | what becomes of it |
//! | --- | --- |
//! | while the host is at work between two KVM_RUNs | the handler has set `immediate_exit`, which is looked at before each |
//! | between that look and KVM_RUN | the same, and KVM_RUN returns at once |
//! | in KVM_RUN | it returns, and `immediate_exit` is cleared |
//!
//! `immediate_exit` is cleared only where it was seen set, and what it stands for is looked at
//! after that: a second signal in between sets it again. The request is stored before the thread
//! id is read, and the thread id is published before the request is read: either the stopper sees
//! the thread, or the thread sees the request.

use crate::error::ConfigError;
use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The signal, 0 as long as nobody chose one.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// The signal whose handler is installed.
static INSTALLED: Mutex<Option<i32>> = Mutex::new(None);

thread_local! {
    /// `immediate_exit` of the VM that this thread runs, or null.
    static IMMEDIATE_EXIT: AtomicPtr<u8> = const { AtomicPtr::new(ptr::null_mut()) };
    static THREAD: Cell<i32> = const { Cell::new(0) };
    static TOKEN: Cell<u64> = const { Cell::new(0) };
}

/// A number for a thread that no other thread ever has, unlike its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadToken(u64);

impl ThreadToken {
    pub(crate) fn current() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(TOKEN.with(|token| {
            if token.get() == 0 {
                token.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            token.get()
        }))
    }
}

/// Lets a signal through to this thread, which may have inherited a mask that blocks it.
pub fn unblock(signal: i32) {
    // SAFETY: all-zero bytes are a valid set of signals.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable for the call's duration.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: `set` is readable for the call's duration.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
}

/// Chooses the signal that ends KVM_RUN; SIGRTMIN if it is never called.
///
/// # Errors
/// A VM was built already, with another signal: its stoppers would send the wrong one.
pub fn use_signal(signal: i32) -> Result<(), ConfigError> {
    let installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(installed) = installed.filter(|installed| *installed != signal) {
        return Err(ConfigError::SignalChosen { installed });
    }
    SIGNAL.store(signal, Ordering::Relaxed);
    Ok(())
}

/// The signal that ends KVM_RUN.
#[must_use]
pub fn signal() -> i32 {
    match SIGNAL.load(Ordering::Relaxed) {
        0 => libc::SIGRTMIN(),
        chosen => chosen,
    }
}

extern "C" fn handler(_: libc::c_int) {
    let immediate_exit = IMMEDIATE_EXIT.with(|address| address.load(Ordering::Relaxed));
    if !immediate_exit.is_null() {
        // SAFETY: the address is of a mapping that `Running` keeps published only while it
        // borrows the vCPU, on this very thread.
        unsafe { immediate_exit.write_volatile(1) };
    }
}

/// Installs the signal's handler, if it is not there yet.
pub(crate) fn install() -> Result<(), ConfigError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    let signal = signal();
    if *installed == Some(signal) {
        return Ok(());
    }
    let failed = || ConfigError::Signal { call: "sigaction", source: io::Error::last_os_error() };
    // SAFETY: all-zero bytes are a valid sigaction: the default action, no flags, empty mask.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `old` is writable for the call's duration.
    if unsafe { libc::sigaction(signal, ptr::null(), &raw mut old) } != 0 {
        return Err(failed());
    }
    // Ignored is how a parent may leave it behind; nobody here has a use for that.
    if old.sa_sigaction != libc::SIG_DFL && old.sa_sigaction != libc::SIG_IGN {
        return Err(ConfigError::SignalTaken { signal });
    }
    // No SA_RESTART: a handler of the host's that waits for input is to be interrupted as well.
    new.sa_sigaction = handler as *const () as usize;
    // SAFETY: `handler` has the signature of a handler and only loads and stores.
    if unsafe { libc::sigaction(signal, &raw const new, ptr::null_mut()) } != 0 {
        return Err(failed());
    }
    *installed = Some(signal);
    Ok(())
}

#[derive(Debug, Default)]
struct Shared {
    requested: AtomicBool,
    /// The thread that is in a run, or 0.
    thread: AtomicI32,
}

/// Stops a VM from any thread, or from a signal handler: the run ends as
/// [`End::Stopped`](crate::End::Stopped), and so does every later run of that VM.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<Shared>);

impl Stopper {
    /// Stops the VM now, or as soon as it is run. Only atomic accesses and one tgkill: it may
    /// be called from a signal handler.
    pub fn stop(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        let thread = self.0.thread.load(Ordering::SeqCst);
        if thread != 0 {
            // SAFETY: the call touches no memory of ours.
            unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, signal()) };
        }
    }
}

/// A VM's side of its stoppers.
#[derive(Debug, Default)]
pub(crate) struct StopState(Arc<Shared>);

impl StopState {
    pub(crate) fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.0))
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// Publishes this thread and `immediate_exit` until the guard is dropped.
    ///
    /// # Safety
    /// `immediate_exit` stays writable while the guard lives.
    pub(crate) unsafe fn running(&self, immediate_exit: *mut u8) -> Running {
        let thread = THREAD.with(|cached| {
            if cached.get() == 0 {
                // SAFETY: the call touches no memory of ours.
                cached.set(unsafe { libc::gettid() });
                unblock(signal());
            }
            cached.get()
        });
        let outer = IMMEDIATE_EXIT.with(|it| it.swap(immediate_exit, Ordering::Relaxed));
        compiler_fence(Ordering::SeqCst);
        self.0.thread.store(thread, Ordering::SeqCst);
        Running { shared: Arc::clone(&self.0), outer, not_send: PhantomData }
    }
}

/// While it lives, a stopper's signal reaches this thread and ends its KVM_RUN.
pub(crate) struct Running {
    shared: Arc<Shared>,
    /// What was published before: a handler of one VM may run another.
    outer: *mut u8,
    not_send: PhantomData<*const ()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.thread.store(0, Ordering::SeqCst);
        compiler_fence(Ordering::SeqCst);
        IMMEDIATE_EXIT.with(|it| it.store(self.outer, Ordering::Relaxed));
    }
}

/// A timer that sends its thread the signal again and again.
#[derive(Debug)]
pub(crate) struct Watchdog {
    timer: libc::timer_t,
}

// SAFETY: a timer's id is a name, good in every thread of the process; the pointer type of it is
// never followed.
unsafe impl Send for Watchdog {}

impl Watchdog {
    /// The first signal comes after `first`, the others `period` apart.
    pub(crate) fn start(first: Duration, period: Duration) -> Result<Self, ConfigError> {
        let failed = |call| ConfigError::Signal { call, source: io::Error::last_os_error() };
        // SAFETY: all-zero bytes are a valid sigevent.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal();
        // SAFETY: the call touches no memory of ours.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = ptr::null_mut();
        // SAFETY: both are valid for the call's duration.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        if made != 0 {
            return Err(failed("timer_create"));
        }
        let watchdog = Self { timer };
        let times = libc::itimerspec {
            it_value: timespec(first.max(Duration::from_nanos(1))),
            it_interval: timespec(period),
        };
        // SAFETY: the timer was just made, and `times` is valid for the call's duration.
        if unsafe { libc::timer_settime(timer, 0, &raw const times, ptr::null_mut()) } != 0 {
            return Err(failed("timer_settime"));
        }
        Ok(watchdog)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is deleted once.
        unsafe { libc::timer_delete(self.timer) };
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
