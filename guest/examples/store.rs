//! A key-value store on the host: text and bytes both ways.
//@ expect: exit=0

#![no_std]
#![no_main]

use calls::store;
use guest::{Boot, println};

guest::entry!(main, calls = [store]);

fn main(_: &Boot) {
    let mut space = [0; 64];
    let mut store = store::Client(guest::OutWithSpace(&mut space));
    println!("{} keys", store.put("a", b"xyz"));
    println!("{} keys", store.put("b", b""));
    println!("a is {:?}", store.get("a"));
    println!("b is {:?}", store.get("b"));
    println!("c is {:?}", store.get("c"));
    let mut two = [0; 2];
    println!("a has {:?} bytes, the first two are {two:?}", store.read("a", &mut two));
    println!("{} {}", store.remove("a"), store.remove("a"));
}
