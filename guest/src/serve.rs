//! Answering the host's calls, which come through the mailbox once `main` has returned.

use abi::boot::Range;
use abi::calls::{Malformed, Memory, Refusal, Serve, WORDS_MAX, interface_of, method_of};
use abi::mailbox::{ANSWERED, BYTES, NUMBER, SIZE, WORDS};

/// The interfaces that a guest answers: a list of [`Serve`]rs, as nested pairs that end in `()`.
pub trait Services {
    /// Answers a call by the server of its interface.
    ///
    /// # Errors
    /// There is none, or it refuses.
    fn serve(
        &mut self,
        number: u32,
        words: &mut [u64; WORDS_MAX],
        mailbox: &mut Mailbox,
    ) -> Result<usize, Malformed>;

    /// Whether there are any.
    const ANY: bool;
}

impl Services for () {
    const ANY: bool = false;

    #[inline(always)]
    fn serve(
        &mut self,
        _: u32,
        _: &mut [u64; WORDS_MAX],
        _: &mut Mailbox,
    ) -> Result<usize, Malformed> {
        Err(Malformed::call(Refusal::NotServed))
    }
}

impl<S: Serve, T: Services> Services for (S, T) {
    const ANY: bool = true;

    #[inline(always)]
    fn serve(
        &mut self,
        number: u32,
        words: &mut [u64; WORDS_MAX],
        mailbox: &mut Mailbox,
    ) -> Result<usize, Malformed> {
        if interface_of(number) == S::INTERFACE.id() {
            self.0.serve(method_of(number), words, mailbox)
        } else {
            self.1.serve(number, words, mailbox)
        }
    }
}

/// The bytes of the mailbox, by their offset in it: each is lent once a call.
#[derive(Debug)]
pub struct Mailbox {
    start: *mut u8,
    /// Up to here they are lent; the host gives its arguments in order.
    lent: u64,
}

impl Mailbox {
    /// Bytes of the host's, from `offset` on.
    #[inline(always)]
    fn bytes(&mut self, offset: u64, size: u64) -> Result<&'static mut [u8], Malformed> {
        let end = offset.wrapping_add(size);
        if offset < self.lent || end < offset || end > SIZE {
            return Err(Malformed::pointer(offset, size));
        }
        self.lent = end;
        // SAFETY: inside the mailbox, as was just checked.
        let start = unsafe { self.start.add(crate::to_usize(offset)) };
        // SAFETY: nobody else is lent these bytes as long as the call lasts, as was just checked;
        // and nothing outlasts it, since `Serve` does not know what kind of bytes it is lent.
        Ok(unsafe { core::slice::from_raw_parts_mut(start, crate::to_usize(size)) })
    }
}

impl Memory for Mailbox {
    type Bytes = &'static mut [u8];
    type Text = &'static str;

    #[inline(always)]
    fn read(&mut self, address: u64, size: u64) -> Result<Self::Bytes, Malformed> {
        self.bytes(address, size)
    }

    #[inline(always)]
    fn text(&mut self, address: u64, size: u64) -> Result<Self::Text, Malformed> {
        let bytes: &'static [u8] = self.bytes(address, size)?;
        // SAFETY: the host copied these bytes from a `&str` of its own.
        Ok(unsafe { core::str::from_utf8_unchecked(bytes) })
    }

    #[inline(always)]
    fn borrow(&mut self, address: u64, size: u64) -> Result<Self::Bytes, Malformed> {
        self.bytes(address, size)
    }

    #[inline(always)]
    fn give_back(&mut self, _: u64, _: Self::Bytes) -> Result<(), Malformed> {
        // They are where the host looks for them.
        Ok(())
    }

    #[inline(always)]
    fn give(&mut self, bytes: &[u8], _: (u64, u64)) -> Result<u64, Malformed> {
        // The host copies them from where they are, before the guest goes on.
        Ok(bytes.as_ptr().expose_provenance() as u64)
    }

    fn give_copy(&mut self, bytes: &[u8], (offset, room): (u64, u64)) -> Result<u64, Malformed> {
        let size = bytes.len() as u64;
        if size > room {
            return Err(Malformed::too_large(size, room));
        }
        let copy = self.bytes(offset, size)?;
        copy.copy_from_slice(bytes);
        self.give(copy, (offset, room))
    }
}

/// What stands at the start of the mailbox.
#[repr(C)]
struct Head {
    number: u32,
    reserved: u32,
    words: [u64; WORDS_MAX],
}

const _: () = assert!(core::mem::offset_of!(Head, number) as u64 == NUMBER);
const _: () = assert!(core::mem::offset_of!(Head, words) as u64 == WORDS);
const _: () = assert!(size_of::<Head>() as u64 <= BYTES);

/// Answers the host's calls for ever.
///
/// # Safety
/// `mailbox` is the boot information's: nothing else of the guest's uses it.
pub(crate) unsafe fn serve(mailbox: Range, services: &mut impl Services) -> ! {
    let start = mailbox.start as *mut u8;
    let mut mailbox = Mailbox { start, lent: BYTES };
    let mut answer = ANSWERED;
    loop {
        // SAFETY: while this lasts the host writes to the mailbox, of which nothing is borrowed.
        unsafe {
            core::arch::asm!(
                "out {port}, eax", port = const abi::port::SERVE, in("eax") answer,
                options(nostack, preserves_flags),
            );
        }
        mailbox.lent = BYTES;
        // SAFETY: the mailbox is there, and aligned; the borrow ends before the host is let in
        // again, and what else is borrowed of the mailbox meanwhile lies behind `BYTES`.
        let head = unsafe { &mut *start.cast::<Head>() };
        answer = match services.serve(head.number, &mut head.words, &mut mailbox) {
            Ok(_) => ANSWERED,
            Err(malformed) => malformed.refusal as u32,
        };
    }
}
