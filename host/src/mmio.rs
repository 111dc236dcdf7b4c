//! Step 11: the seam for those who answer at memory addresses: windows of memory-mapped I/O.
//!
//! ```
//! use portcall::{End, Gpa, Guest, Image, Kvm, Mmio, Vm};
//!
//! /// A register that counts how often it is read.
//! struct Counter(u64);
//!
//! impl Mmio for Counter {
//!     fn read(&mut self, _: &mut Guest<'_>, _: Gpa, _size: u8) -> Result<u64, End> {
//!         self.0 += 1;
//!         Ok(self.0)
//!     }
//! }
//!
//! // mov ebx, 0xd0000000; mov eax, [rbx]; mov eax, [rbx]; hlt
//! let image = Image::flat(&[0xbb, 0, 0, 0, 0xd0, 0x8b, 0x03, 0x8b, 0x03, 0xf4])?;
//! let kvm = Kvm::open()?;
//! let window = 0xd000_0000..0xd000_1000;
//! let mut vm = Vm::builder(&kvm, &image).mmio(window, Counter(0)).build()?;
//! assert_eq!(vm.run()?.registers.rax, 2);
//! # Ok::<(), portcall::Error>(())
//! ```
//!
//! A window is whole pages of the hole from 3 to 4 GiB, where there is no RAM, mapped one to one in
//! the host's page tables, readable and writable, for the ring that the guest starts in. An access
//! is an exit (KVM_EXIT_MMIO) each, or several: what reaches into another page comes in two, and
//! what has more than 8 bytes in pieces of 8. An access elsewhere stays the end that it is
//! ([`End::UnmappedAccess`]); to execute from a window is a page fault.
//!
//! In a [snapshot](crate::snapshot) are the windows, and not who answers there: a VM that is made of
//! it is given handlers anew, for all or some of them.

use crate::answer::{asked, guest};
use crate::error::{ConfigError, Error, SnapshotError};
use crate::exit::{self, Exit};
use crate::layout::{Gpa, HOLE_END, HOLE_START, IOAPIC, KVM_PAGES, LAPIC, PAGE};
use crate::outcome::End;
use crate::ports::Guest;
use crate::segment::Segment;
use crate::table::Table;
use crate::vm::Vm;
use std::ops::Range;

/// The most windows that a VM can have.
pub const WINDOWS_MAX: usize = 64;

/// Answers the guest's accesses to a window. Register it with
/// [`Builder::mmio`](crate::Builder::mmio).
///
/// `gpa` is the access's first address, all of it is in the window, and `size` is 1 to 8 bytes: what
/// the guest's instruction has, or what of it is in one page. An instruction that both reads and
/// writes is both, one after the other; a string instruction comes as one call an element. `Err` ends
/// the run with that [`End`]; for a failure of the handler's own that is [`End::HandlerFailed`].
pub trait Mmio: Send {
    /// The guest reads; the value's low `size` bytes are what it gets. All ones unless it is
    /// overridden.
    ///
    /// # Errors
    /// The run is to end.
    fn read(&mut self, guest: &mut Guest<'_>, gpa: Gpa, size: u8) -> Result<u64, End> {
        let _ = (guest, gpa, size);
        Ok(u64::MAX)
    }

    /// The guest writes the low `size` bytes of `value`; the others are zero. Dropped unless it is
    /// overridden.
    ///
    /// # Errors
    /// The run is to end.
    fn write(&mut self, guest: &mut Guest<'_>, gpa: Gpa, size: u8, value: u64) -> Result<(), End> {
        let _ = (guest, gpa, size, value);
        Ok(())
    }
}

/// The handlers of windows.
pub(crate) type MmioTable = Table<u64, dyn Mmio>;

/// Windows with their handlers, as a builder has them.
pub(crate) type Windows = Vec<(Range<u64>, Box<dyn Mmio>)>;

/// A table of handlers for windows that were [checked](windows).
pub(crate) fn table(handlers: Windows) -> MmioTable {
    let mut table = MmioTable::default();
    for (window, handler) in handlers {
        table.insert(window.start..=window.end - 1, handler);
    }
    table
}

