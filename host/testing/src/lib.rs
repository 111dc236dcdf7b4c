//! Runs the tests that are in a guest's image, each in a VM that goes on from one snapshot.
//!
//! A [`list`] of them is read from the image alone, without KVM. A [`Machine`] runs the guest once,
//! to where it waits for calls; a [`Worker`] has a VM of the snapshot that was taken there, gives it
//! one call, and restores it. Whatever a test does to its VM ends with it: a fault, a loop, memory
//! that was written all over.
//!
//! [`run`] does that for all that were chosen, by several threads, and [`Show`] says what came of it
//! as libtest does.
//!
//! ```no_run
//! use portcall::{Image, Kvm};
//! use testing::{By, Choice, Machine, Options, Show};
//!
//! let file = std::fs::read("target/x86_64-unknown-none/debug/deps/queue-0123")?;
//! let image = Image::parse(&file)?;
//! let chosen = Choice::default().of(testing::list(&image)?);
//! let machine = Machine::new(Kvm::open()?, &image, &file, Options::default())?;
//! let mut show = Show::new(Box::new(std::io::stdout()), Default::default());
//! let ready = machine.set_up(None)?;
//! let passed = testing::run(&ready, &chosen, By::Threads(2), &mut show)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod choice;
mod harness;
mod judge;
mod list;
mod machine;
mod show;
mod text;
mod worker;

pub use choice::{Choice, Chosen, Ignored};
pub use harness::{By, RunError, run};
pub use judge::Verdict;
pub use list::{ListError, Test, list};
pub use machine::{Machine, MachineError, NotReady, Options, Ready};
pub use show::{Form, Show, Style};
pub use worker::{Report, Worker};
