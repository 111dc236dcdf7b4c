//! Executes what KVM's emulator does not know, where that runs ring 0: it gives up. A processor
//! raises an exception, or does it, and the guest goes on.
//@ ring: 0
//@ output: ignored
//@ stderr: KVM cannot emulate `lar eax, ecx`
//@ expect: exit=126 end=emulation-failed

#![no_std]
#![no_main]

use core::arch::asm;
use guest::{Boot, println};
use hostile::own_idt::{self, attempt};

guest::entry!(main);

/// Tries each line by itself; the registers that instructions like these take hold `$word`.
macro_rules! each {
    ($word:ident: $($line:literal)*) => {$(
        attempt(|| {
            // SAFETY: none: that the host bears it is the point.
            unsafe {
                asm!($line, inout("rax") $word => _, inout("rcx") $word => _,
                    inout("rdx") $word => _, in("rdi") $word);
            }
        });
    )*};
}

fn main(_: &Boot) {
    own_idt::load();
    for word in [0, 1, 0x1000, 1 << 47, u64::MAX] {
        each!(word:
            "lar eax, ecx" "lsl eax, ecx" "verr cx" "verw cx" "monitor" "mwait" "vmlaunch" "vmresume"
            "vmxoff" "vmxon [rdi]" "vmclear [rdi]" "vmread rax, rcx" "rdtscp" "getsec"
            "invpcid rax, [rdi]" "enter 64, 31" "int3" "int 0x80" "xgetbv" "popcnt rax, rdi"
            "cmpxchg16b [rsp - 24]" "fninit; fldpi" "mulps xmm0, xmm1" "xsave [rsp - 24]"
        );
    }
    println!("went on");
}