/// The windows in order, if a VM with this image's segments can have them.
pub(crate) fn windows(
    wanted: &[Range<u64>],
    segments: &[Segment],
) -> Result<Vec<Range<u64>>, ConfigError> {
    let mut windows: Vec<Range<u64>> = Vec::with_capacity(wanted.len());
    for window in wanted {
        let meets = |other: &Range<u64>| window.start < other.end && other.start < window.end;
        let why = if window.is_empty() {
            "it is empty"
        } else if !window.start.is_multiple_of(PAGE) || !window.end.is_multiple_of(PAGE) {
            "it is not whole pages of 4 KiB"
        } else if window.start < HOLE_START || window.end > HOLE_END {
            "it is not in the hole from 3 to 4 GiB, where there is no RAM"
        } else if meets(&KVM_PAGES) {
            "KVM may keep pages of its own there (0xfffbc000 to 0xfffc0000)"
        } else if meets(&LAPIC) {
            "the local APIC is there (0xfee00000)"
        } else if meets(&IOAPIC) {
            "the I/O APIC is there (0xfec00000)"
        } else if windows.iter().any(meets) {
            "another window has a part of it"
        } else if segments.iter().any(|segment| meets(&segment.virtual_range())) {
            "the image wants to be seen there"
        } else if windows.len() == WINDOWS_MAX {
            "there are 64 already, and more cannot be"
        } else {
            let at = windows.partition_point(|other| other.start < window.start);
            windows.insert(at, window.clone());
            continue;
        };
        return Err(ConfigError::Window { start: window.start, end: window.end, why });
    }
    Ok(windows)
}

/// Whether all that handlers are given for are windows of a snapshot's VM, each once.
pub(crate) fn check_given(
    wanted: &[Range<u64>],
    windows: &[Range<u64>],
) -> Result<(), SnapshotError> {
    let is_wrong = |(i, window): &(usize, &Range<u64>)| {
        !windows.contains(window) || wanted[..*i].contains(window)
    };
    let Some((_, window)) = wanted.iter().enumerate().find(is_wrong) else { return Ok(()) };
    let said = |window: &Range<u64>| format!("{:#x} to {:#x}", window.start, window.end);
    let has = match windows {
        [] => "none".to_owned(),
        all => all.iter().map(said).collect::<Vec<_>>().join(", "),
    };
    Err(SnapshotError::NoWindow { start: window.start, end: window.end, has })
}

impl Vm {
    /// Step 11: answers an access outside RAM; the end it is, if it is one.
    pub(crate) fn answer_mmio(&mut self, access: &exit::Mmio) -> Result<Option<End>, Error> {
        let exit::Mmio { gpa, size, write } = *access;
        let (true, Ok(size)) = (self.is_device(access), u8::try_from(size)) else {
            return Ok(Exit::Mmio(*access).end());
        };
        let Some(handler) = self.mmio.find(gpa.0) else { return Ok(Exit::Mmio(*access).end()) };
        let mut guest = guest!(self);
        let answer = asked(
            || format!("memory-mapped I/O at {gpa}"),
            || match write {
                None => handler.read(&mut guest, gpa, size),
                Some(value) => handler.write(&mut guest, gpa, size, value).map(|()| 0),
            },
        );
        match answer {
            Ok(value) => {
                if write.is_none() {
                    self.vcpu.set_mmio(value.to_le_bytes());
                }
                self.after_handler()
            }
            Err(end) => Ok(Some(end)),
        }
    }

