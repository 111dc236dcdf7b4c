//! What can go wrong in the host itself, one enum a stage. What a guest does is never an
//! error: it is an [`End`](crate::End).
//!
//! This is a long file, since all messages stand in it: they are written, and read, together.

use crate::layout::{HOLE_START, IMAGE_MIN, MEMORY_MAX, MEMORY_MIN, MIB, PAGE, STACK_SIZE};
use crate::printable::Printable;
use std::io;
use std::path::PathBuf;

/// Any failure of the host's.
///
/// ```
/// use portcall::{Error, Image, Kvm, Vm};
///
/// fn run(bytes: &[u8]) -> Result<String, Error> {
///     let (kvm, image) = (Kvm::open()?, Image::parse(bytes)?);
///     Ok(Vm::builder(&kvm, &image).build()?.run()?.end.to_string())
/// }
///
/// let error = run(b"#!/bin/sh").expect_err("this is no image");
/// assert!(matches!(error, Error::Image(_)), "{error}");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image cannot be loaded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The guest's memory cannot be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// KVM is not there or did not do what was asked.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// A part of the configuration contradicts another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The image and the host define an interface differently.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// There is no snapshot, or it is not for this VM.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The console's sink did not take the guest's text.
    #[error("cannot write the guest's console output: {0}")]
    Console(#[source] io::Error),
    /// The input's source cannot be read.
    #[error("cannot read the guest's input: {0}")]
    Input(#[source] io::Error),
}

/// Why KVM cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// The device is not there.
    #[error(
        "{path} does not exist: this kernel offers no KVM. On bare metal load the module (modprobe \
         kvm_intel or kvm_amd) and enable virtualization in the firmware; in a virtual machine or \
         WSL 2 enable nested virtualization on its host; in a container pass --device /dev/kvm"
    )]
    Missing {
        /// The device's path.
        path: PathBuf,
    },
    /// The device is there, but not for us.
    #[error(
        "{path} cannot be opened: permission denied. Join its group (sudo usermod -aG kvm $USER, \
         then log in again), or ask the machine's administrator"
    )]
    Denied {
        /// The device's path.
        path: PathBuf,
    },
    /// The device cannot be opened, and no other file could.
    #[error("{path} cannot be opened: {source}: raise ulimit -n, or close some, or drop VMs")]
    TooManyFiles {
        /// The device's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The device cannot be opened for another reason.
    #[error(
        "{path} cannot be opened: {source}. If the node is there but no driver answers, load it \
         (modprobe kvm_intel or kvm_amd) and enable virtualization in the firmware"
    )]
    Open {
        /// The device's path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// What was opened is not KVM.
    #[error("{path} is not KVM: {reason}. Something else stands at that path: see ls -l {path}")]
    NotKvm {
        /// The device's path.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// KVM does not take an MSR's value.
    #[error(
        "KVM does not take {value:#x} for MSR {index:#x} (KVM_SET_MSRS), which the snapshot has. If \
         the VM was restored: its guest has set what stays set, so drop the VM, and make another. If \
         it is new: the snapshot was taken on another kernel"
    )]
    Msr {
        /// The MSR's number.
        index: u32,
        /// Its value in the snapshot.
        value: u64,
    },
    /// KVM does not let the host answer for model-specific registers.
    #[error(
        "this KVM leaves no model-specific registers to its host (KVM_CAP_X86_USER_SPACE_MSR, since \
         Linux 5.10): run a newer kernel, or make the VM without handlers for MSRs"
    )]
    NoMsrs,
    /// An instruction goes on making exits.
    #[error(
        "KVM does not come to the end of the instruction that the guest is in (KVM_RUN with \
         immediate_exit): drop this VM, and make another"
    )]
    Endless,
    /// An ioctl failed.
    #[error("{ioctl} failed: {source}{hint}", hint = hint(ioctl, source))]
    Ioctl {
        /// The ioctl's name in the KVM API documentation.
        ioctl: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread that [`Kvm::for_many`](crate::Kvm::for_many) asks for cannot be started.
    #[error(
        "no thread can be started to give VMs back: {source}. Raise ulimit -u, or the pids limit of \
         the cgroup, or go on without `for_many`"
    )]
    Thread {
        /// What the kernel said.
        source: io::Error,
    },
}

impl KvmError {
    /// The error of a failed ioctl.
    pub(crate) fn ioctl(ioctl: &'static str, error: kvm_ioctls::Error) -> Self {
        Self::Ioctl { ioctl, source: io::Error::from_raw_os_error(error.errno()) }
    }
}

