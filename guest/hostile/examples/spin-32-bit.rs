//! Leaves 64-bit mode, and spins in 32 bits without paging.
//@ ring: 0
//@ timeout: 300ms
//@ stderr: the guest has left 64-bit mode for 32-bit code without paging
//@ stderr: : inc eax
//@ expect: exit=124 end=limit-reached

#![no_std]
#![no_main]

use guest::{Boot, println};
use hostile::modes::flat_segments;
use hostile::out_of_long_mode;

guest::entry!(main);

out_of_long_mode!(
    leave:
    "3: .fill 4096, 1, 0x40" // inc eax; in 64-bit mode a prefix
    "jmp 3b"
);

fn main(_: &Boot) {
    println!("before");
    leave(&flat_segments());
}
