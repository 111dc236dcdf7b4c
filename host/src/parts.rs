//! What a snapshot consists of, for whoever keeps it elsewhere: bytes and numbers, and back.
//!
//! ```
//! use portcall::{Image, Kvm, Snapshot, Vm};
//!
//! let image = Image::flat(&[0xf4])?;
//! let kvm = Kvm::open()?;
//! let snapshot = Vm::builder(&kvm, &image).memory(2 << 20).build()?.snapshot()?;
//! let mut assembly = Snapshot::assemble(&image, snapshot.parts())?;
//! for (gpa, pages) in snapshot.pages() {
//!     assembly.put(gpa, pages)?;
//! }
//! let other = assembly.finish()?;
//! assert_eq!(other.parts(), snapshot.parts());
//! # Ok::<(), portcall::Error>(())
//! ```
//!
//! All that comes back is a claim. What the host itself relies on is checked here; what is the
//! processor's state is KVM's to check when it is set, and what is the guest's memory may be
//! anything, as it may be in any guest. So whoever makes up a snapshot decides what the guest does,
//! and no more.

use crate::elf::Image;
use crate::error::{Error, SnapshotError};
use crate::frozen::{Freezer, Frozen};
use crate::layout::{Gpa, Layout, PAGE};
use crate::ready::{Exits, Kept, Piece};
use crate::registers::Ring;
use crate::snapshot::{Inner, Origin, Snapshot};
use crate::state::{MSRS_MAX, State};
use abi::console::READ_INDEX;
use abi::host::SEED_MAX;
use kvm_bindings::{
    KVM_MP_STATE_RUNNABLE, kvm_debugregs, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs,
};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use vm_memory::ByteValued;

/// Bytes of an MSR: its number, 4, and its value, 8, little-endian.
const MSR: usize = 12;

/// All of a snapshot but its image and its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Bytes of RAM.
    pub memory: u64,
    /// The ring that the guest started in.
    pub ring: Ring,
    /// The guest's arguments.
    pub arguments: Vec<String>,
    /// The windows of memory-mapped I/O: guest-physical addresses.
    pub windows: Vec<Range<u64>>,
    /// Bytes of text that were ever taken from the console window: its read index.
    pub console: u64,
    /// What the guest had said when it last came to wait for a call.
    pub answered: u32,
    /// What its clock said last, in nanoseconds.
    pub clock: u64,
    /// How many exits of each kind it has made.
    pub exits: Exits,
    /// Where it is to be [reseeded](crate::Vm::reseed); at most [`SEED_MAX`] bytes.
    pub seed: Option<Vec<Piece>>,
    /// The vCPU's state by the names of KVM's structures, each as the KVM API documentation has it
    /// for x86-64: `regs`, `sregs`, `xsave` (its first 4 KiB), `xcrs`, `debugregs`, `events`,
    /// `mp_state`; and `msrs`, 12 bytes each, number and value, little-endian.
    pub vcpu: Vec<(String, Vec<u8>)>,
}

impl Snapshot {
    /// All of it but the image and the memory.
    #[must_use]
    pub fn parts(&self) -> Parts {
        let (origin, kept) = (&self.0.origin, &self.0.kept);
        Parts {
            memory: origin.memory,
            ring: origin.ring,
            arguments: origin.arguments.clone(),
            windows: origin.layout.windows.clone(),
            console: self.0.taken,
            answered: self.0.answered,
            clock: kept.told,
            exits: kept.exits,
            seed: kept.seed.clone(),
            vcpu: pieces(&self.0.state),
        }
    }

    /// The memory that is not zero: runs of whole pages by guest-physical address, in order.
    pub fn pages(&self) -> impl Iterator<Item = (Gpa, &[u8])> {
        let frozen = &self.0.frozen;
        frozen.runs().iter().filter_map(|run| Some((Gpa(run.start), frozen.bytes(run)?)))
    }

    /// Begins to put a snapshot together, of a VM that was made of this image. Its memory is zero
    /// so far.
    ///
    /// # Errors
    /// The image does not go with so much memory, such arguments or windows; a piece of the vCPU is
    /// missing, too many, or makes no sense; the seed is not in RAM or too large; the kernel has no
    /// room for the memory.
    pub fn assemble(image: &Image<'_>, parts: Parts) -> Result<Assembly, Error> {
        let state = state(&parts.vcpu)?;
        let Parts { memory, ring, arguments, windows, .. } = parts;
        let origin = Origin::of(image, memory, ring, arguments, &windows)?;
        check_seed(parts.seed.as_deref().unwrap_or_default(), &origin.layout)?;
        let freezer = Freezer::new(&origin.layout.ram).map_err(SnapshotError::Memory)?;
        let (taken, answered) = (parts.console, parts.answered);
        let kept = Kept::of(parts.seed, parts.clock, parts.exits);
        Ok(Assembly { origin, state, freezer, taken, answered, kept, end: 0 })
    }
}

