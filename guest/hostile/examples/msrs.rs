//! Reads every model-specific register of the usual ranges, and writes wild values to it, KVM's own
//! included; and goes on.
//@ ring: 0
//@ replay: no

#![no_std]
#![no_main]

use core::arch::asm;
use core::ops::Range;
use guest::{Boot, println};
use hostile::own_idt::{self, attempt};

guest::entry!(main);

/// Without long mode or its page protection there is no going on.
const EFER: u32 = 0xc000_0080;

/// The old ones, x2APIC's, Hyper-V's, KVM's, and AMD's.
const RANGES: [Range<u32>; 8] = [
    0..0x400,
    0x480..0x4c0,
    0x800..0x840,
    0x4000_0000..0x4000_0110,
    0x4b56_4d00..0x4b56_4d10,
    0xc000_0080..0xc000_0108,
    0xc001_0000..0xc001_0150,
    0xffff_fff0..0xffff_ffff,
];

fn main(_: &Boot) {
    own_idt::load();
    for number in RANGES.into_iter().flatten().filter(|number| *number != EFER) {
        let mut value = 0;
        // One that cannot be read may be written all the same.
        attempt(|| value = read(number));
        // All ones; what is no canonical address; outside RAM, with KVM's bit that enables.
        for wild in [u64::MAX, 1 << 47, 0xffff_8000_0000_0001, 1 << 40 | 1, 0] {
            attempt(|| write(number, wild));
        }
        attempt(|| write(number, value));
    }
    println!("went on");
}

fn read(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: none: that the host bears it is the point.
    unsafe { asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

fn write(number: u32, value: u64) {
    // SAFETY: as above.
    unsafe { asm!("wrmsr", in("ecx") number, in("rax") value, in("rdx") value >> 32) };
}
