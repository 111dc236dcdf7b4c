//! Printing: into the [console window](abi::console), so that text costs no exit.

use crate::memcpy::copy;
use abi::console::{CAPACITY, HEADER, READ_INDEX, WRITE_INDEX};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The window's address; null until [`open`], and then printing does nothing.
static WINDOW: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());

/// Takes `window` for all printing from here on.
///
/// # Safety
/// `window` is the address of a console window that is nobody else's and stays mapped.
pub(crate) unsafe fn open(window: *mut u8) {
    WINDOW.store(window, Ordering::Relaxed);
}

/// One of the window's two indices.
///
/// # Safety
/// `window` is a console window, and `offset` one of its indices.
const unsafe fn index(window: *mut u8, offset: u64) -> &'static AtomicU64 {
    // SAFETY: by the contract above this stays inside the window's header.
    let address = unsafe { window.add(crate::to_usize(offset)) };
    // SAFETY: windows are 64-byte aligned and live as long as the guest; the host reads and
    // writes the indices atomically as well.
    unsafe { AtomicU64::from_ptr(address.cast()) }
}

/// Prints bytes as they are; an empty window takes 64 KiB before the host must be called.
///
/// Where KVM emulates ring 0 each instruction here takes 1 us. So text that fits, as nearly all does,
/// takes two comparisons, its copy and one store, and calls nothing.
#[inline]
pub fn write(bytes: &[u8]) {
    let window = WINDOW.load(Ordering::Relaxed);
    if window.is_null() {
        return;
    }
    // SAFETY: `open` was given a console window.
    let written = unsafe { index(window, WRITE_INDEX) };
    // SAFETY: as above.
    let taken = unsafe { index(window, READ_INDEX) };
    let (at, size) = (written.load(Ordering::Relaxed), bytes.len() as u64);
    let (offset, used) = (at % CAPACITY, at.wrapping_sub(taken.load(Ordering::Acquire)));
    // `offset` is below CAPACITY, and `size` at most that in the second comparison.
    if size > CAPACITY - offset || used > CAPACITY - size {
        return write_in_parts(window, bytes);
    }
    // SAFETY: `offset` is below CAPACITY, so this is inside the window's text.
    let to = unsafe { window.add(crate::to_usize(HEADER + offset)) };
    if let [byte] = bytes {
        // The line feed of a line.
        // SAFETY: `size` is at most `CAPACITY - offset`.
        unsafe { to.write(*byte) };
    } else {
        // SAFETY: as above, and no slice of ours is in the window.
        unsafe { copy(to, bytes.as_ptr(), bytes.len()) };
    }
    // The bytes first, then the index that covers them.
    written.store(at.wrapping_add(size), Ordering::Release);
}

/// Prints what goes round the window's end, or for which the host has to make room.
#[cold]
#[inline(never)]
fn write_in_parts(window: *mut u8, bytes: &[u8]) {
    // SAFETY: `open` was given a console window.
    let written = unsafe { index(window, WRITE_INDEX) };
    // SAFETY: as above.
    let taken = unsafe { index(window, READ_INDEX) };
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = written.load(Ordering::Relaxed);
        if at.wrapping_sub(taken.load(Ordering::Acquire)) >= CAPACITY {
            crate::port::write_u8(abi::port::FLUSH, 0);
        }
        let free = CAPACITY.saturating_sub(at.wrapping_sub(taken.load(Ordering::Acquire)));
        let offset = at % CAPACITY;
        // A host that took nothing at the flush leaves no room: then the oldest text goes.
        let room = if free == 0 { CAPACITY } else { free }.min(CAPACITY - offset);
        let now = rest.len().min(crate::to_usize(room));
        let (head, tail) = rest.split_at(now);
        // SAFETY: `offset` is below CAPACITY, so this is inside the window's text.
        let to = unsafe { window.add(crate::to_usize(HEADER + offset)) };
        // SAFETY: `now` is at most `CAPACITY - offset`, and no slice of ours is in the window.
        unsafe { copy(to, head.as_ptr(), now) };
        // The bytes first, then the index that covers them.
        written.store(at.wrapping_add(now as u64), Ordering::Release);
        rest = tail;
    }
}

/// Makes what was printed appear now rather than at the next end or full window: one exit.
pub fn flush() {
    crate::port::write_u8(abi::port::FLUSH, 0);
}

/// The console as a [`core::fmt::Write`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

#[doc(hidden)]
pub fn print(text: fmt::Arguments<'_>) {
    // Only a Display of the guest's own can fail here, and it has said so itself.
    let _ = Console.write_fmt(text);
}

/// Prints to the console, as `std::print!`.
#[macro_export]
macro_rules! print {
    ($($text:tt)*) => { $crate::console::print(::core::format_args!($($text)*)) };
}

/// Prints to the console with a newline, as `std::println!`.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($text:tt)*) => {
        $crate::console::print(::core::format_args!("{}\n", ::core::format_args!($($text)*)))
    };
}
