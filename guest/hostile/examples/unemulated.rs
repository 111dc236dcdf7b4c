//! Executes what KVM's emulator does not know, where that runs ring 0: it gives up. A processor
//! raises an exception, or does it, and the guest goes on.
//@ ring: 0
//@ output: ignored
//@ stderr: KVM cannot emulate `lar eax, ecx`
//@ expect: exit=126 end=emulation-failed

#![no_std]
#![no_main]

use guest::{Boot, println};
use hostile::{attempt_each, own_idt};

guest::entry!(main);

fn main(_: &Boot) {
    own_idt::load();
    for word in [0, 1, 0x1000, 1 << 47, u64::MAX] {
        attempt_each!(word:
            "lar eax, ecx" "lsl eax, ecx" "verr cx" "verw cx" "monitor" "mwait" "vmlaunch" "vmresume"
            "vmxoff" "vmxon [rdi]" "vmclear [rdi]" "vmread rax, rcx" "rdtscp" "getsec"
            "invpcid rax, [rdi]" "enter 64, 31" "int3" "int 0x80" "xgetbv" "popcnt rax, rdi"
            "cmpxchg16b [rsp - 24]" "fninit; fldpi" "mulps xmm0, xmm1" "xsave [rsp - 24]"
        );
    }
    println!("went on");
}
