//! Where the host's process has the guest's memory (the classic exercise, by a typed call): told
//! only to a guest that is allowed to know.
//@ options: --allow HostAddress
//@ expect: exit=0

#![no_std]
#![no_main]

use guest::abi::host_address;
use guest::{Boot, println};

guest::entry!(main, calls = [host_address]);

fn main(boot: &Boot) {
    let mut host = host_address::Client(guest::Out);
    let heap = boot.heap().start;
    let (first, second) = (host.host_address(heap), host.host_address(heap + 0x1234));
    // RAM is one piece there as well.
    println!("{:?}", first.zip(second).map(|(first, second)| second - first));
    println!("{:?}", host.host_address(0));
}
