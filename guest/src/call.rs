//! Typed hypercalls to the host: a client's arguments in registers, and one `out`.

use abi::calls::{Malformed, Reader, Request, Returned, Space, Transport, WORDS_MAX};
use abi::port::CALL;
use core::arch::asm;

/// The way to the host, for the clients that [`hypercalls!`](abi::hypercalls) makes.
///
/// ```ignore
/// let mut store = store::Client(guest::Out);
/// println!("{} keys", store.put("a", b"xyz"));
/// ```
///
/// A call that the host refuses never comes back: the run ends with the reason, unless the
/// call's definition has a [`Refusal`](abi::calls::Refusal) for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Out;

/// The way to the host, with space for results of bytes.
///
/// ```ignore
/// let mut space = [0; 256];
/// let mut store = store::Client(guest::OutWithSpace(&mut space));
/// let value = store.get("a");
/// ```
///
/// What a call gives borrows the client until the next one. A result that does not fit the space
/// is refused.
#[derive(Debug)]
pub struct OutWithSpace<'s>(pub &'s mut [u8]);

impl Transport for Out {
    type Reply<R> = R;
    const HAS_SPACE: bool = false;

    #[inline(always)]
    fn lend(&mut self, bytes: &[u8]) -> u64 {
        bytes.as_ptr().expose_provenance() as u64
    }

    #[inline(always)]
    fn lend_mut(&mut self, bytes: &mut [u8]) -> u64 {
        bytes.as_mut_ptr().expose_provenance() as u64
    }

    #[inline(always)]
    fn take_back(&mut self, _: &mut [u8]) {
        // The host wrote where they stand.
    }

    #[inline(always)]
    fn space(&mut self) -> (u64, u64) {
        (0, 0)
    }

    #[inline(always)]
    fn call<const A: usize, const R: usize>(&mut self, request: Request<A, Self>) -> [u64; R] {
        out(&request)
    }

    #[inline(always)]
    fn reply<'r, R: Returned<'r>>(&'r mut self, words: &[u64]) -> R {
        result(words, &[])
    }
}

impl Transport for OutWithSpace<'_> {
    type Reply<R> = R;
    const HAS_SPACE: bool = true;

    #[inline(always)]
    fn lend(&mut self, bytes: &[u8]) -> u64 {
        Out.lend(bytes)
    }

    #[inline(always)]
    fn lend_mut(&mut self, bytes: &mut [u8]) -> u64 {
        Out.lend_mut(bytes)
    }

    #[inline(always)]
    fn take_back(&mut self, bytes: &mut [u8]) {
        Out.take_back(bytes);
    }

    #[inline(always)]
    fn space(&mut self) -> (u64, u64) {
        (Out.lend_mut(self.0), self.0.len() as u64)
    }

    #[inline(always)]
    fn call<const A: usize, const R: usize>(&mut self, request: Request<A, Self>) -> [u64; R] {
        out(&request)
    }

    #[inline(always)]
    fn reply<'r, R: Returned<'r>>(&'r mut self, words: &[u64]) -> R {
        result(words, self.0)
    }
}

/// The result that the host's words are.
#[expect(clippy::panic, reason = "a host that breaks the contract is not to be believed")]
fn result<'r, R: Returned<'r>>(words: &[u64], space: &'r [u8]) -> R {
    match R::take(&mut Reader::new(words), &mut Given(space)) {
        Ok(result) => result,
        Err(malformed) => panic!("the host's answer makes no sense: {malformed}"),
    }
}

/// The space with a result of bytes at its start.
struct Given<'r>(&'r [u8]);

