//! A write to this guest's own code.

#![no_std]
#![no_main]

use guest::Boot;

guest::entry!(main);

fn main(_: &Boot) {
    let code = main as *const () as *mut u8;
    // SAFETY: the page is mapped read-only, so that nothing is written: the guest ends here.
    unsafe { code.write_volatile(0xc3) };
}
