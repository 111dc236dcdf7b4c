//! A VM at one moment, to go back to, or to make others of.
//!
//! ```
//! use portcall::{Image, Kvm, Vm};
//!
//! // Adds 1 to a word in its memory, and halts.
//! let code = [0x48, 0xff, 0x05, 0xf9, 0x0f, 0x00, 0x00, 0xf4];
//! let image = Image::flat(&code)?;
//! let kvm = Kvm::open()?;
//! let mut vm = Vm::builder(&kvm, &image).memory(2 << 20).build()?;
//! let fresh = vm.snapshot()?;
//! let word = portcall::Gpa((1 << 20) + 0x1000);
//! for _ in 0..3 {
//!     vm.run()?;
//!     assert_eq!(vm.memory().load_u64(word)?, 1);
//!     vm.restore(&fresh)?;
//! }
//! let mut other = Vm::from_snapshot(&kvm, &fresh).build()?;
//! other.run()?;
//! # Ok::<(), portcall::Error>(())
//! ```
//!
//! # What is in it
//!
//! The guest's memory, and all that KVM lets one read and set of its vCPU: general, segment,
//! control and table registers, floating-point and vector state, extended control registers, debug
//! registers, MSRs, pending events; and the windows of [devices](crate::mmio), which its page tables
//! map. Of the host's devices: the console window's indexes, and which
//! call the guest has answered last. Of the stock interface: where the guest is to be
//! [reseeded](Vm::reseed), what its clock said last, and how many exits it has made. The time stamp
//! counter goes on from where it was in a VM that is made of the snapshot, and runs on in one that is
//! restored: turned back, it would be the one clock that is.
//!
//! Not in it: what handlers, services, sinks and sources keep, which are the host's own, and the
//! annotations and the host's counts and limits, which begin anew.

use crate::elf::Image;
use crate::error::{Error, SnapshotError};
use crate::frozen::Frozen;
use crate::invariant::Invariant;
use crate::layout::Layout;
use crate::note::Notes;
use crate::outcome::End;
use crate::ready::Kept;
use crate::registers::Ring;
use crate::segment::Segment;
use crate::sparse::Pagemap;
use crate::state::State;
use crate::vm::{Stop, Vm};
use crate::{load, mmio, paging};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// What a VM was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Bytes of RAM.
    pub(crate) memory: u64,
    /// The ring that the guest started in.
    pub(crate) ring: Ring,
    pub(crate) arguments: Vec<String>,
    /// What its image says of itself.
    pub(crate) notes: Notes,
    pub(crate) layout: Layout,
    /// The image's, of which the address space is made.
    pub(crate) segments: Vec<Segment>,
}

impl Origin {
    /// For an image that was not loaded before.
    pub(crate) fn of(
        image: &Image<'_>,
        memory: u64,
        ring: Ring,
        arguments: Vec<String>,
        windows: &[Range<u64>],
    ) -> Result<Self, Error> {
        let block = load::argument_block(&arguments)?;
        let windows = mmio::windows(windows, image.segments())?;
        let tables =
            paging::tables_bound(memory, image.segments()) + paging::windows_bound(&windows);
        let notes = image.notes().clone();
        let mailbox = if notes.serves.is_empty() { 0 } else { abi::mailbox::SIZE };
        let layout = Layout::new(memory, tables, block.len() as u64, mailbox)?;
        let layout = Layout { windows, ..layout };
        load::check(image, &layout)?;
        Ok(Self { memory, ring, arguments, notes, layout, segments: image.segments().to_vec() })
    }
}

