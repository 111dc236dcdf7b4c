//! A calculator that the host calls, any number of times: its state stays between the calls.
//@ expect: end=serving

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use calls::calc::{self, Point};
use guest::{Boot, println};

guest::entry!(main, serves = [calc: Calculator]);

fn main(_: &Boot) {
    println!("ready");
}

#[derive(Default)]
struct Calculator {
    memory: u64,
    text: String,
}

impl calc::Calc for Calculator {
    fn add(&mut self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    fn divide(&mut self, a: i64, b: i64) -> Option<i64> {
        a.checked_div(b)
    }

    fn accumulate(&mut self, value: u64) -> u64 {
        self.memory = self.memory.wrapping_add(value);
        self.memory
    }

    fn turn(&mut self, point: Point) -> Point {
        Point { x: -point.y, y: point.x }
    }

    fn echo(&mut self, text: &str) -> &str {
        self.text.clear();
        self.text.push_str(text);
        &self.text
    }

    fn sort(&mut self, bytes: &mut [u8]) -> u64 {
        bytes.sort_unstable();
        bytes.iter().filter(|byte| Some(*byte) == bytes.first()).count() as u64
    }
}
