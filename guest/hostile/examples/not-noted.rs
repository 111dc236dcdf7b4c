//! Means something else by a call than the host does, and does not say which interfaces it calls:
//! the host would write where a reference stands, and does not.
//@ expect: exit=123 end=call-refused
//@ stderr: error: call refused: Host::random: the image does not say that it calls this interface
//@ stderr: guest/hostile/examples/not-noted.rs

#![no_std]
#![no_main]

use guest::{Boot, println};

/// An interface with the stock one's name.
mod host {
    guest::abi::hypercalls! {
        /// The same number, other words.
        pub trait Host {
            /// Nothing.
            fn zero(&mut self);
            /// Nothing.
            fn one(&mut self);
            /// Nothing.
            fn two(&mut self);
            /// Nothing.
            fn three(&mut self);
            /// Nothing.
            fn four(&mut self);
            /// Nothing.
            fn five(&mut self);
            /// To the host, a buffer that it fills.
            fn random(&mut self, address: u64, size: u64);
        }
    }
}

guest::entry!(main);

fn main(_: &Boot) {
    let value = &42_u64;
    println!("before {value}");
    host::Client(guest::Out).random(core::ptr::from_ref(value) as u64, 8);
    println!("after {value}");
}
