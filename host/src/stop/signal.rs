//! The one signal that this library uses: which it is, its handler, and the masks of threads.

use crate::error::ConfigError;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

/// The signal, 0 as long as nobody chose one.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// The signal whose handler is installed.
static INSTALLED: Mutex<Option<i32>> = Mutex::new(None);

thread_local! {
    /// `immediate_exit` of the VM that this thread runs, or null.
    static IMMEDIATE_EXIT: AtomicPtr<u8> = const { AtomicPtr::new(ptr::null_mut()) };
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

/// Chooses the signal that ends KVM_RUN; SIGURG if it is never called: one that is ignored by
/// default harms no process that it reaches by mistake, a debugger passes it on without a word, and
/// one that is no real-time signal arrives also where no more can be queued (RLIMIT_SIGPENDING).
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
        0 => libc::SIGURG,
        chosen => chosen,
    }
}

/// Has the handler set this thread's `immediate_exit` from here on; gives the one before.
///
/// # Safety
/// It stays writable until another is published, or is null.
pub(super) unsafe fn publish(immediate_exit: *mut u8) -> *mut u8 {
    IMMEDIATE_EXIT.with(|it| it.swap(immediate_exit, Ordering::Relaxed))
}

/// Sends the signal to a thread of this process. May be called from a signal handler.
pub(super) fn send(thread: u32) {
    // SAFETY: errno is this thread's own.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above. What a signal handler interrupts may be about to look at it.
    let before = unsafe { errno.read() };
    // SAFETY: the call touches no memory but errno.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), thread, signal()) };
    // SAFETY: as above.
    unsafe { errno.write(before) };
}

extern "C" fn handler(_: libc::c_int) {
    let immediate_exit = IMMEDIATE_EXIT.with(|address| address.load(Ordering::Relaxed));
    if !immediate_exit.is_null() {
        // SAFETY: `publish` was promised that the address is writable until it is replaced, which
        // happens on this very thread. The byte is one that the kernel shares; this library itself
        // reads and writes it by volatile accesses alone, never through a reference.
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
