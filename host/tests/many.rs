//! Many VMs of one process: those that are closed beside others, and what is left of them.

mod common;

use common::kvm;
use portcall::{End, Image, Kvm, Ports, Vm};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// hlt
const HALT: &[u8] = &[0xf4];

/// What is counted belongs to the whole process, so the tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This process's files of KVM's, threads that close VMs, and mappings as large as a guest's memory
/// (proc(5)).
fn held() -> (usize, usize, usize) {
    let entries = |path: &str| std::fs::read_dir(path).expect("procfs").flatten();
    let of_kvm = |link: std::io::Result<std::path::PathBuf>| {
        link.is_ok_and(|it| it.to_string_lossy().contains("kvm"))
    };
    let files = entries("/proc/self/fd").filter(|it| of_kvm(std::fs::read_link(it.path())));
    let name = |it: &std::fs::DirEntry| std::fs::read_to_string(it.path().join("comm"));
    let threads = entries("/proc/self/task")
        .filter(|it| name(it).is_ok_and(|name| name.trim() == "portcall-drop"));
    let maps = std::fs::read_to_string("/proc/self/maps").expect("procfs");
    let guests = maps.lines().filter(|line| {
        let (start, end) = line.split(' ').next().and_then(|it| it.split_once('-')).expect("two");
        let at = |text| u64::from_str_radix(text, 16).expect("hexadecimal");
        at(end) - at(start) == MEMORY
    });
    (files.count(), threads.count(), guests.count())
}

/// That so much is held. Threads are named, and gone from the list, a little later than they start
/// and are joined.
fn assert_held(files: usize, threads: usize, guests: usize) {
    let wanted = (files, threads, guests);
    let start = Instant::now();
    while held().1 != threads && start.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!(held(), wanted);
}

/// As no other mapping is large.
const MEMORY: u64 = 0x123_4000;

fn halt(kvm: &Kvm) -> Vm {
    let image = Image::flat(HALT).expect("an image");
    let mut vm = Vm::builder(kvm, &image).memory(MEMORY).build().expect("builds");
    assert_eq!(vm.run().expect("runs").end, End::Halted);
    vm
}

#[test]
fn nothing_is_started_that_was_not_asked_for() {
    let _turn = turn();
    let kvm = kvm();
    let (files, ..) = held();
    assert_held(files, 0, 0);
    let vm = halt(&kvm);
    assert_held(files + 2, 0, 1);
    drop(vm);
    kvm.drain();
    assert_held(files, 0, 0);
}

#[test]
fn drained_means_that_the_spare_is_all_there_is_and_dropped_that_nothing_is() {
    let _turn = turn();
    let (before, ..) = held();
    let kvm = kvm().for_many(3).expect("a thread");
    // The device, and the spare's VM and vCPU; which has no memory.
    let idle = before + 3;
    assert_held(idle, 1, 0);
    for _ in 0..40 {
        drop(halt(&kvm));
        // Three wait, one is being closed.
        let (files, threads, guests) = held();
        assert!(files <= idle + 2 * 4 && threads == 1 && guests <= 4, "{files}, {guests}");
    }
    kvm.drain();
    assert_held(idle, 1, 0);
    for _ in 0..3 {
        drop(halt(&kvm));
    }
    drop(kvm);
    assert_held(before, 0, 0);
}

#[test]
fn asking_again_replaces_the_thread() {
    let _turn = turn();
    let (before, ..) = held();
    let kvm = kvm().for_many(1).expect("a thread");
    drop(halt(&kvm));
    let kvm = kvm.for_many(2).expect("a thread");
    assert_held(before + 3, 1, 0);
    drop(halt(&kvm));
    drop(kvm);
    assert_held(before, 0, 0);
}

#[test]
fn a_vm_may_outlive_its_kvm() {
    let _turn = turn();
    let (before, ..) = held();
    let kvm = kvm().for_many(2).expect("a thread");
    let mut vm = halt(&kvm);
    drop(halt(&kvm));
    drop(kvm);
    // Only this one is left: its two files, and the device, which it may have to ask something.
    assert_held(before + 3, 0, 1);
    // Behind its HLT is memory that is zero: add [rax], al, up to the end of RAM.
    assert!(vm.step().is_ok());
    drop(vm);
    assert_held(before, 0, 0);
}

#[test]
fn a_panic_beside_vms_that_wait_leaves_nothing_behind() {
    let _turn = turn();
    let (before, ..) = held();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let kvm = kvm().for_many(2).expect("a thread");
        let _alive = halt(&kvm);
        drop(halt(&kvm));
        drop(halt(&kvm));
        panic!("on purpose");
    }));
    result.expect_err("it panicked");
    assert_held(before, 0, 0);
}

/// Says when it is dropped.
struct Tells(Arc<AtomicBool>);

impl Ports for Tells {}

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn handlers_are_dropped_at_once_by_who_drops_the_vm() {
    let _turn = turn();
    let kvm = kvm().for_many(8).expect("a thread");
    let image = Image::flat(HALT).expect("an image");
    for _ in 0..8 {
        let dropped = Arc::new(AtomicBool::new(false));
        let tells = Tells(Arc::clone(&dropped));
        let vm = Vm::builder(&kvm, &image).ports(0x300..=0x300, tells).build().expect("builds");
        drop(vm);
        assert!(dropped.load(Ordering::Relaxed));
    }
}

#[test]
fn nothing_of_a_vm_is_there_in_the_next() {
    let _turn = turn();
    let kvm = kvm().for_many(2).expect("a thread");
    // mov rbx, [0x200000]; mov dword [0x200000], 0x55; mov eax, ebx; hlt
    let marks = [
        &[0x8b, 0x1c, 0x25, 0, 0, 0x20, 0][..],
        &[0xc7, 0x04, 0x25, 0, 0, 0x20, 0, 0x55, 0, 0, 0],
        &[0x89, 0xd8, 0xf4],
    ]
    .concat();
    let image = Image::flat(&marks).expect("an image");
    let mut places = BTreeSet::new();
    for _ in 0..12 {
        let mut vm = Vm::builder(&kvm, &image).build().expect("builds");
        places.insert(vm.memory().host_address(portcall::Gpa(0)));
        let outcome = vm.run().expect("runs");
        assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 0));
    }
    // Some of them lay where one before them had lain.
    assert!(places.len() < 12, "{places:?}");
}
