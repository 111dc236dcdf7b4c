//! Waits for the host's calls by hand, and answers with a refusal that there is none of.
//@ host: calc
//@ output: ignored
//@ replay: no
//@ expect: exit=125

#![no_std]
#![no_main]

use calls::calc;
use core::arch::asm;
use guest::Boot;
use hostile::Never;

guest::entry!(main, serves = [calc: Never]);

fn main(_: &Boot) {
    loop {
        // SAFETY: none: that the host bears it is the point. It writes to the mailbox alone.
        unsafe { asm!("out {}, eax", const guest::abi::port::SERVE, in("eax") u32::MAX) };
    }
}
