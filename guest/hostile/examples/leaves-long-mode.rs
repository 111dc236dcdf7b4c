//! Leaves 64-bit mode: by a table of its own into a 32-bit segment, and from there paging and long
//! mode off. Panics there, with addresses that the host looks up all the same.
//@ ring: 0
//@ stderr: the guest has left 64-bit mode for 32-bit code without paging
//@ expect: exit=101 end=panicked

#![no_std]
#![no_main]

use guest::{Boot, println};
use hostile::modes::flat_segments;
use hostile::out_of_long_mode;

guest::entry!(main);

out_of_long_mode!(
    leave:
    "mov edi, 0x100000" "mov esi, 16" "mov edx, 0xffffff00" "mov ecx, 0x1000" "out 0xf5, al"
    "3: jmp 3b"
);

fn main(_: &Boot) {
    println!("before");
    leave(&flat_segments());
}
