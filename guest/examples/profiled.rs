//! A guest whose time is known beforehand: the same loop, so many twelfths of it in each function.
//! `cargo xtask run profiled --emit profile=profiled.svg` finds them again.
//@ expect: exit=0
//@ timeout: 20s

#![no_std]
#![no_main]

use core::hint::black_box;
use guest::{Boot, println};

guest::entry!(main);

/// Rounds of all functions, so that a machine that slows down does so for all.
const ROUNDS: u32 = 20;

/// Turns of the loop in a twelfth of a round, where KVM emulates ring 0 or a processor runs it.
const EMULATED: u64 = 1_000;
const NATIVE: u64 = 4_000_000;

fn main(_: &Boot) {
    let unit = if in_ring_3() { NATIVE } else { EMULATED };
    for _ in 0..ROUNDS {
        six(unit);
        three(unit);
        one(unit);
        recursive(8, unit);
        around(unit);
    }
    println!("6/12 six, 3/12 three, 1/12 one, 1/12 recursive, 1/12 inlined");
}

#[inline(never)]
fn six(unit: u64) {
    spin(6 * unit);
}

#[inline(never)]
fn three(unit: u64) {
    spin(3 * unit);
}

#[inline(never)]
fn one(unit: u64) {
    spin(unit);
}

/// Spins at the bottom.
#[inline(never)]
fn recursive(depth: u32, unit: u64) {
    match depth.checked_sub(1) {
        Some(less) => recursive(less, unit),
        None => spin(unit),
    }
    // No jump in place of the call.
    black_box(depth);
}

#[inline(never)]
fn around(unit: u64) {
    inlined(unit);
    black_box(unit);
}

#[inline(always)]
fn inlined(unit: u64) {
    spin(unit);
}

/// Two instructions, again and again.
#[inline(always)]
fn spin(turns: u64) {
    #[cfg(target_os = "none")]
    // SAFETY: counts a register of its own down.
    unsafe {
        core::arch::asm!("2: dec {0}", "jnz 2b", inout(reg) turns => _, options(nomem, nostack));
    }
    #[cfg(not(target_os = "none"))]
    black_box(turns);
}

/// Whether a processor runs it natively, as ring 3 is on every KVM.
fn in_ring_3() -> bool {
    #[cfg(target_os = "none")]
    {
        let selector: u16;
        // SAFETY: reads the code segment's selector.
        unsafe { core::arch::asm!("mov {0:x}, cs", out(reg) selector, options(nomem, nostack)) };
        selector & 3 == 3
    }
    #[cfg(not(target_os = "none"))]
    false
}