impl<'r> Space<'r> for Given<'r> {
    #[inline(always)]
    fn bytes(&mut self, address: u64, size: u64) -> Result<&'r [u8], Malformed> {
        // The host puts a result at the start of the space.
        let bytes = usize::try_from(size).ok().and_then(|size| self.0.get(..size));
        bytes.ok_or(Malformed::pointer(address, size))
    }

    #[inline(always)]
    fn text(&mut self, address: u64, size: u64) -> Result<&'r str, Malformed> {
        let bytes = self.bytes(address, size)?;
        // SAFETY: the host, which all of a guest has to trust, copied them from a `&str`.
        Ok(unsafe { core::str::from_utf8_unchecked(bytes) })
    }
}

/// A request's word, which is there: the match below has seen to it.
#[inline(always)]
fn word<const A: usize>(words: &[u64; A], i: usize) -> u64 {
    words.get(i).copied().unwrap_or_default()
}

/// The `out` for the words that there are: one instruction, with no more registers than they
/// take. A result of more than one word comes back in the registers of the arguments.
macro_rules! out_by_words {
    ($request:ident, $result:ident: $($count:literal [$($register:tt $i:literal)*])*) => {
        match ($result.len(), $request.words().len().max($result.len().saturating_sub(1))) {
            $(
                (0, $count) => {
                    // SAFETY: the words belong to the number, since only `hypercalls!` makes
                    // requests, and the host means the same by it, since it answers no interface
                    // that the image has not noted for comparison. Every address among the words
                    // was lent by this transport, and so is that of bytes borrowed for as long as
                    // this lasts, which the host reads, or writes where they are mutable.
                    unsafe {
                        asm!(
                            "out {port}, eax", port = const CALL, in("eax") $request.number(),
                            $(in($register) word($request.words(), $i),)*
                            options(nostack, preserves_flags),
                        );
                    }
                }
                (1, $count) => {
                    // SAFETY: as above.
                    unsafe {
                        asm!(
                            "out {port}, eax", port = const CALL,
                            inout("rax") u64::from($request.number()) => $result[0],
                            $(in($register) word($request.words(), $i),)*
                            options(nostack, preserves_flags),
                        );
                    }
                }
                (_, $count) => {
                    let mut first = u64::from($request.number());
                    #[allow(unused_mut, reason = "without words nothing is written to it")]
                    let mut others = [0; WORDS_MAX];
                    // SAFETY: as above.
                    unsafe {
                        asm!(
                            "out {port}, eax", port = const CALL, inout("rax") first,
                            $(inout($register) word($request.words(), $i) => others[$i],)*
                            options(nostack, preserves_flags),
                        );
                    }
                    $result[0] = first;
                    for (to, from) in $result[1..].iter_mut().zip(others) {
                        *to = from;
                    }
                }
            )*
            // More words than there are registers, which was asserted.
            _ => {}
        }
    };
}

/// Makes the call; what comes back is the result's words.
#[inline]
fn out<const A: usize, const R: usize, T: Transport>(request: &Request<A, T>) -> [u64; R] {
    const { assert!(A <= WORDS_MAX && R <= WORDS_MAX, "more words than there are registers") };
    let mut result = [0; R];
    out_by_words! { request, result:
        0 []
        1 ["rdi" 0]
        2 ["rdi" 0 "rsi" 1]
        3 ["rdi" 0 "rsi" 1 "rdx" 2]
        4 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3]
        5 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3 "r8" 4]
        6 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3 "r8" 4 "r9" 5]
        7 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3 "r8" 4 "r9" 5 "r10" 6]
        8 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3 "r8" 4 "r9" 5 "r10" 6 "r11" 7]
        9 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3 "r8" 4 "r9" 5 "r10" 6 "r11" 7 "r12" 8]
        10 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3 "r8" 4 "r9" 5 "r10" 6 "r11" 7 "r12" 8 "r13" 9]
        11 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3 "r8" 4 "r9" 5 "r10" 6 "r11" 7 "r12" 8 "r13" 9 "r14" 10]
        12 ["rdi" 0 "rsi" 1 "rdx" 2 "rcx" 3 "r8" 4 "r9" 5 "r10" 6 "r11" 7 "r12" 8 "r13" 9 "r14" 10 "r15" 11]
    }
    result
}
