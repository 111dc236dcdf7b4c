//! Calls that are generated from an interface's table, made by a guest.

mod common;

use common::calls::{call, image};
use common::kvm;
use portcall::generate::{Generator, Places, Wrong};
use portcall::layout::MIB;
use portcall::{CallEvent, End, Gpa, Image, Observer, Vm};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

abi::hypercalls! {
    /// Some of each.
    trait Several {
        fn numbers(&mut self, a: u8, b: i16, flag: bool) -> i16;
        fn text(&mut self, text: Option<&str>) -> Option<&str>;
        fn bytes(&mut self, from: &[u8], to: &mut [u8]) -> u64;
    }
}

#[derive(Default)]
struct Host(String);

impl Several for Host {
    fn numbers(&mut self, a: u8, b: i16, flag: bool) -> i16 {
        if flag { b } else { a.into() }
    }

    fn text(&mut self, text: Option<&str>) -> Option<&str> {
        text?.clone_into(&mut self.0);
        Some(&self.0)
    }

    fn bytes(&mut self, from: &[u8], to: &mut [u8]) -> u64 {
        let now = from.len().min(to.len());
        to[..now].copy_from_slice(&from[..now]);
        now as u64
    }
}

/// Has the calls put into words, whatever they hold, and counts those that were answered.
struct Watcher(Arc<AtomicU64>);

impl Observer for Watcher {
    fn wants_calls(&self) -> bool {
        true
    }

    fn call(&mut self, event: &CallEvent<'_>) {
        assert!(event.call.starts_with("Several::"), "{}", event.call);
        // No more of a buffer is shown than a person reads.
        assert!(event.call.len() < 400 && event.result.len() < 200, "{event:?}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A VM of such a host, and how many calls it has answered.
fn built() -> (Vm, Arc<AtomicU64>) {
    let (file, kvm, answered) = (image(&[]), kvm(), Arc::default());
    let image = Image::parse(&file).expect("an image");
    let builder = Vm::builder(&kvm, &image).memory(4 * MIB).serve(Server(Host::default()));
    let vm = builder.observe(Watcher(Arc::clone(&answered))).build().expect("builds");
    (vm, answered)
}

/// SplitMix64.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn right_calls_are_answered_one_after_the_other() {
    let (mut vm, answered) = built();
    // Behind the guest's table, which is in the third MiB.
    let places = Places::new(vm.layout(), 3 * MIB..3 * MIB + 0x1_0000);
    let mut numbers = numbers(1);
    let mut generator = Generator::new(&places, &mut numbers);
    for _ in 0..1000 {
        let made = generator.call(&INTERFACE);
        for (address, bytes) in &made.memory {
            vm.memory().write(Gpa(*address), bytes).expect("RAM");
        }
        let outcome = call(&mut vm, made.number, &made.words);
        assert_eq!(outcome.end, End::Halted, "{made:x?}");
    }
    assert_eq!((vm.stats().exits(), answered.load(Ordering::Relaxed)), (2000, 1000));
}

#[test]
fn wrong_calls_end_the_run_as_refused() {
    let (mut numbers, mut kinds) = (numbers(2), 0);
    let layout = built().0.layout().clone();
    let places = Places::new(&layout, 3 * MIB..3 * MIB + 0x1_0000);
    let mut generator = Generator::new(&places, &mut numbers);
    for _ in 0..200 {
        let made = generator.wrong_call(&INTERFACE);
        // This guest writes 4 bytes whatever it is told, and a result may need no space.
        if matches!(made.wrong, Some(Wrong::Width | Wrong::Space(_))) {
            continue;
        }
        let (mut vm, answered) = built();
        for (address, bytes) in &made.memory {
            vm.memory().write(Gpa(*address), bytes).expect("RAM");
        }
        let outcome = call(&mut vm, made.number, &made.words);
        let refused = matches!(outcome.end, End::CallRefused { .. });
        assert!(refused, "{}: {made:x?}", outcome.end);
        assert_eq!(answered.load(Ordering::Relaxed), 0);
        kinds += 1;
    }
    assert!(kinds > 100, "{kinds}");
}
