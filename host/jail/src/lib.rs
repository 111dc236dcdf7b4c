//! Keeps a process that runs a guest to what it still needs, once its VM stands.
//!
//! A VMM reads what its guest wrote: memory, registers, addresses. Should a guest ever find a way
//! to take the VMM over, what it has then is this process as it is in the jail: its memory, the
//! files that it has open, and the system calls of one table.
//!
//! ```no_run
//! use jail::Jail;
//! use portcall::{Image, Kvm, Vm};
//!
//! let kvm = Kvm::open()?;
//! let bytes = std::fs::read("guest")?;
//! let image = Image::parse(&bytes)?;
//! let mut vm = Vm::builder(&kvm, &image).build()?;
//! // Everything that is written later is open by now.
//! Jail::new().read_beneath("/usr/src/guest").enter()?;
//! let outcome = vm.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There is no way out of it, for the whole process: it is not undone at the end of the run, and
//! no second VM can be built in it.
//!
//! # What it covers
//!
//! | by | whom | what |
//! | --- | --- | --- |
//! | seccomp | every thread, those that run already too | system calls that are not in the table fail with EPERM: no program is started, no process or thread made, traced or signalled, no socket, no open but for reading, no mapping that can be executed, no ioctl but those of a vCPU that runs |
//! | Landlock | the thread that enters, and those that it starts later | opens, but for reading beneath the named places; TCP; signals and abstract sockets to outside |
//! | no_new_privs | every thread | set-user-ID programs give nothing, even if one could be started |
//!
//! # What it does not cover
//!
//! - What is open already: descriptors can be read, written and cut as they were opened,
//!   inherited ones too, and the VM's memory belongs to the process.
//! - What files there are: statx(2) tells owner, size and times of any path that can be searched.
//! - Time and memory: nothing limits either. That is for cgroups, and for the VM's own limits.
//! - The kernel itself, above all KVM's part of it, which the guest and the calls of the table
//!   reach.
//! - Before Linux 6.2 Landlock knows nothing of cutting a file: in a jail with a place to write
//!   beneath, other files can be emptied by an open (which seccomp refuses in any other jail).
//! - A kernel without Landlock (older than 5.13, or with it turned off). No file at all can be
//!   opened there, and [`Covers::landlock`] says so.

mod calls;
mod error;
mod files;
mod filter;
mod support;
mod threads;

pub use error::JailError;
pub use support::{Support, support};

use std::ffi::c_long;
use std::path::PathBuf;

/// A jail in the making. As it is, no file can be opened in it.
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing before `enter`"]
pub struct Jail {
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    also: Vec<c_long>,
    beside_threads: bool,
    snapshots: bool,
    restores: bool,
    debugger: bool,
    traps: bool,
    renaming: Vec<PathBuf>,
}

/// What a jail that was entered covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Covers {
    /// The version of Landlock that keeps files to the named places; `None` where the kernel has
    /// none, and no file can be opened at all.
    pub landlock: Option<u32>,
}

impl Jail {
    /// One in which no file can be opened.
    pub fn new() -> Self {
        Self::default()
    }

    /// Files at this path, or beneath it, can be opened for reading. It has to be there when the
    /// jail is entered, and is what it is then: a directory that is renamed stays readable.
    pub fn read_beneath(mut self, path: impl Into<PathBuf>) -> Self {
        self.readable.push(path.into());
        self
    }

    /// Files at this path, or beneath it, can also be made and written, but not removed or renamed.
    pub fn write_beneath(mut self, path: impl Into<PathBuf>) -> Self {
        self.writable.push(path.into());
        self
    }

    /// Snapshots of the guest can be taken, and what is open already brought to the disk.
    pub const fn snapshots(mut self) -> Self {
        self.snapshots = true;
        self
    }

    /// VMs can be brought back to snapshots: their memory is shown anew, and all of their vCPU set,
    /// breakpoints too. They stand by then, since none can be made in the jail. Goes with
    /// [`snapshots`](Self::snapshots), where those are taken in it.
    pub const fn restores(mut self) -> Self {
        self.restores = true;
        self
    }

    /// The guest can be debugged: breakpoints and single steps, and all registers read and set. The
    /// debugger is connected by then.
    pub const fn debugger(mut self) -> Self {
        self.debugger = true;
        self
    }

    /// The guest can have breakpoints (KVM_SET_GUEST_DEBUG), and no more of what a
    /// [`debugger`](Self::debugger) does.
    pub const fn traps(mut self) -> Self {
        self.traps = true;
        self
    }

    /// In this directory files can be renamed, and so replaced, and removed: any of them, since
    /// Landlock knows directories and no names. It takes [`snapshots`](Self::snapshots) for the
    /// calls that do it.
    pub fn rename_beneath(mut self, directory: impl Into<PathBuf>) -> Self {
        self.renaming.push(directory.into());
        self
    }

    /// Lets a further system call through, with any arguments: `libc::SYS_...`. Threads are
    /// started by `SYS_clone3` (or `SYS_clone`), with `SYS_set_robust_list`, `SYS_rseq` and
    /// `SYS_sched_getaffinity`.
    pub fn also(mut self, call: c_long) -> Self {
        self.also.push(call);
        self
    }

    /// Enters although other threads run. Seccomp binds them all the same, Landlock does not:
    /// they open for reading what they like, and all they like where there is a
    /// [`write_beneath`](Self::write_beneath). They have to be well under way: what the C library
    /// does to start a thread is not in the table.
    pub const fn beside_threads(mut self) -> Self {
        self.beside_threads = true;
        self
    }

    /// Enters it: this thread for good, and with it the process.
    ///
    /// # Errors
    /// Other threads run already, a named place cannot be opened, or the kernel refuses. What
    /// came before the error stays in force.
    pub fn enter(&self) -> Result<Covers, JailError> {
        if !self.beside_threads {
            threads::alone()?;
        }
        let places = files::Places {
            readable: &self.readable,
            writable: &self.writable,
            renaming: &self.renaming,
        };
        let landlock = files::restrict(&places, !self.beside_threads)?;
        // Without Landlock nothing would keep opens to the named places.
        let (reading, writing) = match landlock {
            Some(_) => (!self.readable.is_empty(), !self.writable.is_empty()),
            None => (false, false),
        };
        let starts = |call: &c_long| matches!(*call, libc::SYS_clone3 | libc::SYS_clone);
        let threads = self.beside_threads || self.also.iter().any(starts);
        filter::install(&filter::Wanted {
            reading,
            writing,
            threads,
            snapshots: self.snapshots,
            restores: self.restores,
            debugger: self.debugger,
            traps: self.traps,
            also: &self.also,
        })?;
        Ok(Covers { landlock })
    }
}
