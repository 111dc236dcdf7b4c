//! Giving VMs back: on a thread of its own, for those who make many.
//!
//! KVM waits for grace periods of the kernel's when a VM is closed, which takes longer than all that
//! the VM was there for. Here that waiting is done beside the next VM, and no further than a bound:
//! when so many VMs wait, whoever drops the next one waits as well.

use crate::memory::Memory;
use crate::vcpu::Vcpu;
use kvm_ioctls::VmFd;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// What KVM and the kernel have of a VM.
// The order of the fields is the order of their end: the memory outlives the VM that uses it.
#[derive(Debug)]
#[expect(dead_code, reason = "it is there to be dropped")]
pub(crate) struct Remains {
    pub(crate) vcpu: Vcpu,
    pub(crate) vm: VmFd,
    pub(crate) memory: Memory,
}

/// A way to the thread that gives VMs back, for each VM to have.
#[derive(Debug)]
pub(crate) struct Teardown<T = Remains>(Arc<Queue<T>>);

impl<T> Clone for Teardown<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Teardown<T> {
    /// Gives it back on the thread; on this one, where that has ended.
    pub(crate) fn give(&self, remains: T) {
        // Dropped behind the lock, if nobody takes it.
        let left = self.0.push(remains);
        drop(left);
    }
}

/// The thread, which ends with this value and has given everything back by then.
#[derive(Debug)]
pub(crate) struct Thread<T = Remains> {
    queue: Arc<Queue<T>>,
    handle: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Thread<T> {
    /// Starts it. At least one is let wait.
    pub(crate) fn start(pending: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            most: pending.max(1),
            process: std::process::id(),
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                given: 0,
                done: 0,
                is_over: false,
            }),
            changed: Condvar::new(),
        });
        let its = Arc::clone(&queue);
        let handle = Builder::new().name("portcall-drop".to_owned()).spawn(move || its.work())?;
        Ok(Self { queue, handle: Some(handle) })
    }

    pub(crate) fn teardown(&self) -> Teardown<T> {
        Teardown(Arc::clone(&self.queue))
    }

    /// Waits until all that was given so far is given back, whatever comes meanwhile.
    pub(crate) fn drain(&self) {
        if self.queue.is_of_another_process() {
            return;
        }
        let state = self.queue.lock();
        let given = state.given;
        drop(self.queue.wait_while(state, |it| it.done < given));
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        // A fork has no thread to wait for; what waited is the parent's to give back.
        if self.queue.is_of_another_process() {
            std::mem::forget(self.handle.take());
            return;
        }
        self.queue.lock().is_over = true;
        self.queue.changed.notify_all();
        if let Some(handle) = self.handle.take() {
            // It does not panic.
            let _ = handle.join();
        }
    }
}

#[derive(Debug)]
struct Queue<T> {
    most: usize,
    /// Whose thread it is.
    process: u32,
    state: Mutex<State<T>>,
    /// For the thread and for those that wait for it.
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    /// How many came, and how many the thread has given back.
    given: u64,
    done: u64,
    /// Whether there is to be no more.
    is_over: bool,
}

