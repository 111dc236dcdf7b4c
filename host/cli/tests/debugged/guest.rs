//! A guest to be debugged: adds up, waits in a loop for someone to change a variable, and ends as
//! that says.

#![no_std]
#![no_main]

use core::arch::asm;

static mut TOTAL: u64 = 0;
static mut GO: u64 = 0;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[inline(never)]
fn add(one: u64, other: u64) -> u64 {
    let mut sum = one;
    sum += other;
    sum
}

#[inline(never)]
fn load(at: *const u64) -> u64 {
    unsafe { *at }
}

fn wait() -> u64 {
    loop {
        let go = load(&raw const GO);
        if go != 0 {
            return go;
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let mut total = 0;
    for i in 1..4 {
        total = add(total, i);
        unsafe { TOTAL = total };
    }
    match wait() {
        2 => total = load(8 as *const u64),
        3 => unsafe { asm!("ud2") },
        _ => {}
    }
    unsafe { asm!("out 0xf4, eax", in("eax") total as u32) };
    loop {}
}
