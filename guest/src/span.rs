//! Pieces of the guest's time with a name, for a host that traces.

use crate::Out;
use abi::span::{Client, NOBODY};
use core::sync::atomic::{AtomicBool, Ordering};

/// Whether the host may listen: until it has said that it does not.
static HEARD: AtomicBool = AtomicBool::new(true);

/// A piece of the guest's time, which ends when this is dropped. [`span!`](crate::span) begins one.
#[derive(Debug)]
#[must_use = "it ends when it is dropped: give it a name, `let _parse = ...`"]
pub struct Span(u64);

impl Span {
    /// It begins, in those that are open.
    #[inline]
    pub fn begin(name: &str) -> Self {
        if HEARD.load(Ordering::Relaxed) { Self(ask(name)) } else { Self(NOBODY) }
    }
}

/// The host's answer. One that serves no spans is one that does not listen.
#[cold]
fn ask(name: &str) -> u64 {
    let id = Client(Out).begin(name).unwrap_or(NOBODY);
    if id == NOBODY {
        HEARD.store(false, Ordering::Relaxed);
    }
    id
}

/// Another host may have the guest from here on: it is asked again.
pub(crate) fn ask_again() {
    HEARD.store(true, Ordering::Relaxed);
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if self.0 != NOBODY {
            Client(Out).end(self.0);
        }
    }
}

/// Begins a span, a piece of the guest's time with a name: it ends with the scope that its guard is
/// in. Or names a block, and gives what that gives.
///
/// ```ignore
/// let _all = guest::span!("all");
/// let tree = guest::span!("parse", { parse(text) });
/// ```
///
/// `portcall run --emit trace=FILE` shows them beside exits and calls. Each takes two exits then; on
/// a host where nobody listens the first one asks, and from there on a span is a look at a byte.
///
/// It is a call of [`abi::span`]: name it among the `calls` of [`entry!`](crate::entry).
#[macro_export]
macro_rules! span {
    ($name:expr) => {
        $crate::Span::begin($name)
    };
    ($name:expr, $block:block) => {{
        let _span = $crate::Span::begin($name);
        $block
    }};
}
