//! A set-up that is worth keeping: a table of primes, and then the call by which the guest says that
//! it is there. `portcall run --emit snapshot=FILE` keeps this moment, and `portcall run FILE` goes
//! on from it, with another seed each time.
//@ expect: exit=0

#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use guest::abi::host;
use guest::{Boot, println};

guest::entry!(main, calls = [host]);

/// The numbers below this are sieved, unless the guest's argument says another.
const LIMIT: usize = 10_000;

fn main(boot: &Boot) {
    let limit = boot.args().next().and_then(|limit| limit.parse().ok()).unwrap_or(LIMIT).max(3);
    println!("sieving the numbers below {limit}");
    let primes = primes(limit);
    let mut seed = [0; 8];
    guest::ready(&mut seed);
    println!("{} primes, the last is {}", primes.len(), primes[primes.len() - 1]);
    let chosen = primes[usize::from_le_bytes(seed) % primes.len()];
    let divisors =
        (2..chosen).take_while(|it| it * it <= chosen).filter(|it| chosen.is_multiple_of(*it));
    println!("the one that chance picks has {} divisors", divisors.count());
    guest::log!(Info, "chance picks {chosen}");
}

/// The sieve of Eratosthenes.
fn primes(limit: usize) -> Vec<usize> {
    let mut composite = vec![false; limit];
    for number in 2..limit {
        if !composite[number] {
            for multiple in (number * number..limit).step_by(number) {
                composite[multiple] = true;
            }
        }
    }
    (2..limit).filter(|number| !composite[*number]).collect()
}
