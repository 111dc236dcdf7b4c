//! Fuzzes a function of a guest's: each input in a VM restored from one snapshot.
//!
//! A [`Machine`] runs the guest once, to where it waits for the host's calls; a snapshot is taken
//! there. Another VM of it has breakpoints where basic blocks begin: an input that reaches a new one is kept, to
//! be mutated further ([LibAFL] does that, and says which is next), and the breakpoint is gone for
//! good. Whatever an input does to its VM ends with it. One that ends the guest is run again in a
//! VM without breakpoints, made smaller there, and explained.
//!
//! ```no_run
//! use portcall::{Image, Kvm};
//! use snapfuzz::{Machine, Options, Settings};
//!
//! let file = std::fs::read("target/x86_64-unknown-none/release/examples/parser")?;
//! let image = Image::parse(&file)?;
//! let target = snapfuzz::target(&image, None)?;
//! let ready = Machine::new(Kvm::open()?, &image, &file, target, Options::default())?.set_up()?;
//! let session = snapfuzz::Session::new(ready)?;
//! let settings = Settings { runs: Some(100_000), ..Settings::default() };
//! let summary = session.fuzz(Vec::new(), &settings, &mut snapfuzz::Silent)?;
//! println!("{} findings", summary.findings.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same seed and the same inputs give the same executions, as far as the guest is the same in
//! each of them: one that asks for random bytes or for the time is not.
//!
//! [LibAFL]: https://docs.rs/libafl

mod blocks;
mod covered;
mod engine;
mod finding;
mod machine;
mod minimise;
mod session;
mod store;
mod target;

pub use finding::Finding;
pub use machine::{Came, Machine, MachineError, NotReady, Options, Ready};
pub use session::{Listener, Over, Session, Settings, Silent, Status, Summary};
pub use store::{Inputs, Store, StoreError};
pub use target::{Target, TargetError, target, targets};
