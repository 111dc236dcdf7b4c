//! From the host's entry to the user's `main`.

use crate::{Boot, Termination};

/// Makes `main` the guest's entry: `fn main(boot: &Boot)` returning nothing, an
/// [`Exit`](crate::Exit) or a `Result` of these.
///
/// It also puts the [note](abi::note) into the image by which the host knows the contract's
/// version.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[cfg(target_os = "none")]
        const _: () = {
            /// Aligned as ELF notes are.
            #[repr(C, align(4))]
            struct Note([u8; $crate::abi::note::SIZE]);

            #[used]
            #[unsafe(link_section = ".note.portcall")]
            static NOTE: Note = Note($crate::abi::note::to_bytes());

            #[unsafe(no_mangle)]
            extern "C" fn _start(boot: *const u8) -> ! {
                // SAFETY: this is the image's entry, and the host calls it once, as the
                // contract says, with the boot information's address.
                unsafe { $crate::rt::start(boot, $main) }
            }
        };

        // For editors and `cargo check` on a host; there is nothing to run there.
        #[cfg(not(target_os = "none"))]
        const _: () = {
            #[unsafe(export_name = "main")]
            extern "C" fn start() -> i32 {
                $crate::rt::not_a_host_program($main)
            }
        };
    };
}

/// Prepares the runtime and calls `main`.
///
/// # Safety
/// Called once, by the image's entry, with what the host left in RDI.
#[cfg(target_os = "none")]
#[expect(clippy::panic, reason = "it is how a guest tells its host what is wrong")]
pub unsafe fn start<R: Termination>(boot: *const u8, main: fn(&'static Boot) -> R) -> ! {
    use abi::boot::BootInfo;

    // SAFETY: the host placed this many bytes there.
    let bytes = unsafe { &*boot.cast::<[u8; BootInfo::SIZE]>() };
    let Some(info) = BootInfo::from_bytes(bytes) else {
        panic!("RDI at entry is not the address of boot information of this contract's version")
    };
    // SAFETY: the boot information names a window that the host placed for this vCPU alone.
    unsafe { crate::console::open(info.console as *mut u8) };
    // SAFETY: the boot information's heap is RAM that neither image nor host uses.
    unsafe { crate::heap::offer(info.heap) };
    // SAFETY: the host placed the arguments there, and nothing writes to them.
    let args = unsafe {
        core::slice::from_raw_parts(info.args.start as *const u8, crate::to_usize(info.args.size()))
    };
    let boot = Boot::new(info, args);
    // SAFETY: this function never returns, so its frame lives as long as the guest.
    let boot: &'static Boot = unsafe { &*core::ptr::from_ref(&boot) };
    crate::exit(main(boot).exit())
}

/// What a guest program does when it is built for a host and started there.
#[cfg(not(target_os = "none"))]
pub fn not_a_host_program<R: Termination>(_main: fn(&'static Boot) -> R) -> i32 {
    eprintln!(
        "This is a Portcall guest; `cargo xtask run NAME` builds it for bare metal and runs it."
    );
    1
}
