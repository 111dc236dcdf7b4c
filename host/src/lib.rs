//! A VMM for bare-metal KVM guests, as a library.
//!
//! ```
//! use portcall::{Capture, End, Image, Kvm, Vm};
//!
//! // mov eax, 42; hlt. Usually: let bytes = std::fs::read("my-guest")?; Image::parse(&bytes)?
//! let image = Image::flat(&[0xb8, 42, 0, 0, 0, 0xf4])?;
//! let kvm = Kvm::open()?;
//! let text = Capture::new();
//! let mut vm = Vm::builder(&kvm, &image).memory(2 << 20).console(text.clone()).build()?; // 1-9
//! let outcome = vm.run()?; // 10-12
//! assert_eq!(outcome.end, End::Halted);
//! assert_eq!(outcome.registers.rax, 42);
//! # Ok::<(), portcall::Error>(())
//! ```
//!
//! The modules, read from top to bottom, are the life of a VM in twelve steps;
//! `builder` and `vm` put them in a straight line:
//!
//! | step | module | what it does |
//! | --- | --- | --- |
//! | 1 | [`kvm`], `builder` | open /dev/kvm, KVM_CREATE_VM, KVM_SET_TSS_ADDR |
//! | 2 | [`memory`] | mmap guest memory, KVM_SET_USER_MEMORY_REGION |
//! | 3 | `vcpu` | KVM_CREATE_VCPU |
//! | 4 | `vcpu` | KVM_GET_VCPU_MMAP_SIZE, map kvm_run |
//! | 5 | `builder` | KVM_GET_SREGS |
//! | 6 | [`address_space`], [`paging`], [`exception`] | long mode by hand |
//! | 7 | [`registers`] | the segments, KVM_SET_SREGS |
//! | 8 | [`registers`] | RIP, RSP and the general registers, KVM_SET_REGS |
//! | 9 | [`load`] | copy the image into memory |
//! | 10 | `vcpu`, [`exit`] | KVM_RUN |
//! | 11 | `vm`, [`ports`], [`mmio`], [`msrs`] | handle port reads and writes, and what else is asked |
//! | 12 | `vm`, [`outcome`] | KVM_GET_REGS, and what it came to |
//! | | `teardown` | the VM goes |
//!
//! The library never prints and never exits. What a guest does is an [`End`], never an error.
//! It installs a handler for one signal, SIGURG unless [`stop::use_signal`] says otherwise,
//! which ends KVM_RUN at a tick, a limit or a stop; threads that run VMs must not block it. It starts
//! no thread but the one that [`Kvm::for_many`] asks for.

pub mod layout;

pub mod segment;
pub mod elf;
pub mod sections;
pub mod note;
mod relocate;

pub mod kvm;
mod guarded;
pub mod memory;
pub mod sparse;
mod frozen;
mod vcpu;
mod state;
mod teardown;
pub mod registers;
pub mod address_space;
pub mod paging;
pub mod walk;
pub mod exception;
pub mod load;

pub mod exit;
mod table;
pub mod ports;
pub mod mmio;
pub mod msrs;
pub mod claims;
pub mod service;
pub mod stock;
mod answer;
mod describe;
pub mod door;
pub mod tape;
mod console;
mod input;
mod printable;
pub mod limit;
pub mod outcome;

mod builder;
mod vm;
mod view;
mod made_up;

pub mod snapshot;
pub mod parts;
pub mod ready;
pub mod restore;
mod touched;
mod selectors;
mod invariant;

mod bounds;
pub mod error;
pub mod generate;
pub mod observe;
pub mod stop;
pub mod sys;

pub use builder::Builder;
pub use console::Capture;
pub use door::{CallError, Door};
pub use elf::Image;
pub use error::Error;
pub use exception::Exception;
pub use exit::Exit;
pub use kvm::Kvm;
pub use layout::{Gpa, Gva};
pub use limit::Limit;
pub use memory::Memory;
pub use mmio::Mmio;
pub use msrs::Msrs;
pub use observe::{CallEvent, ExitEvent, Observer, Step};
pub use outcome::{Annotations, End, Outcome, Place, Stats};
pub use parts::Parts;
pub use ports::{Guest, Ports};
pub use printable::printable;
pub use registers::Ring;
pub use service::Service;
pub use snapshot::Snapshot;
pub use stop::Stopper;
pub use tape::Tape;
pub use vm::{Stop, Vm};

pub use abi;
pub use {kvm_bindings, kvm_ioctls};

/// Its examples are tested like the library's own.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
