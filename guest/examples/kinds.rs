//! A call of every kind of value, and of every number of words, to the host and then from it.
//@ expect: end=serving

#![no_std]
#![no_main]

use calls::kinds::{self, Echo};
use guest::abi::calls::Refusal;
use guest::{Boot, println};

guest::entry!(main, calls = [kinds], serves = [kinds: Echo]);

fn main(_: &Boot) {
    let mut space = [0; 64];
    let mut client = kinds::Client(guest::OutWithSpace(&mut space));
    calls::ask!(client);
    // More than there is space for.
    let long = "a text that has more than sixty-four bytes, which is all that there is here";
    assert_eq!(client.refusable(long), Err(Refusal::TooLarge));
    println!("the host answers right");
}
