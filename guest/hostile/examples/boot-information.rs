//! Overwrites all that the host told it, window and arguments included, and panics.
//@ args: a b
//@ output: ignored
//@ expect: exit=101 end=panicked

#![no_std]
#![no_main]
#![expect(clippy::panic, reason = "that is the point")]

use guest::Boot;

guest::entry!(main);

fn main(boot: &Boot) {
    let info = boot.info();
    let (start, end) = (info.args.start - 64, info.console + 0x1000);
    for address in (start..end).step_by(8) {
        // SAFETY: none: that the host bears it is the point.
        unsafe { (address as *mut u64).write_volatile(0xa5a5_a5a5_a5a5_a5a5) };
    }
    panic!("still here");
}