    /// Whether a handler answers it: all of it is in one window. KVM makes an exit a page.
    pub(crate) fn is_device(&self, access: &exit::Mmio) -> bool {
        let in_page = access.range().is_some_and(|it| it.start() / PAGE == it.end() / PAGE);
        in_page && self.mmio.has(access.gpa.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{WINDOWS_MAX, check_given, windows};
    use crate::layout::{GIB, Gpa, Gva, HOLE_END, HOLE_START, LARGE_PAGE, PAGE};
    use crate::segment::{Permissions, Segment};
    use std::ops::Range;

    fn why(wanted: &[Range<u64>]) -> String {
        windows(wanted, &[]).expect_err("refused").to_string()
    }

    fn page(at: u64) -> Range<u64> {
        at..at + PAGE
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "that it is refused is the point")]
    fn windows_are_whole_pages_of_the_hole_clear_of_what_others_have() {
        let (first, last) = (page(HOLE_START), page(HOLE_END - PAGE));
        let beside = [page(0xfec0_1000), page(0xfee0_1000), page(0xfffb_b000), page(0xfffc_0000)];
        let all: Vec<_> = [last.clone()].into_iter().chain(beside).chain([first.clone()]).collect();
        let found = windows(&all, &[]).expect("all of them can be");
        assert!(found.is_sorted_by_key(|window| window.start) && found.len() == 6);
        for (window, words) in [
            (HOLE_START..HOLE_START, "empty"),
            (HOLE_START + PAGE..HOLE_START, "empty"),
            (HOLE_START + 1..HOLE_START + PAGE, "whole pages"),
            (HOLE_START..HOLE_START + PAGE + 8, "whole pages"),
            (HOLE_START - PAGE..HOLE_START + PAGE, "hole from 3 to 4 GiB"),
            (HOLE_END - PAGE..HOLE_END + PAGE, "hole from 3 to 4 GiB"),
            (0..PAGE, "hole from 3 to 4 GiB"),
            (u64::MAX - 2 * PAGE + 1..u64::MAX - PAGE + 1, "hole from 3 to 4 GiB"),
            (page(0xfffb_c000), "KVM"),
            (page(0xfffb_f000), "KVM"),
            (page(0xfee0_0000), "local APIC"),
            (page(0xfec0_0000), "I/O APIC"),
            (HOLE_START..HOLE_END, "KVM"),
        ] {
            assert!(why(std::slice::from_ref(&window)).contains(words), "{window:x?}");
        }
    }

    #[test]
    fn windows_do_not_meet_and_there_are_not_too_many() {
        let at = HOLE_START + LARGE_PAGE;
        let inside = [at..at + 4 * PAGE, page(at + PAGE)];
        assert!(why(&inside).contains("another window"));
        assert!(why(&[page(at), page(at)]).contains("another window"));
        let neighbours = [page(at + PAGE), page(at)];
        assert_eq!(windows(&neighbours, &[]).expect("they touch").len(), 2);
        let many: Vec<_> = (0..=WINDOWS_MAX as u64).map(|i| page(at + 3 * i * PAGE)).collect();
        assert_eq!(windows(&many[..WINDOWS_MAX], &[]).expect("as many").len(), WINDOWS_MAX);
        assert!(why(&many).contains("64 already"));
    }

    #[test]
    fn an_image_that_is_seen_in_the_hole_keeps_its_place() {
        let permissions = Permissions { write: true, execute: false };
        let segment = Segment {
            gva: Gva(3 * GIB + 0x10),
            gpa: Gpa(0x10_0010),
            size: 8,
            file: 0..0,
            permissions,
        };
        let refused = windows(&[page(3 * GIB)], std::slice::from_ref(&segment));
        assert!(refused.expect_err("it is there").to_string().contains("the image"));
        windows(&[page(3 * GIB + PAGE)], &[segment]).expect("beside it");
    }

    #[test]
    fn a_snapshot_has_the_windows_that_it_has() {
        let has = [page(HOLE_START), page(HOLE_END - PAGE)];
        check_given(&has[1..], &has).expect("some of them");
        check_given(&[], &has).expect("none");
        let error = |wanted: &[_], has: &[_]| check_given(wanted, has).expect_err("no").to_string();
        let wide = HOLE_START..HOLE_START + 2 * PAGE;
        let other = error(&[wide], &has);
        assert!(other.contains("0xc0000000 to 0xc0002000"), "{other}");
        assert!(other.contains("0xc0000000 to 0xc0001000, 0xfffff000 to 0x100000000"), "{other}");
        assert!(error(&[page(HOLE_START), page(HOLE_START)], &has).contains("0xc0000000"));
        assert!(error(&[page(HOLE_START)], &[]).contains("none"));
    }
}
