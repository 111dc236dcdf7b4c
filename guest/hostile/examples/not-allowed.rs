//! Asks for what it was not given: the end names the call and who made it.
//@ expect: exit=123 end=call-refused
//@ stderr: error: call refused: HostAddress::host_address: this VM was not given the interface
//@ stderr: guest/hostile/examples/not-allowed.rs:16

#![no_std]
#![no_main]

use guest::abi::host_address;
use guest::{Boot, println};

guest::entry!(main, calls = [host_address]);

fn main(_: &Boot) {
    println!("before");
    println!("{:?}", host_address::Client(guest::Out).host_address(0));
}
