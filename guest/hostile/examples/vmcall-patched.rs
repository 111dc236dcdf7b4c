//! Calls a hypervisor from where KVM may write over the instruction: it stands in writable memory,
//! or CR0.WP is clear. On kvm_pvm such a call does not come back.
//@ ring: 0
//@ timeout: 300ms
//@ output: ignored
//@ expect: exit=124 end=limit-reached

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_tables::write_everywhere;

guest::entry!(main);

fn main(_: &Boot) {
    println!("before");
    write_everywhere();
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("vmcall", inout("rax") u64::MAX => _, options(nostack)) };
    println!("after");
}
