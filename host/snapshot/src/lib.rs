//! Snapshots of VMs in files: written so that there is never half of one, and read as what anyone
//! may have changed.
//!
//! ```no_run
//! use portcall::{Image, Kvm, Vm};
//!
//! let path = "guest.snapshot".as_ref();
//! let guest = std::fs::read("guest")?;
//! let image = Image::parse(&guest)?;
//! let kvm = Kvm::open()?;
//! let mut vm = Vm::builder(&kvm, &image).build()?;
//! snapshot::Target::create(path)?.write(&vm.snapshot()?, &guest)?;
//!
//! let (guest, saved) = snapshot::open(path)?;
//! let image = Image::parse(&guest)?;
//! let snapshot = saved.snapshot(&image)?;
//! let mut vm = Vm::from_snapshot(&kvm, &snapshot).build()?;
//! vm.reseed()?;
//! vm.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format
//!
//! The outer form is that of [`frame`]: a header of [`FORMAT`], and frames with checksums. The
//! frames are, in this order (postcard is the encoding of its name):
//!
//! | frame | content |
//! | --- | --- |
//! | the processor | a [`Cpu`], in postcard: it is compared before anything else is read |
//! | the image | the guest's whole ELF file, as it is |
//! | the machine | memory, ring, arguments, windows, the vCPU's state and what the host keeps of the guest: [`Parts`](portcall::Parts), in postcard |
//! | pages, any number of times | 8 bytes of guest-physical address, little-endian, then whole pages, at most 512 KiB; in order. What is left out is zero |
//! | the end | nothing |
//!
//! A file without its end was cut short. Each flipped bit, and each frame that is lost, doubled or
//! moved, is found by the checksums, but nothing says who wrote a file: its checksums can be made
//! right by anyone. What is in it is therefore checked by
//! [`Snapshot::assemble`](portcall::Snapshot::assemble) and by KVM, as claims; a file from someone
//! else decides what the guest does, as an image from someone else would.
//!
//! # Where it can be read
//!
//! On a machine with the same processor: vendor, family, model and stepping, and the same features
//! in its extended state (XCR0). What a guest has found out about its processor, and the form of its
//! state, would be false elsewhere. A KVM that does not have one of the snapshot's MSRs says so when
//! a VM is made of it.

mod content;
mod cpu;
mod error;
mod read;
mod write;

pub use cpu::Cpu;
pub use error::FileError;
pub use read::{Saved, is_snapshot, open, read};
pub use write::{Target, write_for};

use frame::Format;

/// The format of the files, and its version. Files of version 1 have no windows, and do not tell
/// exits by accesses to model-specific registers from others.
pub const FORMAT: Format = Format { magic: *b"\x89PCSNAP\n", version: 2, oldest: 1 };

/// The most that a frame may have: a processor; an image; a machine; pages with their address.
const CPU_MAX: u64 = 256;
const IMAGE_MAX: u64 = 1 << 30;
const MACHINE_MAX: u64 = 4 << 20;
const PAGES: usize = 512 << 10;
const PAGES_MAX: u64 = PAGES as u64 + 8;
