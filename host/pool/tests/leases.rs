//! Who has which VM, how many there are, and what they are counted as.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "common/keeper.rs"]
mod keeper;
#[path = "common/lent.rs"]
mod lent;

use common::kvm;
use keeper::Client;
use lent::{pool, pool_with, swap, waiting};
use pool::{Error, Lost, Pool, Size, Wait};
use portcall::kvm_bindings::kvm_userspace_memory_region;
use portcall::{CallError, End, Gpa, Limit, Ring, Vm};
use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn no_vm_is_in_two_hands_and_the_bound_holds() {
    const MOST: usize = 3;
    const THREADS: u64 = 8;
    let pool = pool(1, MOST);
    let (out, most_out) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let in_use = Mutex::new(BTreeSet::new());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (pool, out, most_out, in_use) = (&pool, &out, &most_out, &in_use);
            scope.spawn(move || {
                for round in 0..40 {
                    let mut vm = pool.take(Wait::AtMost(LONG)).expect("one comes back");
                    let now = out.fetch_add(1, Ordering::SeqCst) + 1;
                    most_out.fetch_max(now, Ordering::SeqCst);
                    let id = vm.vcpu_fd().as_raw_fd();
                    assert!(in_use.lock().expect("whole").insert(id), "in two hands");
                    let mark = 1 + thread * 1000 + round;
                    assert_eq!(swap(&mut vm, mark), 0, "the last one's mark");
                    thread::yield_now();
                    assert_eq!(swap(&mut vm, 0), mark, "another's mark");
                    swap(&mut vm, mark);
                    assert!(in_use.lock().expect("whole").remove(&id));
                    out.fetch_sub(1, Ordering::SeqCst);
                    // Now and then one does not come back.
                    if round % 10 == 9 {
                        vm.give_up();
                    }
                }
            });
        }
    });
    let counts = pool.counts();
    assert!(most_out.load(Ordering::SeqCst) <= MOST);
    assert_eq!((counts.handed_out, counts.dropped, counts.refused), (THREADS * 40, THREADS * 4, 0));
    assert_eq!((counts.reset, counts.rebuilt), (counts.handed_out - counts.dropped, 0));
    assert!(counts.made >= counts.dropped && counts.made <= counts.dropped + MOST as u64);
    assert_eq!(counts.made - counts.dropped, pool.ready() as u64);
    assert!(counts.waited > 0, "{counts:?}");
}

#[test]
fn one_who_finds_none_fails_waits_or_gets_one() {
    let pool = pool(1, 1);
    let lease = pool.take(Wait::Never).expect("it is ready");
    let Err(Error::Exhausted { most: 1 }) = pool.take(Wait::Never) else { panic!("there is one") };
    let short = Duration::from_millis(30);
    let start = Instant::now();
    let Err(error) = pool.take(Wait::AtMost(short)) else { panic!("there is one") };
    assert!(matches!(error, Error::TimedOut { most: 1, waited } if waited >= short), "{error}");
    assert!(start.elapsed() >= short && error.to_string().contains("Size::most"), "{error}");
    thread::scope(|scope| {
        for wait in [Wait::Forever, Wait::AtMost(LONG)] {
            let pool = &pool;
            scope.spawn(move || {
                let mut vm = pool.take(wait).expect("it comes back");
                assert_eq!(swap(&mut vm, 1), 0);
            });
        }
        while pool.counts().waited < 3 {
            thread::yield_now();
        }
        drop(lease);
    });
    let counts = pool.counts();
    assert_eq!((counts.made, counts.handed_out, counts.waited, counts.refused), (1, 3, 3, 2));
}

#[test]
fn those_who_wait_are_served_in_their_order() {
    let pool = pool(1, 1);
    let lease = pool.take(Wait::Never).expect("it is ready");
    let order = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for index in 0..5 {
            let (pool, order) = (&pool, &order);
            scope.spawn(move || {
                // The third gives up before its turn.
                let wait = if index == 2 { Duration::from_millis(1) } else { LONG };
                if let Ok(_lease) = pool.take(Wait::AtMost(wait)) {
                    order.lock().expect("whole").push(index);
                }
            });
            let came = |counts: pool::Counts| counts.waited == index + 1;
            while !came(pool.counts()) {
                thread::yield_now();
            }
        }
        while pool.counts().refused == 0 {
            thread::yield_now();
        }
        drop(lease);
    });
    assert_eq!(*order.lock().expect("whole"), [0, 1, 3, 4]);
}

