//! A panic: what was printed before it appears, and the host gets message and place.
//@ expect: exit=101 end=panicked
//@ stderr: panicked: index out of bounds: the len is 3 but the index is 3
//@ stderr: --> guest/examples/panic.rs:19:20
//@ stderr: 19 |     println!("{}", primes[index]);

#![no_std]
#![no_main]

use guest::{Boot, println};

guest::entry!(main);

fn main(boot: &Boot) {
    let primes = [2, 3, 5];
    // More than the compiler can foresee: there are no arguments.
    let index = primes.len() + boot.args().count();
    println!("prime number {index} is ...");
    println!("{}", primes[index]);
}