/// A VM at one moment. Clones are the same snapshot.
///
/// ```
/// use portcall::{End, Image, Kvm, Vm};
///
/// // inc eax; hlt; jmp to the first
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xff, 0xc0, 0xf4, 0xeb, 0xfb])?);
/// let mut vm = Vm::builder(&kvm, &image).build()?;
/// let fresh = vm.snapshot()?;
/// let first = vm.run()?;
/// assert_eq!(first.end, End::Halted);
/// vm.restore(&fresh)?;
/// assert_eq!(vm.run()?.registers.rax, first.registers.rax);
/// // And another VM that begins there.
/// assert_eq!(Vm::from_snapshot(&kvm, &fresh).build()?.run()?.registers.rax, first.registers.rax);
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) origin: Origin,
    pub(crate) state: State,
    pub(crate) frozen: Arc<Frozen>,
    /// How much text the host had taken from the console window.
    pub(crate) taken: u64,
    /// What the guest had said when it last came to wait for a call.
    pub(crate) answered: u32,
    /// Whether it stood there, waiting: not known of one that came from a file.
    pub(crate) waits: bool,
    /// What the stock interface keeps of the guest.
    pub(crate) kept: Kept,
    /// Found when the first VM was restored to it.
    pub(crate) invariant: OnceLock<Option<Invariant>>,
}

impl Snapshot {
    /// Bytes of RAM of the VM.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.0.origin.memory
    }

    /// The ring that the guest started in.
    #[must_use]
    pub fn ring(&self) -> Ring {
        self.0.origin.ring
    }

    /// The guest's arguments.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.0.origin.arguments
    }

    /// The windows of memory-mapped I/O, in order.
    #[must_use]
    pub fn windows(&self) -> &[Range<u64>] {
        &self.0.origin.layout.windows
    }

    /// Bytes of memory that are not zero, whole pages: what it takes itself, once for all VMs.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.frozen.runs().iter().map(|run| run.end - run.start).sum()
    }
}

impl Vm {
    /// Takes the VM as it is now: after it was built, between two [`step`](Self::step)s, or after an
    /// end behind which the guest goes on ([`End::Halted`] in ring 0, [`End::Serving`], a limit, a
    /// stop). Text that was printed is handed on first, and the instruction of an exit is completed.
    ///
    /// # Errors
    /// The guest has ended for good; the VM is recorded; the kernel has no memory for a copy.
    pub fn snapshot(&mut self) -> Result<Snapshot, Error> {
        self.snapshot_with(&Pagemap::open())
    }

    /// The same with a [`Pagemap`] that was opened before, for those who can open no more files.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn snapshot_with(&mut self, pagemap: &Pagemap) -> Result<Snapshot, Error> {
        if self.tape.is_some() {
            return Err(SnapshotError::Taped.into());
        }
        if let Some(end) = self.end.as_ref().filter(|_| !self.can_go_on()) {
            return Err(SnapshotError::Ended { end: end.to_string() }.into());
        }
        self.complete()?;
        self.leave_trap()?;
        self.hand_on()?;
        self.console.publish(&self.memory);
        let state = State::read(&self.kvm, &self.vcpu.fd)?;
        let ram = &self.origin.layout.ram;
        let frozen = Frozen::of(&self.memory, ram, pagemap).map_err(SnapshotError::Memory)?;
        Ok(Snapshot(Arc::new(Inner {
            origin: self.origin.clone(),
            state,
            frozen: Arc::new(frozen),
            taken: self.console.taken(),
            answered: self.answered,
            waits: self.end == Some(End::Serving),
            kept: self.kept.now(&self.stats),
            invariant: OnceLock::new(),
        })))
    }

    /// Whether the guest has something left to do, should the host let it.
    fn can_go_on(&self) -> bool {
        let goes_on = |end: &End| {
            matches!(end, End::Halted | End::Serving | End::LimitReached(_) | End::Stopped)
        };
        let is_caught = self.fault.is_some() && !self.traps.is_in_one();
        !is_caught && self.end.as_ref().is_none_or(goes_on)
    }

    /// Completes the instruction of the last exit, which KVM does at the next KVM_RUN else: an IN has
    /// its value in RAX then, and RIP is behind it. One that makes an exit for each of its elements
    /// makes them all, and each is answered. Nothing where there is nothing to complete.
    ///
    /// # Errors
    /// The guest came to an end in it, or an ioctl failed.
    pub fn complete(&mut self) -> Result<(), Error> {
        while let Some(exit) = self.vcpu.complete()? {
            if let Stop::End(end) = self.answered(exit, None)? {
                return Err(SnapshotError::Ended { end: end.to_string() }.into());
            }
        }
        Ok(())
    }
}
