//! A guest of whose lines it is known which are reached: each says so itself. It is compared with
//! what `cargo xtask run covered --emit coverage=covered.html` finds.
//@ expect: exit=0

#![no_std]
#![no_main]

use core::hint::black_box;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) {
    let found = even(black_box(6)) + odd(black_box(6)) + inlined(black_box(1)); // reached
    println!("{found}"); // reached
    if black_box(found) == 0 {
        never_called(); // not reached
    }
}

#[inline(never)]
fn even(number: u32) -> u32 {
    match number % 2 {
        0 => black_box(10), // reached
        _ => black_box(20), // not reached
    }
}

#[inline(never)]
fn odd(number: u32) -> u32 {
    let mut sum = 0;
    for i in 0..number {
        if black_box(i) == 99 {
            sum += black_box(1000); // not reached
        }
        sum += black_box(i); // reached
    }
    sum
}

#[inline(always)]
fn inlined(number: u32) -> u32 {
    if number == 0 {
        return black_box(7); // not reached
    }
    black_box(number) + 1 // reached
}

#[inline(never)]
fn never_called() {
    println!("never"); // not reached
}
