//! A panic: its message and place go to the host, without an allocation.

use crate::text::Text;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut text = Text::<1024>::new();
    // A message whose own Display panics comes here again: then its place says enough.
    if PANICKING.swap(true, Ordering::Relaxed) {
        let _ = text.write_str("panicked while formatting a panic's message");
    } else {
        let _ = write!(text, "{}", info.message());
    }
    let (file, line, column) =
        info.location().map_or(("", 0, 0), |at| (at.file(), at.line(), at.column()));
    // SAFETY: the host reads the two texts while it handles this; it changes nothing.
    unsafe {
        core::arch::asm!(
            "out {port}, al",
            port = const abi::port::PANIC,
            in("rdi") text.as_str().as_ptr(),
            in("rsi") text.as_str().len(),
            in("rdx") file.as_ptr(),
            in("rcx") file.len(),
            in("r8") u64::from(line),
            in("r9") u64::from(column),
            options(nostack, preserves_flags),
        );
    }
    crate::exit::halt()
}