/// Has the guest end so; what is left is what the next caller has.
type Way = fn(&mut Vm) -> Result<(), CallError>;

#[test]
fn whatever_a_guest_came_to_the_next_caller_has_a_fresh_one() {
    let ways: [(&str, Way); 5] = [
        ("exception", |vm| Client(vm.door()).fault()),
        ("halted", |vm| Client(vm.door()).halt()),
        ("exited", |vm| Client(vm.door()).exit(3)),
        ("limit-reached", |vm| Client(vm.door().within(Duration::from_millis(20))).spin()),
        ("limit-reached", |vm| Client(vm.door()).spin()),
    ];
    for ring in [Ring::Zero, Ring::Three] {
        let limit = Limit::Time(Duration::from_millis(500));
        let pool = pool_with(ring, Size { ready: 1, most: 1 }, move |vm| vm.limit(limit));
        for (name, way) in ways {
            for _ in 0..2 {
                let mut vm = pool.take(Wait::Never).expect("it is ready");
                assert_eq!(swap(&mut vm, 7), 0, "behind {name} in {ring:?}");
                match way(&mut vm) {
                    Err(CallError::Ended(end)) => assert_eq!(end.name(), name),
                    other => panic!("{other:?}"),
                }
            }
        }
        let counts = pool.counts();
        assert_eq!((counts.made, counts.dropped, counts.reset), (1, 0, 10), "in {ring:?}");
    }
}

#[test]
fn a_guest_whose_page_tables_are_gone_is_mended() {
    let pool = pool(1, 1);
    for _ in 0..3 {
        let mut vm = pool.take(Wait::Never).expect("it is ready");
        assert_eq!(swap(&mut vm, 7), 0);
        let tables = vm.layout().tables.clone();
        for page in tables.step_by(4096) {
            vm.memory().write(Gpa(page), &[0; 4096]).expect("RAM");
        }
        let ended = Client(vm.door()).swap(1);
        assert!(matches!(ended, Err(CallError::Ended(_))), "{ended:?}");
    }
    let counts = pool.counts();
    assert_eq!((counts.made, counts.reset, counts.rebuilt), (1, 3, 3));
}

#[test]
fn a_vm_that_was_stopped_is_replaced() {
    let pool = pool(1, 2);
    let mut vm = pool.take(Wait::Never).expect("it is ready");
    let stopper = vm.stopper();
    thread::scope(|scope| {
        scope.spawn(|| stopper.stop());
        let ended = Client(vm.door()).spin();
        assert!(matches!(ended, Err(CallError::Ended(End::Stopped))), "{ended:?}");
    });
    let lost = vm.give_back().expect_err("it is of no more use");
    assert!(matches!(lost, Lost::Stopped) && lost.to_string().contains("Limit::Time"), "{lost}");
    assert_eq!((pool.ready(), pool.counts().dropped), (0, 1));
    // Before someone needs it, or when.
    assert_eq!(pool.fill().expect("made"), 1);
    assert_eq!(pool.fill().expect("enough"), 0);
    let mut first = pool.take(Wait::Never).expect("it is ready");
    let mut second = pool.take(Wait::Never).expect("there is room");
    assert_eq!((swap(&mut first, 1), swap(&mut second, 2)), (0, 0));
    assert_eq!(pool.counts().made, 3);
}

#[test]
fn a_vm_that_kvm_does_not_let_reset_is_replaced() {
    let pool = pool(1, 1);
    let mut vm = pool.take(Wait::Never).expect("it is ready");
    assert_eq!(swap(&mut vm, 1), 0);
    let gone = kvm_userspace_memory_region::default();
    // SAFETY: no vCPU is made of it.
    let fd = unsafe { vm.vm_fd() };
    // SAFETY: slot 0 is taken away, and no memory is given in its place.
    unsafe { fd.set_user_memory_region(gone) }.expect("taken away");
    let lost = vm.give_back().expect_err("it has no memory any more");
    assert!(matches!(lost, Lost::Reset(_)), "{lost}");
    assert_eq!(swap(&mut pool.take(Wait::Never).expect("there is room"), 1), 0);
    assert_eq!((pool.counts().dropped, pool.counts().made), (1, 2));
}

