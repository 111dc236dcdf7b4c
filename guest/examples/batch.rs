//! Many small calls by one doorbell, through a ring in shared memory, beside one exit a call.
//! The report has what each took.
//!
//! What a doorbell saves is exits, and what it costs is the guest's own work at the ring. Where KVM
//! emulates ring 0 (kvm_pvm), a dozen instructions cost as much as an exit, so that there is nothing
//! to gain; run it with `--ring 3` there, where instructions are native and exits dearer still.
//@ expect: exit=0 exits.port[0xf7]<=280
//@ stderr: ns a call, one exit each:
//@ stderr: ns a call, 64 to a doorbell:

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::ToString;
use calls::batch::{self, Ring};
use guest::abi::host;
use guest::{Boot, println};

guest::entry!(main, calls = [batch, host]);

const CALLS: u64 = 256;

fn main(_: &Boot) {
    let mut host = host::Client(guest::Out);
    let mut batch = batch::Client(guest::Out);

    let start = host.clock();
    let singly: u64 = (0..CALLS).map(|value| batch.square(value)).sum();
    let one_exit_each = host.clock() - start;

    let mut bytes = [0; batch::SIZE];
    let start = host.clock();
    let mut together = 0;
    let mut rung = 0;
    let mut values = (0..CALLS).peekable();
    while values.peek().is_some() {
        if let Some(mut ring) = Ring::of(&mut bytes) {
            while values.next_if(|value| ring.put(*value)).is_some() {}
        }
        let answered = batch.doorbell(&mut bytes);
        together += Ring::of(&mut bytes).map_or(0, |mut ring| ring.answers(answered).sum::<u64>());
        rung += 1;
    }
    let by_doorbell = host.clock() - start;

    println!("{singly} by {CALLS} exits, {together} by {rung}");
    host.annotate("ns a call, one exit each", &(one_exit_each / CALLS).to_string());
    host.annotate("ns a call, 64 to a doorbell", &(by_doorbell / CALLS).to_string());
}