/// A snapshot that is being put together.
#[derive(Debug)]
pub struct Assembly {
    origin: Origin,
    state: State,
    freezer: Freezer,
    taken: u64,
    answered: u32,
    kept: Kept,
    /// Where the last run of pages ended.
    end: u64,
}

impl Assembly {
    /// Adds whole pages of memory. They come in order.
    ///
    /// # Errors
    /// They are not whole pages, not behind those before, or not in RAM; the kernel has no room.
    pub fn put(&mut self, gpa: Gpa, pages: &[u8]) -> Result<(), Error> {
        let (at, size) = (gpa.0, pages.len() as u64);
        let wrong = |what| Err(SnapshotError::Pages { at, size, what }.into());
        if !at.is_multiple_of(PAGE) || !size.is_multiple_of(PAGE) || size == 0 {
            return wrong("are not whole pages");
        }
        if at < self.end {
            return wrong("are not behind those that came before");
        }
        let Some(range) = in_ram(&self.origin.layout, at, size) else {
            return wrong("are not in RAM");
        };
        self.freezer.put(gpa, pages).map_err(SnapshotError::Memory)?;
        self.end = range.end;
        Ok(())
    }

    /// All pages are there.
    ///
    /// # Errors
    /// The console window's read index is not what it has to be; the kernel cannot map the memory.
    pub fn finish(self) -> Result<Snapshot, Error> {
        let frozen = self.freezer.seal().map_err(SnapshotError::Memory)?;
        if read_index(&frozen, &self.origin.layout) != self.taken {
            let what = "the console window has another read index than the host";
            return Err(SnapshotError::Contradiction { what }.into());
        }
        Ok(Snapshot(Arc::new(Inner {
            origin: self.origin,
            state: self.state,
            frozen: Arc::new(frozen),
            taken: self.taken,
            answered: self.answered,
            waits: false,
            kept: self.kept,
            invariant: OnceLock::new(),
        })))
    }
}

/// So many bytes from there on, if they are in one range of RAM.
fn in_ram(layout: &Layout, at: u64, size: u64) -> Option<Range<u64>> {
    let range = at..at.checked_add(size)?;
    layout.ram.iter().any(|ram| ram.start <= range.start && range.end <= ram.end).then_some(range)
}

fn check_seed(seed: &[Piece], layout: &Layout) -> Result<(), SnapshotError> {
    let wrong = |what| Err(SnapshotError::Contradiction { what });
    let size = seed.iter().try_fold(0, |sum: u64, piece| sum.checked_add(piece.size));
    if size.is_none_or(|size| size > SEED_MAX) {
        return wrong("the seed is larger than any may be");
    }
    let is_one =
        |piece: &Piece| piece.size > 0 && in_ram(layout, piece.gpa.0, piece.size).is_some();
    if seed.iter().all(is_one) { Ok(()) } else { wrong("the seed is not in RAM") }
}

/// How much of its text the guest sees as taken. A page that is not there is zero.
fn read_index(frozen: &Frozen, layout: &Layout) -> u64 {
    let at = layout.window() + READ_INDEX;
    let bytes = frozen.bytes(&(at..at + 8)).and_then(|bytes| bytes.first_chunk().copied());
    bytes.map_or(0, u64::from_le_bytes)
}

/// A structure of KVM's, which any bytes are one of.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);

/// Each of them consists of integers alone, and has its padding as fields of its own: its size is
/// the sum of theirs, which is given here.
macro_rules! plain {
    ($($structure:ty: $size:expr;)*) => {$(
        const _: () = assert!(size_of::<$structure>() == $size);
        // SAFETY: integers may have any bytes, and the structure has no others: no padding, which
        // the size shows, nor pointers. It is Copy, and so Send and Sync.
        unsafe impl ByteValued for Plain<$structure> {}
    )*};
}

plain! {
    kvm_regs: 18 * 8;
    // Eight segments and two tables, of 24 and 16 bytes; CR0 to CR4, CR8, EFER, APIC base; a bitmap.
    kvm_sregs: 8 * (8 + 4 + 2 + 10) + 2 * (8 + 4 * 2) + 7 * 8 + 4 * 8;
    kvm_xcrs: 2 * 4 + 16 * (2 * 4 + 8) + 16 * 8;
    kvm_debugregs: 16 * 8;
    // Exception, interrupt, NMI; SIPI vector and flags; SMI, triple fault, reserved; the payload.
    kvm_vcpu_events: 8 + 4 + 4 + 2 * 4 + 4 + 1 + 26 + 1 + 8;
    kvm_mp_state: 4;
}

