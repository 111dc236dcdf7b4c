//! Records all that a guest gets from its host, and replays it with no handlers.
//!
//! A [`Recorder`] and a [`Player`] are the two [tapes](portcall::Tape). The log holds the whole
//! image, what the machine was made of, and an entry for every exit: what the guest asked, what
//! it was given, and what the host did to its memory meanwhile. So a replay needs nothing else,
//! and any difference in what the guest asks is found at the exit where it shows.
//!
//! Compared are what the guest asks, what it writes to ports, the words of its calls, all that the
//! host reads by [`Claims`](portcall::claims::Claims) or [`Guest::read_virtual`], its text by then,
//! the results of calls into it, and its end. Not compared are registers, and memory that a handler
//! reads by [`Memory::read`] or finds by [`Guest::translate`]; text from where some was lost; and
//! what the host prints or decides by itself, its own process code among it.
//!
//! What a guest has from its processor alone is not recorded: RDTSC, RDTSCP, RDRAND and RDSEED
//! give something else in every run, and can make a replay diverge. So can what the host writes by
//! [`Memory::as_mmap`], and registers that it sets by [`Vm::vcpu_fd`], which are not recorded either.
//!
//! [`Guest::read_virtual`]: portcall::Guest::read_virtual
//! [`Guest::translate`]: portcall::Guest::translate
//! [`Memory::read`]: portcall::Memory::read
//! [`Memory::as_mmap`]: portcall::Memory::as_mmap
//! [`Vm::vcpu_fd`]: portcall::Vm::vcpu_fd
//!
//! ```no_run
//! use portcall::{Image, Kvm, Vm};
//! use replay::{Log, Verdict, record};
//! use std::fs::{File, read};
//!
//! let kvm = Kvm::open()?;
//! let bytes = read("guest")?;
//! let image = Image::parse(&bytes)?;
//! let (recorder, recording) = record(File::create("guest.log")?, &bytes);
//! let recorded = Vm::builder(&kvm, &image).tape(recorder).build()?.run()?;
//! recording.finish(None)?;
//!
//! let log = Log::open("guest.log".as_ref())?;
//! let bytes = log.image().to_vec();
//! let image = Image::parse(&bytes)?;
//! let builder = log.machine().apply(Vm::builder(&kvm, &image));
//! let (player, verdict) = log.play(&image)?;
//! let replayed = builder.tape(player).build()?.run()?;
//! assert_eq!(replayed.end, recorded.end);
//! assert!(matches!(verdict.get(), Verdict::Same));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod end;
mod entry;
mod error;
mod frame;
mod log;
mod play;
mod record;
mod redo;
mod words;

#[cfg(test)]
mod format_tests;

pub use entry::Machine;
pub use error::LogError;
pub use log::{Log, Source, State};
pub use play::{Found, Player, Verdict};
pub use record::{Recorder, Recording, record};