/// What to do about a failed ioctl, where the kernel's word alone does not say it.
fn hint(ioctl: &str, source: &io::Error) -> &'static str {
    match (ioctl, source.raw_os_error()) {
        (_, Some(libc::ENOMEM)) => {
            " (the kernel is short of memory, or a limit is set: ulimit -v, cgroup)"
        }
        (_, Some(libc::EMFILE | libc::ENFILE)) => {
            " (too many open files: raise ulimit -n, or drop VMs)"
        }
        ("KVM_CREATE_VM", Some(libc::EBUSY)) => {
            " (another hypervisor, such as VirtualBox, holds the processor's virtualization)"
        }
        ("KVM_SET_USER_MEMORY_REGION", _) => " (try less memory)",
        _ => "",
    }
}

/// Why there is no snapshot, or no VM of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The guest will not run again.
    #[error("the guest has ended ({end}): a snapshot is of one that goes on")]
    Ended {
        /// How.
        end: String,
    },
    /// The VM has a tape.
    #[error("the VM is recorded or replayed, and a tape cannot go back: make it without one")]
    Taped,
    /// The VM is another.
    #[error(
        "the snapshot is of a VM that was made otherwise: the image, the memory, the arguments and the \
         windows have to be the same. Make a VM of the snapshot (Vm::from_snapshot)"
    )]
    OtherVm,
    /// A VM of a snapshot is as the snapshot has it.
    #[error(
        "the {what} of a VM that is made of a snapshot cannot be chosen: it is in the snapshot"
    )]
    Chosen {
        /// What was chosen.
        what: &'static str,
    },
    /// A handler is given for a window that its VM did not have.
    #[error(
        "the window {start:#x} to {end:#x} is not in the snapshot, which has {has}: it is a part of \
         the guest's page tables. Give the VM that window before the snapshot is taken"
    )]
    NoWindow {
        /// The window's first address.
        start: u64,
        /// The first behind it.
        end: u64,
        /// Those that it has, in words.
        has: String,
    },
    /// The memory cannot be mapped.
    #[error("cannot map the memory of a snapshot: {0}")]
    Show(#[source] io::Error),
    /// The memory cannot be copied.
    #[error("cannot keep a copy of the guest's memory: {0}")]
    Memory(#[source] io::Error),
    /// There are no random bytes.
    #[error("cannot reseed the guest: the kernel gives no random bytes: {0}")]
    Random(#[source] io::Error),
    /// The vCPU's state is not in the pieces that it is to be made of.
    #[error("the snapshot's vCPU cannot be made: {name}: {what}; take the snapshot again")]
    Vcpu {
        /// The piece.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A run of pages is not one.
    #[error("the snapshot's {size} bytes of memory at {at:#x} {what}; take the snapshot again")]
    Pages {
        /// Where they are to be.
        at: u64,
        /// How many bytes.
        size: u64,
        /// What is wrong with them.
        what: &'static str,
    },
    /// What the host is to remember of the guest contradicts its memory.
    #[error("the snapshot contradicts itself: {what}; take it again")]
    Contradiction {
        /// How.
        what: &'static str,
    },
}

/// Why a guest cannot have its memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Not a multiple of the page size.
    #[error("memory of {size} bytes is not whole pages; use a multiple of {PAGE}")]
    NotWholePages {
        /// Bytes asked for.
        size: u64,
    },
    /// Less than any guest can run in.
    #[error("memory of {size} bytes is too small; give at least {min} MiB", min = MEMORY_MIN / MIB)]
    TooSmall {
        /// Bytes asked for.
        size: u64,
    },
    /// More than a guest without CPUID can address.
    #[error(
        "memory of {size} bytes is more than a guest can address; give at most {max} bytes (63 GiB)",
        max = MEMORY_MAX
    )]
    TooLarge {
        /// Bytes asked for.
        size: u64,
    },
    /// Page tables, arguments and stack leave nothing for an image.
    #[error(
        "memory of {size} bytes has no room for page tables, arguments and a stack of {STACK_SIZE} \
         bytes; give more memory or shorter arguments"
    )]
    NoRoom {
        /// Bytes of the whole memory.
        size: u64,
    },
    /// The host's address space or a limit of the process does not allow it.
    #[error(
        "the host cannot map {size} bytes of guest memory: {reason}; give less memory, or raise \
         the limit (ulimit -v)"
    )]
    Map {
        /// Bytes asked for.
        size: u64,
        /// What the kernel said.
        reason: String,
    },
    /// A segment lies where there is no RAM.
    #[error(
        "the image wants {size:#x} bytes at guest-physical {start:#x}, but RAM ends at {ram_end:#x}; {}",
        more_memory(*start, *size)
    )]
    ImageOutsideRam {
        /// The segment's first address.
        start: u64,
        /// Its bytes.
        size: u64,
        /// The end of RAM.
        ram_end: u64,
    },
    /// A segment lies in the hole from 3 to 4 GiB.
    #[error(
        "the image wants {size:#x} bytes at guest-physical {start:#x}, which reaches into the hole \
         without RAM from 3 to 4 GiB; link it elsewhere"
    )]
    ImageInHole {
        /// The segment's first address.
        start: u64,
        /// Its bytes.
        size: u64,
    },
    /// A segment lies in the null page.
    #[error(
        "the image wants {size:#x} bytes at address {start:#x}, in the null page, which stays \
         unmapped; link it at {IMAGE_MIN:#x} or above"
    )]
    ImageInNullPage {
        /// The segment's first address.
        start: u64,
        /// Its bytes.
        size: u64,
    },
    /// A segment overlaps the host's own range.
    #[error(
        "the image wants {size:#x} bytes at address {start:#x}, which overlaps the host's own \
         range at the top of low RAM, {reserved_start:#x} to {reserved_end:#x}; give more memory \
         (--memory), or link the image lower"
    )]
    ImageInReserved {
        /// The segment's first address.
        start: u64,
        /// Its bytes.
        size: u64,
        /// First address of the host's own range.
        reserved_start: u64,
        /// First address after it.
        reserved_end: u64,
    },
    /// An access to guest memory that is not there.
    #[error("guest-physical {address:#x} to {address:#x}+{size:#x} is not all RAM")]
    NotRam {
        /// The access's first address.
        address: u64,
        /// Its bytes.
        size: u64,
    },
    /// An access to a guest-virtual address that is not mapped.
    #[error("guest-virtual {address:#x} is not mapped")]
    NotMapped {
        /// The address.
        address: u64,
    },
}

