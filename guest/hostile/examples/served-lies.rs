//! Waits for the host's calls by hand, and answers with results that lead outside memory.
//@ host: calc
//@ output: ignored
//@ expect: exit=123 end=call-refused

#![no_std]
#![no_main]

use calls::calc;
use core::arch::asm;
use guest::Boot;
use guest::abi::mailbox;
use hostile::Never;

guest::entry!(main, serves = [calc: Never]);

fn main(boot: &Boot) {
    let start = boot.info().mailbox.start as *mut u8;
    loop {
        // SAFETY: none: that the host bears it is the point. It writes to the mailbox alone.
        unsafe { asm!("out {}, eax", const guest::abi::port::SERVE, in("eax") mailbox::ANSWERED) };
        for word in 0..12 {
            // SAFETY: the mailbox is there, and nothing of it is borrowed.
            let word = unsafe { start.add(8 + 8 * word).cast::<u64>() };
            // SAFETY: as above. A tag that there is, an address that there is not, and a length.
            unsafe { word.write_volatile(1) };
        }
    }
}
