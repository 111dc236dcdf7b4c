//! RDMSR and WRMSR of a register that the host answers for (KVM_EXIT_X86_RDMSR and _WRMSR).

use calls::ways::{CHECKED, MSR};
use core::arch::asm;
use guest::Boot;

pub(crate) fn read(_: &Boot, samples: u32) {
    for given in 0..CHECKED {
        let got = rdmsr();
        assert!(u32::from(given) == got, "RDMSR got {got} where the host gave {given}");
    }
    guest::measure("rdmsr", samples, || {
        rdmsr();
    });
}

pub(crate) fn write(_: &Boot, samples: u32) {
    (0..CHECKED).map(u32::from).for_each(wrmsr);
    guest::measure("wrmsr", samples, || wrmsr(0));
}

#[inline(always)]
fn rdmsr() -> u32 {
    let low;
    // SAFETY: it changes EAX and EDX; the host answers for this register.
    unsafe { asm!("rdmsr", in("ecx") MSR, out("eax") low, out("edx") _) }
    low
}

#[inline(always)]
fn wrmsr(value: u32) {
    // SAFETY: the host takes any value of this register, which means nothing to the processor.
    unsafe { asm!("wrmsr", in("ecx") MSR, in("eax") value, in("edx") 0) }
}
