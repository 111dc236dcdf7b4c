//! Panics in a function that the host calls.
//@ host: calc
//@ expect: exit=101 end=panicked
//@ stderr: too hard

#![no_std]
#![no_main]

use calls::calc::{self, Point};
use guest::Boot;

guest::entry!(main, serves = [calc: Broken]);

fn main(_: &Boot) {}

#[derive(Default)]
struct Broken;

#[expect(clippy::panic, reason = "it is what is tried")]
impl calc::Calc for Broken {
    fn add(&mut self, _: u64, _: u64) -> u64 {
        panic!("too hard")
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
