//! Lines for the host's log: the stock interface's call, with a text that is formatted.

use crate::Out;
use crate::text::Text;
use abi::host::{Client, Level};
use core::fmt::{self, Write};

#[doc(hidden)]
pub fn log(level: Level, line: fmt::Arguments<'_>) {
    let mut text = Text::<256>::new();
    // A line that is too long is cut.
    let _ = text.write_fmt(line);
    Client(Out).log(level, text.as_str());
}

/// Logs a line on the host, formatted as by `std::format!` and cut after 256 bytes: one exit.
///
/// ```ignore
/// guest::log!(Warn, "{} keys are left", keys.len());
/// ```
///
/// Levels are those of [`Level`]. It is a call of [`abi::host`]: name it among the `calls` of
/// [`entry!`](crate::entry). A host that does not allow that interface ends the run.
#[macro_export]
macro_rules! log {
    ($level:ident, $($text:tt)*) => {
        $crate::log::log($crate::abi::host::Level::$level, ::core::format_args!($($text)*))
    };
}
