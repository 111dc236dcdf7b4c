//! A thread beside the one that runs the VM. It is started before the jail is entered, which starts
//! none, and does nothing until it is let go.

use crate::affinity;
use crate::report::Absent;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// The thread; it ends with this.
#[derive(Default)]
pub(super) struct Helper {
    thread: Option<JoinHandle<()>>,
    end: Arc<AtomicBool>,
}

impl Helper {
    /// Starts it, on other processors than the one that this thread is pinned to. It is parked first,
    /// and then does `work`, which ends when it sees the flag.
    pub(super) fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<Self, Absent> {
        let end = Arc::new(AtomicBool::new(false));
        let (ready, waiting) = std::sync::mpsc::channel();
        let seen = Arc::clone(&end);
        let body = move || {
            // Who waits for it hears of it.
            let _ = ready.send(affinity::leave());
            thread::park();
            work(&seen);
        };
        let thread = thread::Builder::new().spawn(body).map_err(Absent::of_error)?;
        let placed = waiting.recv().map_err(Absent::of_error)?;
        placed.map_err(Absent::failed)?;
        Ok(Self { thread: Some(thread), end })
    }

    /// Lets it go on from where it is parked.
    pub(super) fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
