//! Waits for the host's calls by hand, and answers with a refusal that there is none of.
//@ host: calc
//@ output: ignored
//@ replay: no
//@ expect: exit=125

#![no_std]
#![no_main]

use calls::calc::{self, Point};
use core::arch::asm;
use guest::Boot;

guest::entry!(main, serves = [calc: Never]);

fn main(_: &Boot) {
    loop {
        // SAFETY: none: that the host bears it is the point. It writes to the mailbox alone.
        unsafe { asm!("out {}, eax", const guest::abi::port::SERVE, in("eax") u32::MAX) };
    }
}

/// For the mailbox: nothing is ever served by it.
#[derive(Default)]
struct Never;

impl calc::Calc for Never {
    fn add(&mut self, _: u64, _: u64) -> u64 {
        0
    }

    fn divide(&mut self, _: i64, _: i64) -> Option<i64> {
        None
    }

    fn accumulate(&mut self, value: u64) -> u64 {
        value
    }

    fn turn(&mut self, point: Point) -> Point {
        point
    }

    fn echo(&mut self, _: &str) -> &str {
        ""
    }

    fn sort(&mut self, _: &mut [u8]) -> u64 {
        0
    }
}
