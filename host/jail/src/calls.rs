//! The system calls that a process which runs a guest still needs, each with its reason.
//!
//! Found by measurement: strace over every kind of run (good, panicked with a backtrace, each
//! `--emit`, steps and counters, expectations, limits, input from pipes and terminals, signals,
//! replays, hosts with handlers), from the first KVM_RUN to the end of the process. A test of the
//! command line runs them again and fails where one is refused. What only hosts with threads were
//! seen to call, or may, is let through for them alone.

use When::{Always, OneOf, Opening, OwnProcess, Without};
use std::ffi::{c_int, c_long, c_uint};

/// A system call, and when it is let through.
pub(crate) struct Call {
    pub(crate) number: c_long,
    pub(crate) when: When,
    pub(crate) whose: Whose,
}

/// Which processes make a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    All,
    /// Those with other threads, or that may have them: a lone one makes no such call.
    Threads,
    /// Those that take a snapshot, and put it into a file.
    Snapshots,
    /// Those whose guest is debugged.
    Debuggers,
    /// Those whose guest has breakpoints that nobody steps over.
    Traps,
    /// Those that take a snapshot of a guest with breakpoints.
    Both,
    /// Those that bring a VM back to a snapshot.
    Restores,
}

/// What an argument has to be; numbered from 0, and compared as the 32 bits that the kernel takes.
#[derive(Clone, Copy)]
pub(crate) enum When {
    Always,
    /// One of these, the most frequent first.
    OneOf(u8, &'static [c_uint]),
    /// None of these bits.
    Without(u8, c_uint),
    /// This process's id.
    OwnProcess(u8),
    /// As `Without`, and only where the jail has places to read beneath; any where it has some
    /// to write beneath.
    Opening(u8, c_uint),
}

/// `_IO(KVMIO, nr)`, `_IOR` and `_IOW` as Linux builds them (include/uapi/asm-generic/ioctl.h).
const KVM_RUN: c_uint = 0xae80;
const KVM_GET_REGS: c_uint = 0x8090_ae81;
const KVM_SET_REGS: c_uint = 0x4090_ae82;
const KVM_GET_SREGS: c_uint = 0x8138_ae83;
/// TCGETS2, by which newer C libraries tell a terminal; libc has it with another type.
const TCGETS2: c_uint = 0x802c_542a;

/// Requests of ioctl(2).
const REQUESTS: &[c_uint] = &[
    KVM_RUN,       // the guest's way on
    KVM_GET_REGS,  // at its end, and at calls where KVM leaves none in the mapping
    KVM_GET_SREGS, // how it sees its memory
    KVM_SET_REGS,  // the results of such calls
    0x5401,        // TCGETS: whether stderr takes colours
    TCGETS2,       // the same
];

/// The requests of every run, and these.
macro_rules! with_requests {
    ($($request:expr),* $(,)?) => {
        &[KVM_RUN, KVM_GET_REGS, KVM_GET_SREGS, KVM_SET_REGS, 0x5401, TCGETS2, $($request),*]
    };
}

const KVM_GET_MSR_INDEX_LIST: c_uint = 0xc004_ae02;
const KVM_GET_MSRS: c_uint = 0xc008_ae88;
const KVM_SET_MSRS: c_uint = 0x4008_ae89;
const KVM_GET_MP_STATE: c_uint = 0x8004_ae98;
const KVM_GET_VCPU_EVENTS: c_uint = 0x8040_ae9f;
const KVM_GET_DEBUGREGS: c_uint = 0x8080_aea1;
const KVM_GET_XSAVE: c_uint = 0x9000_aea4;
const KVM_GET_XCRS: c_uint = 0x8188_aea6;
const KVM_SET_SREGS: c_uint = 0x4138_ae84;
const KVM_GET_FPU: c_uint = 0x81a0_ae8c;
const KVM_SET_FPU: c_uint = 0x41a0_ae8d;
const KVM_SET_GUEST_DEBUG: c_uint = 0x4048_ae9b;

/// The same where a snapshot is taken, with all that reads a vCPU; and KVM_SET_MSRS, by which it is
/// found out which MSRs can be set.
const SNAPSHOT_REQUESTS: &[c_uint] = with_requests![
    KVM_GET_MSR_INDEX_LIST,
    KVM_GET_MSRS,
    KVM_SET_MSRS,
    KVM_GET_MP_STATE,
    KVM_GET_VCPU_EVENTS,
    KVM_GET_DEBUGREGS,
    KVM_GET_XSAVE,
    KVM_GET_XCRS,
];

/// The same where the guest is debugged: breakpoints and steps, and the registers that gdb knows.
const DEBUGGER_REQUESTS: &[c_uint] =
    with_requests![KVM_SET_GUEST_DEBUG, KVM_GET_FPU, KVM_SET_FPU, KVM_SET_SREGS];

/// The same where the guest has breakpoints and no debugger.
const TRAP_REQUESTS: &[c_uint] = with_requests![KVM_SET_GUEST_DEBUG];

/// The same for both at once.
const BOTH_REQUESTS: &[c_uint] = with_requests![
    KVM_SET_GUEST_DEBUG,
    KVM_GET_FPU,
    KVM_SET_FPU,
    KVM_SET_SREGS,
    KVM_GET_MSR_INDEX_LIST,
    KVM_GET_MSRS,
    KVM_SET_MSRS,
    KVM_GET_MP_STATE,
    KVM_GET_VCPU_EVENTS,
    KVM_GET_DEBUGREGS,
    KVM_GET_XSAVE,
    KVM_GET_XCRS,
];

const KVM_SET_USER_MEMORY_REGION: c_uint = 0x4020_ae46;
const KVM_GET_DIRTY_LOG: c_uint = 0x4010_ae42;
const KVM_CLEAR_DIRTY_LOG: c_uint = 0xc018_aec0;
const KVM_SET_MP_STATE: c_uint = 0x4004_ae99;
const KVM_SET_VCPU_EVENTS: c_uint = 0x4040_aea0;
const KVM_SET_DEBUGREGS: c_uint = 0x4080_aea2;
const KVM_SET_XSAVE: c_uint = 0x5000_aea5;
const KVM_SET_XCRS: c_uint = 0x4188_aea7;
const KVM_ENABLE_CAP: c_uint = 0x4068_aea3;

/// The same where VMs are brought back to a snapshot that is taken, with breakpoints or without: their
/// memory and all of their vCPU; and KVM_ENABLE_CAP, by which the log of written pages stays until it is
/// cleared.
const RESTORE_REQUESTS: &[c_uint] = with_requests![
    KVM_GET_DIRTY_LOG,
    KVM_CLEAR_DIRTY_LOG,
    KVM_SET_XSAVE,
    KVM_SET_SREGS,
    KVM_SET_USER_MEMORY_REGION,
    KVM_ENABLE_CAP,
    KVM_SET_MP_STATE,
    KVM_SET_VCPU_EVENTS,
    KVM_SET_DEBUGREGS,
    KVM_SET_XCRS,
    KVM_SET_GUEST_DEBUG,
    KVM_GET_FPU,
    KVM_SET_FPU,
    KVM_GET_MSR_INDEX_LIST,
    KVM_GET_MSRS,
    KVM_SET_MSRS,
    KVM_GET_MP_STATE,
    KVM_GET_VCPU_EVENTS,
    KVM_GET_DEBUGREGS,
    KVM_GET_XSAVE,
    KVM_GET_XCRS,
];

/// A mapping that can be executed is what code that was smuggled in would need.
const EXECUTABLE: c_uint = bits(libc::PROT_EXEC);

/// What makes an open more than reading (open(2)). O_TMPFILE has O_DIRECTORY's bit, which reads.
const WRITING: c_uint = bits(
    libc::O_ACCMODE
        | libc::O_CREAT
        | libc::O_TRUNC
        | libc::O_APPEND
        | (libc::O_TMPFILE & !libc::O_DIRECTORY),
);

/// The commands of fcntl(2): a further descriptor of the same open file, (where std checks
/// what it closes) whether it is open, and a lock on a byte of /dev/kvm, by which a VM's end is left
/// to the kernel. F_SETOWN and F_SETFL could send signals.
const COMMANDS: &[c_uint] =
    &[bits(libc::F_DUPFD_CLOEXEC), bits(libc::F_GETFD), bits(libc::F_OFD_SETLK)];

/// The same where a snapshot is taken: F_ADD_SEALS, so that nobody changes its memory any more.
const SNAPSHOT_COMMANDS: &[c_uint] = &[
    bits(libc::F_DUPFD_CLOEXEC),
    bits(libc::F_GETFD),
    bits(libc::F_OFD_SETLK),
    bits(libc::F_ADD_SEALS),
];

const fn bits(value: c_int) -> c_uint {
    value.cast_unsigned()
}

const fn call(number: c_long, when: When) -> Call {
    Call { number, when, whose: Whose::All }
}

const fn of_threads(number: c_long, when: When) -> Call {
    Call { number, when, whose: Whose::Threads }
}

const fn of_snapshots(number: c_long, when: When) -> Call {
    Call { number, when, whose: Whose::Snapshots }
}

/// The one that is made at every exit of a guest's.
pub(crate) const HOT: c_long = libc::SYS_ioctl;

/// Of several of one number the first that is wanted counts.
pub(crate) const CALLS: &[Call] = &[
    // Many runs, each from a snapshot.
    Call { number: HOT, when: OneOf(1, RESTORE_REQUESTS), whose: Whose::Restores }, // see there
    // A guest that is debugged; its debugger's connection is read and written as any file is.
    Call { number: HOT, when: OneOf(1, BOTH_REQUESTS), whose: Whose::Both }, // see there
    Call { number: HOT, when: OneOf(1, DEBUGGER_REQUESTS), whose: Whose::Debuggers }, // see there
    Call { number: HOT, when: OneOf(1, TRAP_REQUESTS), whose: Whose::Traps }, // see there
    // A snapshot of the guest, and its file.
    of_snapshots(HOT, OneOf(1, SNAPSHOT_REQUESTS)), // the vCPU's state
    of_snapshots(libc::SYS_fcntl, OneOf(1, SNAPSHOT_COMMANDS)), // see there
    of_snapshots(libc::SYS_memfd_create, Always),   // the guest's memory as it is now
    of_snapshots(libc::SYS_fsync, Always), // the file is on the disk before it has its name
    of_snapshots(libc::SYS_renameat, Always), // it takes the old one's place
    of_snapshots(libc::SYS_unlink, Always), // it is removed where there is no snapshot
    // The guest runs.
    call(HOT, OneOf(1, REQUESTS)),         // see there
    call(libc::SYS_clock_gettime, Always), // limits, counters; no call where the vDSO has a clock
    call(libc::SYS_poll, Always),          // stdin and stdout that are not ready
    call(libc::SYS_read, Always),          // stdin; the image's debug information at the end
    call(libc::SYS_write, Always),         // stdout, stderr, what --emit writes
    call(libc::SYS_getrandom, Always),     // the stock interface; hash tables of std
    // Ticks, limits, Ctrl-C.
    call(libc::SYS_rt_sigreturn, Always), // back from a signal's handler
    call(libc::SYS_restart_syscall, Always), // what a stopped and continued poll becomes
    call(libc::SYS_timer_create, Always), // the VM's tick
    call(libc::SYS_timer_settime, Always), // the same
    call(libc::SYS_timer_delete, Always), // the same, at the end
    call(libc::SYS_rt_sigaction, Always), // a second Ctrl-C is the default action again
    call(libc::SYS_rt_sigprocmask, Always), // lets the VM's signal through; raise(3) around tgkill
    call(libc::SYS_getpid, Always),       // whom to send the VM's signal
    call(libc::SYS_gettid, Always),       // the thread that is to have it
    call(libc::SYS_tgkill, OwnProcess(0)), // a stop: the VM's signal to its thread
    // Memory of our own, at an end that is explained.
    call(libc::SYS_brk, Always), // the heap: an image's symbols and lines, a report
    call(libc::SYS_mmap, Without(2, EXECUTABLE)), // large pieces of it, as the image's whole file
    call(libc::SYS_munmap, Always), // the same; the guest's memory, when its VM goes
    call(libc::SYS_mremap, Always), // a large piece that grows
    // Hosts with threads of their own.
    of_threads(libc::SYS_futex, Always), // a lock that another thread holds
    of_threads(libc::SYS_clock_nanosleep, Always), // a stopper that is about to signal is waited for
    of_threads(libc::SYS_mprotect, Without(2, EXECUTABLE)), // the C library's heap of another thread grows
    of_threads(libc::SYS_madvise, Always),                  // it gives back what is free
    of_threads(libc::SYS_exit, Always),                     // the end of one
    // Files that are open already.
    call(libc::SYS_close, Always), // what was opened, and the VM
    call(libc::SYS_fcntl, OneOf(1, COMMANDS)), // see there
    call(libc::SYS_lseek, Always), // the image from its start, a log from an entry
    call(libc::SYS_pread64, Always), // KVM's counters; which pages were touched
    call(libc::SYS_pwrite64, Always), // a core file
    call(libc::SYS_ftruncate, Always), // a core file; an output in place of an older one
    call(libc::SYS_statx, Always), // whether an output is a plain file; which KVM this is
    call(libc::SYS_getcwd, Always), // paths as a person in this directory writes them
    // Lines of source for a backtrace.
    call(libc::SYS_openat, Opening(2, WRITING)), // files that a backtrace leads to
    // The end.
    call(libc::SYS_sigaltstack, Always), // std's main gives back its stack for overflows
    call(libc::SYS_exit_group, Always),  // the process's
];
