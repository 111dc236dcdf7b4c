//! A guest under gdb: its remote protocol, by the gdbstub crate, over a [`Drive`](crate::drive::Drive).
//!
//! | file | what it does |
//! | --- | --- |
//! | `place` | where a client connects, and waiting for it |
//! | `wire` | bytes to packets: what is no packet never reaches the protocol |
//! | `session` | who is at the wheel: the client that has the guest held, or the guest that runs |
//! | `target` | what the client asks for: memory, registers, breakpoints |
//! | `registers` | all that gdb calls a register, and their description |
//! | `hardware` | breakpoints and watchpoints of the processor's, and whether this KVM has them |
//! | `monitor` | the client's `monitor` commands |
//! | `ends` | an end as a signal |
//!
//! The client is as hostile as a guest: whatever it sends, the run goes on to an end of its own.
//! One that goes away without a word is one that has detached; one that has never said any was none.

mod ends;
mod hardware;
mod monitor;
mod place;
mod registers;
mod session;
mod target;
mod wire;

pub use hardware::Ability;
pub use monitor::Journal;
pub use place::{Client, Listener, Place, PlaceError};
pub use session::{Parting, Session, debug};