/// What to do for an image outside RAM: more memory, where that can help.
fn more_memory(start: u64, size: u64) -> String {
    // What the host itself needs besides the image, generously.
    let needed = start.saturating_add(size).saturating_add(2 * STACK_SIZE);
    if size > HOLE_START - MIB {
        return "no piece of RAM is that large; make its data smaller".to_owned();
    }
    if needed > HOLE_START {
        return "link it to guest-physical addresses below 3 GiB (p_paddr, AT() in a linker script)"
            .to_owned();
    }
    format!("give at least {} MiB of memory (--memory), or link it lower", needed.div_ceil(MIB))
}

/// Why a configuration cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two handlers, or a handler and the contract, want the same port.
    #[error("ports {start:#x} to {end:#x} cannot be served: {taken_by}; choose other ports")]
    PortsTaken {
        /// First port asked for.
        start: u16,
        /// Last port asked for.
        end: u16,
        /// Who has one of them.
        taken_by: &'static str,
    },
    /// There can be no window for a device there.
    #[error(
        "there can be no window for memory-mapped I/O from {start:#x} to {end:#x}: {why}; choose whole \
         pages between 0xc0000000 and 0x100000000 that are free"
    )]
    Window {
        /// Its first address.
        start: u64,
        /// The first behind it.
        end: u64,
        /// Why not.
        why: &'static str,
    },
    /// The host cannot answer for these model-specific registers.
    #[error("MSRs {start:#x} to {end:#x} cannot be served: {why}; choose others")]
    Msrs {
        /// The first asked for.
        start: u32,
        /// The last asked for.
        end: u32,
        /// Why not.
        why: &'static str,
    },
    /// Two interfaces, or one twice, want the same number.
    #[error(
        "the interfaces `{first}` and `{second}` have the same number, which is made of the name; \
         serve one of them only, or rename its trait"
    )]
    InterfaceTaken {
        /// The one that was there first.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// An argument for the guest has a NUL inside.
    #[error(
        "argument {argument:?} contains a NUL, which ends an argument in guest memory; remove it"
    )]
    ArgumentWithNul {
        /// The argument.
        argument: String,
    },
    /// The signal that ends `KVM_RUN` is already used.
    #[error(
        "signal {signal} already has a handler in this process; choose another with \
         portcall::stop::use_signal before the first VM is built"
    )]
    SignalTaken {
        /// The signal's number.
        signal: i32,
    },
    /// The signal can no longer be chosen.
    #[error("signal {installed} is in use already; choose the signal before the first VM is built")]
    SignalChosen {
        /// The signal's number.
        installed: i32,
    },
    /// The kernel refused the signal handler or the timer.
    #[error("{call} failed: {source} (timers count against ulimit -i)")]
    Signal {
        /// The system call.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why an image and a host do not go together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterfaceError {
    /// They define an interface differently.
    #[error(
        "the image and this host define the interface `{interface}` differently: {}. \
         Build both from the same definition",
        Printable(differences)
    )]
    Differs {
        /// The interface's name.
        interface: String,
        /// The calls that differ, and how.
        differences: String,
    },
    /// The image does not answer an interface.
    #[error(
        "the image does not answer the interface `{interface}`; name it in the guest's \
         entry!(main, serves = [...])"
    )]
    NotServed {
        /// The interface's name.
        interface: &'static str,
    },
}

