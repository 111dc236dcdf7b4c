//! A timer that signals its thread, so that ticks need no thread of their own.

use super::signal;
use crate::error::ConfigError;
use std::io;
use std::ptr;
use std::time::Duration;

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
