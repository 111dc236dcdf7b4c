//! Executes one of each that is not for a guest of this kind, and goes on from what it raises.
//@ ring: 0
//@ replay: no

#![no_std]
#![no_main]

use guest::{Boot, println};
use hostile::{attempt_each, own_idt};

guest::entry!(main);

fn main(_: &Boot) {
    own_idt::load();
    for word in [0, 1, 0x1000, 1 << 47, u64::MAX] {
        attempt_each!(word:
            "invd" "wbinvd" "wbnoinvd" "clts" "smsw eax" "rdtsc" "rdpmc" "cpuid" "invlpg [rdi]"
            "str eax" "sldt eax" "sgdt [rsp - 24]" "sidt [rsp - 24]" "mov rax, cr2" "mov cr2, rax"
            "mov rax, cr8" "ud2" ".byte 0x0f, 0x22, 0xc8" ".byte 0x0f, 0x23, 0xe0" "pause"
            "clflush [rdi]" "prefetchnta [rdi]" "vmrun" "vmload" "vmsave" "clgi" "stgi" "skinit"
            "invlpga rax, ecx" "rdrand rax" "rdseed rax" "swapgs; swapgs" "sysexit" "rsm" "xsetbv"
            "mov ds, eax; mov es, eax" "lock nop"
        );
    }
    println!("went on");
}
