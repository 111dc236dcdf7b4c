//! Calls an interface that its host was not given.
//@ expect: exit=123 end=call-refused
//@ stderr: Store::put

#![no_std]
#![no_main]

use calls::store;
use guest::{Boot, println};

guest::entry!(main, calls = [store]);

fn main(_: &Boot) {
    println!("before");
    store::Client(guest::Out).put("key", b"value");
    println!("after");
}