#[test]
fn a_stopper_of_the_last_caller_does_not_reach_the_next() {
    let pool = pool(1, 1);
    let stopper = pool.take(Wait::Never).expect("it is ready").stopper();
    let mut vm = pool.take(Wait::Never).expect("it is ready");
    stopper.stop();
    assert_eq!(swap(&mut vm, 1), 0);
    assert!(!vm.is_stopped());
    // Its own does.
    vm.stopper().stop();
    assert!(vm.is_stopped());
    let ended = Client(vm.door()).swap(1);
    assert!(matches!(ended, Err(CallError::Ended(End::Stopped))), "{ended:?}");
    drop(vm);
    assert_eq!(pool.counts().dropped, 1);
}

#[test]
fn a_caller_who_panics_loses_the_vm_and_no_more() {
    let pool = Arc::new(pool(1, 1));
    for times in 1..=3 {
        let its = Arc::clone(&pool);
        let thread = thread::spawn(move || {
            let mut vm = its.take(Wait::Never).expect("it is ready");
            swap(&mut vm, 7);
            panic!("on purpose");
        });
        thread.join().expect_err("it panicked");
        let mut vm = pool.take(Wait::Never).expect("there is room again");
        assert_eq!(swap(&mut vm, 7), 0);
        assert_eq!(pool.counts().dropped, times);
    }
}

#[test]
fn a_vm_that_cannot_be_made_leaves_its_place() {
    let fails = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&fails);
    let pool = pool_with(Ring::Zero, Size { ready: 0, most: 1 }, move |vm| {
        match asked.load(Ordering::SeqCst) {
            0 => vm.memory(1 << 20),
            1 => panic!("on purpose"),
            _ => vm,
        }
    });
    let Err(error) = pool.take(Wait::Never) else { panic!("it cannot be made") };
    assert!(matches!(error, Error::Make(_)), "{error}");
    assert!(error.to_string().contains("the memory of a VM that is made of a snapshot"), "{error}");
    fails.store(1, Ordering::SeqCst);
    catch_unwind(AssertUnwindSafe(|| pool.take(Wait::Never))).expect_err("it panicked");
    fails.store(2, Ordering::SeqCst);
    let mut vm = pool.take(Wait::Never).expect("there is room");
    assert_eq!(swap(&mut vm, 1), 0);
    assert_eq!((pool.counts().made, pool.counts().handed_out), (1, 1));
}

#[test]
fn a_vm_of_the_callers_own_does_not_become_the_pools() {
    let pool = pool(2, 2);
    let mut lease = pool.take(Wait::Never).expect("it is ready");
    *lease = Vm::from_snapshot(&kvm(), &waiting(Ring::Zero)).build().expect("builds");
    let lost = lease.give_back().expect_err("not the pool's");
    assert!(matches!(lost, Lost::Replaced), "{lost}");
    // Nor do two change places unseen.
    let (mut a, mut b) = {
        let take = || pool.take(Wait::Never).expect("there is room");
        (take(), take())
    };
    std::mem::swap(&mut *a, &mut *b);
    drop((a, b));
    assert_eq!((pool.counts().dropped, pool.ready()), (3, 0));
    assert_eq!(swap(&mut pool.take(Wait::Never).expect("there is room"), 1), 0);
}

#[test]
fn leases_outlive_their_pool() {
    let pool = pool(3, 3);
    let mut leases: Vec<_> = (0..2).map(|_| pool.take(Wait::Never).expect("ready")).collect();
    drop(pool);
    for (lease, mark) in leases.iter_mut().zip(1..) {
        assert_eq!((swap(lease, mark), swap(lease, 0)), (0, mark));
    }
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(leases.pop().is_some()).expect("heard"));
    assert!(receiver.recv_timeout(LONG).expect("dropped in another thread"));
}

#[test]
fn a_size_that_contradicts_itself_is_refused() {
    for size in [Size { ready: 0, most: 0 }, Size { ready: 2, most: 1 }] {
        let error = Pool::new(kvm(), waiting(Ring::Zero), size, |vm| vm).expect_err("no size");
        assert!(error.to_string().contains("`most` is at least 1"), "{error}");
    }
}
