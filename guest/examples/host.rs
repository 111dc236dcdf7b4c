//! The stock interface: what a guest may ask any host that allows it.
//@ args: one two
//@ stderr: guest warn: the answer is 42
//@ stderr: answer: 42
//@ expect: exit=0

#![no_std]
#![no_main]

use guest::abi::host;
use guest::{Boot, println};

guest::entry!(main, calls = [host]);

/// Something whose address is asked for.
static HERE: u64 = 42;

fn main(_: &Boot) {
    let mut space = [0; 64];
    let mut host = host::Client(guest::OutWithSpace(&mut space));

    println!("{} arguments", host.argument_count());
    println!("{:?}", host.argument(1));
    println!("{:?}", host.argument(2));

    let before = host.exits();
    println!("{} exit later {}", host.exits() - before, host.exits_of_kind(1) == Some(before + 2));

    // RAM is mapped one to one, the null page is not mapped.
    let address = &raw const HERE as u64;
    println!("{}", host.translate(address) == Some(address));
    println!("{:?}", host.translate(0));

    let (early, late) = (host.clock(), host.clock());
    println!("time passes: {}", early < late);

    let (mut one, mut other) = ([0; 16], [0; 16]);
    host.random(&mut one);
    host.random(&mut other);
    println!("chance repeats: {}", one == other);

    guest::log!(Warn, "the answer is {HERE}");
    host.annotate("answer", "42");
}
