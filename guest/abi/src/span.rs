//! The stock interface of those who trace: pieces of the guest's time, by name. The
//! [contract](crate#the-stock-interface) has a section for each call.

use crate::calls::Refusal;

/// The id that is no span's: nobody listens.
pub const NOBODY: u64 = 0;

crate::hypercalls! {
    /// Pieces of the guest's time, for a host that traces.
    pub trait Span {
        /// A span begins, in those that are open. Its id, by which it is ended; 0 where nobody
        /// listens, and there is no need to call again.
        fn begin(&mut self, name: &str) -> Result<u64, Refusal>;

        /// A span ends, and with it those that began in it and are open.
        fn end(&mut self, span: u64);
    }
}
