//! A panic: its message and place go to the host, without an allocation.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

/// A message cut at its end, on a character's boundary, rather than lost.
struct Text {
    bytes: [u8; 1024],
    used: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.floor_char_boundary(self.bytes.len() - self.used);
        self.bytes[self.used..self.used + room].copy_from_slice(&text.as_bytes()[..room]);
        self.used += room;
        if room < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut text = Text { bytes: [0; 1024], used: 0 };
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
            in("rdi") text.bytes.as_ptr(),
            in("rsi") text.used,
            in("rdx") file.as_ptr(),
            in("rcx") file.len(),
            in("r8") u64::from(line),
            in("r9") u64::from(column),
            options(nostack, preserves_flags),
        );
    }
    crate::exit::halt()
}
