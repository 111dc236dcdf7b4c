//! Writes nonsense to CR0, CR4, CR8 and EFER: what the processor refuses it goes on
//! from, and what it takes is taken back.
//@ ring: 0

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::{self, attempt};

guest::entry!(main);

const PE: u64 = 1;
const NW: u64 = 1 << 29;
const CD: u64 = 1 << 30;
const PG: u64 = 1 << 31;

const PAE: u64 = 1 << 5;
const LA57: u64 = 1 << 12;
const VMXE: u64 = 1 << 13;
const PCIDE: u64 = 1 << 17;
const OSXSAVE: u64 = 1 << 18;
const SMEP: u64 = 1 << 20;
const SMAP: u64 = 1 << 21;

const EFER: u32 = 0xc000_0080;
const LME: u64 = 1 << 8;
const LMA: u64 = 1 << 10;

/// Tries each value that differs from the register's own by these bits.
macro_rules! flip {
    ($register:literal: $($name:literal $bits:expr),* $(,)?) => {$({
        let bits: u64 = $bits;
        let raised = attempt(|| {
            // SAFETY: none: that the host bears it is the point.
            unsafe {
                asm!(
                    concat!("mov {0}, ", $register), "mov {1}, {0}", "xor {0}, {2}",
                    concat!("mov ", $register, ", {0}"), concat!("mov ", $register, ", {1}"),
                    out(reg) _, out(reg) _, in(reg) bits,
                );
            }
        });
        show($register, $name, raised);
    })*};
}

fn main(_: &Boot) {
    own_idt::load();
    flip!("cr0":
        "PG off" PG, "PE off" PE, "PE and PG off" PE | PG, "NW without CD" NW, "CD" CD,
        "bit 32" 1 << 32, "bit 63" 1 << 63,
    );
    flip!("cr4":
        "PAE off" PAE, "LA57" LA57, "VMXE" VMXE, "PCIDE" PCIDE, "OSXSAVE" OSXSAVE, "SMEP" SMEP,
        "SMAP" SMAP, "bit 15" 1 << 15, "bit 31" 1 << 31, "bit 63" 1 << 63,
    );
    flip!("cr8": "16" 16, "all" u64::MAX);
    for (name, bits) in
        [("LME off", LME), ("LMA off", LMA), ("both off", LME | LMA), ("bit 63", 1 << 63)]
    {
        show("efer", name, attempt(|| flip_efer(bits)));
    }
}

fn flip_efer(bits: u64) {
    // SAFETY: none: that the host bears it is the point.
    unsafe {
        asm!(
            "rdmsr", "xor eax, {low:e}", "xor edx, {high:e}", "wrmsr",
            "rdmsr", "xor eax, {low:e}", "xor edx, {high:e}", "wrmsr",
            in("ecx") EFER, low = in(reg) bits, high = in(reg) bits >> 32,
            out("eax") _, out("edx") _,
        );
    }
}

fn show(register: &str, name: &str, raised: own_idt::Raised) {
    println!("{register}, {name}: {raised}");
}
