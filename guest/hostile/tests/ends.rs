//! Tests that end in every way there is, most of them badly: `ends.out` is what comes of them.

#![no_std]
#![no_main]
#![expect(clippy::panic, reason = "that is the point")]

#[macro_use]
extern crate guest;

use core::arch::asm;
use core::fmt;
use guest::Exit;

guest::tests!();

mod good {
    use core::sync::atomic::{AtomicU32, Ordering};

    static SEEN: AtomicU32 = AtomicU32::new(0);

    #[test]
    fn first() {
        assert_eq!(SEEN.swap(1, Ordering::Relaxed), 0);
        println!("nobody reads this");
    }

    #[test]
    fn second() -> Result<(), ()> {
        assert_eq!(SEEN.swap(1, Ordering::Relaxed), 0);
        Ok(())
    }

    #[test]
    fn r#try() {}
}

mod ignored {
    #[test]
    #[ignore]
    fn bare() {}

    #[ignore = "it needs another machine"]
    #[test]
    fn with_a_reason() {}
}

mod panics {
    #[test]
    #[should_panic]
    fn as_it_should() {
        panic!("any");
    }

    #[test]
    #[should_panic(expected = "full")]
    fn with_the_text() {
        panic!("the queue is full of {}", "it");
    }

    #[test]
    #[should_panic(expected = "empty")]
    fn with_another_text() {
        panic!("the queue is full");
    }

    #[test]
    #[should_panic = "full"]
    fn in_another_way() {
        // SAFETY: none: that the host catches it is the point.
        unsafe { core::arch::asm!("ud2") };
    }

    #[test]
    #[should_panic]
    fn not_at_all() {}
}

/// The host has two of the same name, as libtest would: both run.
mod twice {
    const _: () = {
        #[test]
        fn same() {}
    };
    const _: () = {
        #[test]
        fn same() {}
    };
}

#[test]
fn fails() {
    println!("what it printed");
    let (left, right) = (1, 2);
    assert_eq!(left, right, "they differ");
}

#[test]
fn gives_an_error() -> Result<(), &'static str> {
    Err("no such thing")
}

#[test]
fn ends_by_exit_0() {
    guest::exit(Exit::SUCCESS);
}

#[test]
fn ends_by_exit_7() {
    guest::exit(Exit::code(7));
}

#[test]
fn reads_null() {
    // SAFETY: none: that the host catches it is the point.
    let value = unsafe { core::ptr::dangling::<u8>().read_volatile() };
    assert_eq!(value, 0);
}

#[test]
fn triple_faults() {
    let empty = [0_u8; 10];
    // SAFETY: none: that the host catches it is the point.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &empty) };
}

#[guest::test(timeout = "300ms")]
fn never_returns() {
    loop {
        core::hint::spin_loop();
    }
}

#[guest::test(timeout = "300ms")]
fn prints_on_and_on() {
    loop {
        println!("on and on and on and on and on and on and on and on and on and on");
    }
}

struct Rude;

impl fmt::Display for Rude {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no")
    }
}

#[test]
fn panics_in_a_panic() {
    panic!("{Rude}");
}

/// The runtime's own data is beside it.
static WRITTEN: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0);

#[test]
fn writes_all_over() {
    let place = (&raw const WRITTEN).cast_mut().cast::<u8>();
    for offset in (0..1 << 26).step_by(1021) {
        // SAFETY: none: that the others do not see it is the point.
        unsafe { place.wrapping_add(offset).write_volatile(0xcc) };
    }
}
