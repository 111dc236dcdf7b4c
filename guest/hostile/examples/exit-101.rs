//! Exits with a code that says something else to a shell.
//@ expect: exit=120 end=exited
//@ stderr: exited with code 101

#![no_std]
#![no_main]

use guest::{Boot, Exit};

guest::entry!(main);

fn main(_: &Boot) -> Exit {
    Exit::code(101)
}