impl<T> Queue<T> {
    /// Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State<T>>,
        condition: impl FnMut(&mut State<T>) -> bool,
    ) -> MutexGuard<'a, State<T>> {
        self.changed.wait_while(state, condition).unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is a fork of the process that has the thread.
    fn is_of_another_process(&self) -> bool {
        std::process::id() != self.process
    }

    /// Puts one in as soon as there is room; gives it back where the thread takes no more.
    fn push(&self, remains: T) -> Option<T> {
        if self.is_of_another_process() {
            return Some(remains);
        }
        let full = |it: &mut State<T>| it.waiting.len() >= self.most && !it.is_over;
        let mut state = self.wait_while(self.lock(), full);
        if state.is_over {
            return Some(remains);
        }
        state.waiting.push_back(remains);
        state.given += 1;
        drop(state);
        self.changed.notify_all();
        None
    }

    /// The thread: gives back one after the other, up to the last.
    fn work(&self) {
        loop {
            let idle = |it: &mut State<T>| it.waiting.is_empty() && !it.is_over;
            let mut state = self.wait_while(self.lock(), idle);
            let Some(remains) = state.waiting.pop_front() else { return };
            drop(state);
            // There is room for one more while this one goes.
            self.changed.notify_all();
            // A panic here would leave those waiting who drop or drain. The hook has said it.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(remains)));
            self.lock().done += 1;
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Thread;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::Duration;

    /// Long enough for a thread that could go on to do so.
    const MOMENT: Duration = Duration::from_millis(50);

    /// Says its number when its end begins, and waits there to be let go on.
    struct Slow(u32, Sender<u32>, Arc<Mutex<Receiver<()>>>);

    impl Drop for Slow {
        fn drop(&mut self) {
            self.1.send(self.0).expect("heard");
            let go_on = self.2.lock().expect("one at a time");
            go_on.recv().expect("said");
        }
    }

    #[test]
    fn the_order_is_that_of_the_drops_and_a_drop_beyond_the_bound_waits() {
        let (say, said) = channel();
        let (go_on, wait) = channel();
        let wait = Arc::new(Mutex::new(wait));
        let thread = Thread::start(2).expect("starts");
        let teardown = thread.teardown();
        let slow = |i| Slow(i, say.clone(), Arc::clone(&wait));
        teardown.give(slow(0));
        assert_eq!(said.recv(), Ok(0));
        // One is on its way, two wait.
        teardown.give(slow(1));
        teardown.give(slow(2));
        let (fourth, (through, came)) = (slow(3), channel());
        let dropper = thread::spawn(move || {
            teardown.give(fourth);
            through.send(()).expect("heard");
        });
        came.recv_timeout(MOMENT).expect_err("there is no room");
        go_on.send(()).expect("waited for");
        came.recv().expect("there is room now");
        dropper.join().expect("ends");
        for i in 1..4 {
            assert_eq!(said.recv(), Ok(i));
            go_on.send(()).expect("waited for");
        }
        thread.drain();
        assert!(said.try_recv().is_err());
    }

    #[test]
    fn draining_waits_for_the_last_one_and_an_end_for_all() {
        let (say, said) = channel();
        let (go_on, wait) = channel();
        let wait = Arc::new(Mutex::new(wait));
        let slow = |i| Slow(i, say.clone(), Arc::clone(&wait));
        let thread = Arc::new(Thread::start(4).expect("starts"));
        thread.drain();
        thread.teardown().give(slow(0));
        let (drained, is_drained) = channel();
        let its = Arc::clone(&thread);
        let drainer = thread::spawn(move || {
            its.drain();
            drained.send(()).expect("heard");
        });
        is_drained.recv_timeout(MOMENT).expect_err("one is on its way");
        go_on.send(()).expect("waited for");
        is_drained.recv().expect("drained");
        drainer.join().expect("ends");

        let teardown = thread.teardown();
        teardown.give(slow(1));
        teardown.give(slow(2));
        go_on.send(()).expect("waited for");
        go_on.send(()).expect("waited for");
        drop(Arc::into_inner(thread).expect("nobody else has it"));
        assert_eq!(said.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
        // There is no thread any more, so it is this one's.
        go_on.send(()).expect("waited for");
        teardown.give(slow(3));
        assert_eq!(said.try_recv(), Ok(3));
    }

    #[test]
    fn an_end_that_comes_while_a_drop_waits_leaves_that_to_who_drops() {
        let (say, said) = channel();
        let (go_on, wait) = channel();
        let wait = Arc::new(Mutex::new(wait));
        let slow = |i| Slow(i, say.clone(), Arc::clone(&wait));
        let thread = Thread::start(1).expect("starts");
        let teardown = thread.teardown();
        teardown.give(slow(0));
        assert_eq!(said.recv(), Ok(0));
        teardown.give(slow(1));
        let third = slow(2);
        let dropper = thread::spawn(move || teardown.give(third));
        let ender = thread::spawn(move || drop(thread));
        for _ in 0..3 {
            go_on.send(()).expect("waited for");
        }
        dropper.join().expect("ends");
        ender.join().expect("ends");
        let mut rest: Vec<u32> = said.try_iter().collect();
        rest.sort_unstable();
        assert_eq!(rest, [1, 2]);
    }
}
