//! Functions for the fuzzer that end in every way, and one that nothing is wrong with.

#![no_std]
#![no_main]
#![expect(clippy::panic, reason = "that is the point")]

use core::arch::asm;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicU32, Ordering};
use guest::{Exit, println};

guest::tests!();

/// How often something was called in this VM, as far as it knows.
static CALLED: AtomicU32 = AtomicU32::new(0);

/// Does nothing: what an execution costs.
#[guest::fuzz]
fn nothing(data: &[u8]) {
    black_box(data);
}

/// Fails if it saw anything of the execution before, and leaves its memory in ruins.
#[guest::fuzz]
fn corrupts(data: &[u8]) {
    assert_eq!(CALLED.fetch_add(1, Ordering::Relaxed), 0);
    let from = (&raw const CALLED).addr() & !0xfff;
    for place in (from..from + 0x1000).step_by(4) {
        // SAFETY: none: this is the page of the program's own variables, as long as it is one.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(place).write_volatile(0xdead_beef) };
    }
    let mailbox = data.as_ptr().cast_mut().wrapping_sub(128);
    // SAFETY: none: it is where the call came from.
    unsafe { mailbox.write_bytes(0xff, 128) };
}

#[guest::fuzz]
fn always_panics(_: &[u8]) {
    panic!("whatever it is given");
}

#[guest::fuzz(timeout = "100ms")]
fn never_returns(_: &[u8]) {
    loop {
        spin_loop();
    }
}

#[guest::fuzz]
fn prints_for_ever(_: &[u8]) {
    loop {
        println!("on and on");
    }
}

/// Ends in another way for each first byte that it knows.
#[guest::fuzz(timeout = "500ms")]
fn ends(data: &[u8]) {
    match data {
        [b'a', ..] => panic!("the first place"),
        [b'b', b'b', ..] => panic!("the second place"),
        [b'c', ..] => guest::exit(Exit::code(7)),
        [b'd', ..] => undefined(),
        [b'e', ..] => fall(1),
        [b'f', ..] => loop {
            spin_loop();
        },
        [b'g', ..] => {
            // SAFETY: none: nothing is mapped there, which is the point.
            unsafe { core::ptr::without_provenance_mut::<u8>(0x10).write_volatile(1) };
        }
        _ => {}
    }
}

fn undefined() {
    // SAFETY: none: the instruction is no instruction.
    unsafe { asm!("ud2") };
}

/// Calls itself until there is no stack left.
#[expect(unconditional_recursion, reason = "that is the point")]
fn fall(depth: u64) {
    black_box([depth; 16]);
    fall(black_box(depth) + 1);
    black_box(depth);
}
