//! Exits with a code whose low byte is 0.
//@ expect: exit=120 end=exited
//@ stderr: exited with code 256

#![no_std]
#![no_main]

use guest::{Boot, Exit};

guest::entry!(main);

fn main(_: &Boot) -> Exit {
    Exit::code(256)
}