/// The state, piece by piece.
fn pieces(state: &State) -> Vec<(String, Vec<u8>)> {
    let msr = |msr: &kvm_msr_entry| {
        msr.index.to_le_bytes().into_iter().chain(msr.data.to_le_bytes()).collect::<Vec<u8>>()
    };
    let pieces = [
        ("regs", Plain(state.regs).as_slice().to_vec()),
        ("sregs", Plain(state.sregs).as_slice().to_vec()),
        ("xsave", state.xsave.iter().flat_map(|word| word.to_le_bytes()).collect()),
        ("xcrs", Plain(state.xcrs).as_slice().to_vec()),
        ("debugregs", Plain(state.debug).as_slice().to_vec()),
        ("events", Plain(state.events).as_slice().to_vec()),
        ("mp_state", Plain(state.mp_state).as_slice().to_vec()),
        ("msrs", state.msrs.iter().flat_map(msr).collect()),
    ];
    pieces.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect()
}

fn wrong(name: &str, what: impl Into<String>) -> SnapshotError {
    SnapshotError::Vcpu { name: name.to_owned(), what: what.into() }
}

/// The state that the pieces are, each of which is there once.
fn state(pieces: &[(String, Vec<u8>)]) -> Result<State, SnapshotError> {
    const NAMES: usize = 8;
    if pieces.len() > NAMES {
        return Err(wrong("its pieces", format!("there are {}, and not {NAMES}", pieces.len())));
    }
    let mut xsave = Box::new([0; 1024]);
    let bytes = sized(pieces, "xsave", size_of_val(&*xsave))?;
    for (word, bytes) in xsave.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let events: kvm_vcpu_events = structure(pieces, "events")?;
    if events.smi.smm != 0 {
        return Err(wrong("events", "it is in system management mode, which no guest comes to"));
    }
    let mp_state: kvm_mp_state = structure(pieces, "mp_state")?;
    if mp_state.mp_state != KVM_MP_STATE_RUNNABLE {
        return Err(wrong("mp_state", format!("{} is no vCPU that runs", mp_state.mp_state)));
    }
    Ok(State {
        regs: structure(pieces, "regs")?,
        sregs: structure(pieces, "sregs")?,
        xsave,
        xcrs: structure(pieces, "xcrs")?,
        debug: structure(pieces, "debugregs")?,
        events,
        mp_state,
        msrs: msrs(find(pieces, "msrs")?)?,
    })
}

fn find<'p>(pieces: &'p [(String, Vec<u8>)], name: &str) -> Result<&'p [u8], SnapshotError> {
    let mut found = pieces.iter().filter(|(piece, _)| piece == name);
    match (found.next(), found.next()) {
        (Some((_, bytes)), None) => Ok(bytes),
        (None, _) => Err(wrong(name, "it is missing")),
        _ => Err(wrong(name, "it is there twice")),
    }
}

fn sized<'p>(
    pieces: &'p [(String, Vec<u8>)],
    name: &str,
    size: usize,
) -> Result<&'p [u8], SnapshotError> {
    let bytes = find(pieces, name)?;
    let what = || format!("it has {} bytes, and not {size}", bytes.len());
    if bytes.len() == size { Ok(bytes) } else { Err(wrong(name, what())) }
}

fn structure<T: Default>(pieces: &[(String, Vec<u8>)], name: &str) -> Result<T, SnapshotError>
where
    Plain<T>: ByteValued,
{
    let mut structure = Plain(T::default());
    structure.as_mut_slice().copy_from_slice(sized(pieces, name, size_of::<T>())?);
    Ok(structure.0)
}

fn msrs(bytes: &[u8]) -> Result<Vec<kvm_msr_entry>, SnapshotError> {
    let (msrs, rest) = bytes.as_chunks::<MSR>();
    if !rest.is_empty() {
        return Err(wrong("msrs", format!("{} bytes are no whole MSRs", bytes.len())));
    }
    if msrs.len() > MSRS_MAX {
        return Err(wrong("msrs", format!("there are {}, and at most {MSRS_MAX}", msrs.len())));
    }
    let msr = |[a, b, c, d, value @ ..]: &[u8; MSR]| kvm_msr_entry {
        index: u32::from_le_bytes([*a, *b, *c, *d]),
        data: u64::from_le_bytes(*value),
        ..kvm_msr_entry::default()
    };
    Ok(msrs.iter().map(msr).collect())
}
