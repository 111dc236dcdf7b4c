//! From the host's entry to the user's `main`.

use crate::serve::Services;
use crate::{Boot, Termination};

/// Makes `main` the guest's entry: `fn main(boot: &Boot)` returning nothing, an
/// [`Exit`](crate::Exit) or a `Result` of these.
///
/// `calls` names the modules of [interfaces](abi::hypercalls) that the guest calls: a host whose
/// definition differs refuses to load it, and says how. `serves` names those that the guest
/// answers, each with the type that does: of its `Default` once `main` has returned well. The
/// guest does not end then, but waits for the host's calls.
///
/// ```ignore
/// guest::entry!(main, calls = [store], serves = [calc: Calculator]);
/// ```
///
/// It also puts the [notes](abi::note) into the image by which the host knows all this.
#[macro_export]
macro_rules! entry {
    (
        $main:path
        $(, calls = [$($calls:path),* $(,)?])?
        $(, serves = [$($serves:path: $server:ty),* $(,)?])?
        $(,)?
    ) => {
        #[cfg(target_os = "none")]
        const _: () = {
            $crate::note!($crate::abi::note::TYPE_VERSION, &$crate::abi::VERSION.to_le_bytes());
            $($($crate::interface_note!($crate::abi::note::TYPE_CALLS, $calls);)*)?
            $($($crate::interface_note!($crate::abi::note::TYPE_SERVES, $serves);)*)?

            #[unsafe(no_mangle)]
            extern "C" fn _start(boot: *const u8) -> ! {
                let services = || $crate::services!($($($serves: $server),*)?);
                // SAFETY: this is the image's entry, and the host calls it once, as the
                // contract says, with the boot information's address.
                unsafe { $crate::rt::start(boot, $main, services) }
            }
        };

        // For editors and `cargo check` on a host; there is nothing to run there.
        #[cfg(not(target_os = "none"))]
        const _: () = {
            #[unsafe(export_name = "main")]
            extern "C" fn start() -> i32 {
                let services = || $crate::services!($($($serves: $server),*)?);
                $($({ use $calls as interface; let _ = interface::INTERFACE; })*)?
                $crate::rt::not_a_host_program($main, services)
            }
        };
    };
}

/// An ELF note of ours.
#[doc(hidden)]
#[macro_export]
macro_rules! note {
    ($type:expr, $descriptor:expr) => {
        const _: () = {
            const DESCRIPTOR: &[u8] = $descriptor;
            const SIZE: usize = $crate::abi::note::size(DESCRIPTOR.len());

            /// Aligned as ELF notes are.
            #[repr(C, align(4))]
            struct Note([u8; SIZE]);

            #[used]
            #[unsafe(link_section = ".note.portcall")]
            static NOTE: Note = Note($crate::abi::note::to_bytes($type, DESCRIPTOR));
        };
    };
}

/// The ELF note of an interface, which stands in a module.
#[doc(hidden)]
#[macro_export]
macro_rules! interface_note {
    ($type:expr, $module:path) => {
        const _: () = {
            use $module as interface;
            const TEXT: [u8; $crate::abi::calls::note::size(&interface::INTERFACE)] =
                $crate::abi::calls::note::bytes(&interface::INTERFACE);
            $crate::note!($type, &TEXT);
        };
    };
}

/// The servers of `serves`, as nested pairs.
#[doc(hidden)]
#[macro_export]
macro_rules! services {
    () => { () };
    ($module:path: $server:ty $(, $($rest:tt)*)?) => {
        (
            {
                use $module as interface;
                interface::Server(<$server as ::core::default::Default>::default())
            },
            $crate::services!($($($rest)*)?),
        )
    };
}

/// Prepares the runtime, calls `main`, and answers calls if there are services.
///
/// # Safety
/// Called once, by the image's entry, with what the host left in RDI.
#[cfg(target_os = "none")]
#[expect(clippy::panic, reason = "it is how a guest tells its host what is wrong")]
pub unsafe fn start<R: Termination, S: Services>(
    boot: *const u8,
    main: fn(&'static Boot) -> R,
    services: impl FnOnce() -> S,
) -> ! {
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
    let exit = main(boot).exit();
    if S::ANY && exit == crate::Exit::SUCCESS {
        // SAFETY: the host placed the mailbox for this alone.
        unsafe { crate::serve::serve(boot.info().mailbox, &mut services()) }
    }
    crate::exit(exit)
}

/// What a guest program does when it is built for a host and started there.
#[cfg(not(target_os = "none"))]
pub fn not_a_host_program<R: Termination, S: Services>(
    _main: fn(&'static Boot) -> R,
    _services: impl FnOnce() -> S,
) -> i32 {
    eprintln!(
        "This is a Portcall guest; `cargo xtask run NAME` builds it for bare metal and runs it."
    );
    1
}
