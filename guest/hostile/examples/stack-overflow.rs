//! Recurses until the stack is used up.
//@ expect: exit=139 end=exception
//@ stderr: stack overflow: write
//@ stderr: below the stack, in stack_overflow::recurse
//@ stderr: ... the same

#![no_std]
#![no_main]

use core::hint::black_box;
use guest::{Boot, println};

guest::entry!(main);

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: &[u64; 64]) -> u64 {
    let deeper = black_box([depth[0] + 1; 64]);
    recurse(&deeper) + deeper[1]
}

fn main(_: &Boot) {
    println!("before");
    println!("{}", recurse(&[0; 64]));
}
