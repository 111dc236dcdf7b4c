//! Die of a write to your own code: the page of `main` is there, but it is read-only.
//@ title: Write to a page that may only be read
//@ points: 1
//@ expect: exit=139 end=exception
//@ stderr: page fault (#PF): write to a read-only page of .text

#![no_std]
#![no_main]

use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    // `main as *const () as *mut u8` is where this function begins.
}