/// Why an image cannot be loaded. Offsets and addresses are those of the ELF file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No bytes at all.
    #[error("the image is empty; give the ELF file that the guest was linked to")]
    Empty,
    /// Not an ELF file.
    #[error(
        "the image is not an ELF file (it starts with {magic:02x?}, not 7f 45 4c 46); give the file \
         that the guest was linked to"
    )]
    NotElf {
        /// The first bytes.
        magic: Vec<u8>,
    },
    /// Too short for the header it starts.
    #[error("the image ends inside its ELF header, after {size} bytes; it was cut short")]
    Truncated {
        /// The image's bytes.
        size: usize,
    },
    /// A kind of ELF that is not for us.
    #[error("the image is {what}; build it for {wanted}")]
    Unsupported {
        /// What it is.
        what: String,
        /// What would run.
        wanted: &'static str,
    },
    /// Needs a dynamic linker.
    #[error(
        "the image is dynamically linked ({what}); link it statically (-static or -static-pie)"
    )]
    Dynamic {
        /// How it shows.
        what: &'static str,
    },
    /// Nothing to load.
    #[error("the image has no PT_LOAD segment, so nothing to run; link it as an executable")]
    NoSegments,
    /// A table or segment is not inside the file.
    #[error(
        "{what} at file offset {offset:#x}, {size:#x} bytes, is not inside the file of {file:#x} \
         bytes; the file is damaged or cut short"
    )]
    OutOfFile {
        /// Which.
        what: &'static str,
        /// Its offset in the file.
        offset: u64,
        /// Its bytes.
        size: u64,
        /// The file's bytes.
        file: u64,
    },
    /// More bytes in the file than in memory.
    #[error(
        "the segment at {address:#x} has more bytes in the file ({file_size:#x}) than in memory \
         ({memory_size:#x}); the file is damaged"
    )]
    FileLargerThanMemory {
        /// The segment's address.
        address: u64,
        /// p_filesz.
        file_size: u64,
        /// p_memsz.
        memory_size: u64,
    },
    /// An address and a size that do not fit an address space.
    #[error(
        "the segment at {address:#x} with {size:#x} bytes does not fit an address space; mend the \
         linker script, or the file is damaged"
    )]
    AddressOverflow {
        /// The segment's address.
        address: u64,
        /// Its bytes.
        size: u64,
    },
    /// Against the ELF specification's rule for p_align, or not fit for paging.
    #[error("the segment at {address:#x} is wrongly aligned: {reason}; mend the linker script")]
    Misaligned {
        /// The segment's address.
        address: u64,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// Two segments claim the same memory.
    #[error("the segments at {first:#x} and {second:#x} overlap in memory; mend the linker script")]
    Overlap {
        /// One segment's address.
        first: u64,
        /// The other's.
        second: u64,
    },
    /// The entry is not in any segment.
    #[error(
        "the entry {entry:#x} is outside every segment; is the entry symbol (_start) defined? A shared \
         library (.so) has none: link an executable"
    )]
    EntryOutside {
        /// e_entry.
        entry: u64,
    },
    /// The entry is in a segment that cannot be executed.
    #[error("the entry {entry:#x} is in a segment that is not executable; mend the linker script")]
    EntryNotExecutable {
        /// e_entry.
        entry: u64,
    },
    /// A relocation outside the segments.
    #[error(
        "relocation {index} patches {address:#x}, which is outside every segment; the file is damaged"
    )]
    RelocationOutside {
        /// Its number in its table.
        index: usize,
        /// The address it patches.
        address: u64,
    },
    /// A relocation that only a dynamic linker or a C library's start-up could do.
    #[error(
        "relocation {index} is of type {kind}, which needs a dynamic linker or the C library's own \
         start-up; link with -static-pie or -static, and without a hosted C library (-nostdlib)"
    )]
    RelocationUnknown {
        /// Its number in its table.
        index: usize,
        /// The type's name or number.
        kind: String,
    },
    /// More relocations than the file has words.
    #[error(
        "the image has more than {most} packed relocations, more than it has words; the file is damaged"
    )]
    TooManyRelocations {
        /// The words in the file.
        most: usize,
    },
    /// The note says another version of the contract.
    #[error(
        "the image was built for version {image} of Portcall's contract, this host keeps version \
         {host}; rebuild the guest with this host's guest library"
    )]
    ContractVersion {
        /// What the note says.
        image: u32,
        /// What this host keeps.
        host: u32,
    },
    /// A note of ours that cannot be read.
    #[error("the image's Portcall note is damaged; rebuild the guest")]
    BadNote,
}
