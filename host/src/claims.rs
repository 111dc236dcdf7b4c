//! The guest's memory, as far as the guest itself may use it.
//!
//! A pointer from the guest is a claim. What it claims is granted where the guest could do the
//! same by its own page tables, in its own ring, so that the host is no way around them: page
//! tables, descriptors and text stay as they are. What is read is copied once, and the copy used.

use crate::layout::{Gpa, Gva, PAGE};
use crate::memory::Memory;
use crate::ready::Piece;
use crate::vcpu::Vcpu;
use crate::walk::{self, Translation};
use abi::calls::{self, Malformed};
use kvm_bindings::kvm_sregs;
use std::cell::Cell;
use x86_64::registers::control::Cr0Flags;

/// What the guest wants to do with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

/// The guest's memory as it sees it at this exit.
#[derive(Clone, Debug)]
pub struct Claims<'a> {
    memory: &'a Memory,
    /// Whose registers tell how the guest sees it, for the first who asks: a call of numbers
    /// alone never does.
    vcpu: Option<&'a Vcpu>,
    view: Cell<Option<View>>,
    /// Whether a recording has what is read.
    recorded: bool,
}

/// By what the guest sees its memory.
#[derive(Clone, Copy, Debug)]
struct View {
    cr3: u64,
    /// Whether it is in ring 3.
    user: bool,
    /// Whether read-only pages are read-only to ring 0 as well (CR0.WP).
    write_protect: bool,
}

impl View {
    const fn new(sregs: &kvm_sregs) -> Self {
        Self {
            cr3: sregs.cr3,
            user: sregs.cs.selector & 3 == 3,
            write_protect: sregs.cr0 & Cr0Flags::WRITE_PROTECT.bits() != 0,
        }
    }
}

impl<'a> Claims<'a> {
    /// By the registers of a vCPU that has just left the guest.
    pub(crate) const fn new(memory: &'a Memory, vcpu: &'a Vcpu) -> Self {
        Self { memory, vcpu: Some(vcpu), view: Cell::new(None), recorded: true }
    }

    /// By registers that are known.
    #[cfg(test)]
    pub(crate) const fn by(memory: &'a Memory, sregs: &kvm_sregs) -> Self {
        Self { memory, vcpu: None, view: Cell::new(Some(View::new(sregs))), recorded: true }
    }

    /// The same, but that a recording of the run has nothing of what is read: for what is another in
    /// each run, such as times, and decides nothing that the guest gets. A replay would take it for
    /// a difference.
    #[must_use]
    pub const fn unrecorded(mut self) -> Self {
        self.recorded = false;
        self
    }

    fn view(&self) -> Option<View> {
        if let Some(view) = self.view.get() {
            return Some(view);
        }
        // Without an answer of KVM's nothing can be granted.
        let view = View::new(&self.vcpu?.system_registers().ok()?);
        self.view.set(Some(view));
        Some(view)
    }

    /// The memory itself, by guest-physical address.
    #[must_use]
    pub const fn memory(&self) -> &'a Memory {
        self.memory
    }

    /// Where a guest-virtual address leads, whoever may use it.
    #[must_use]
    pub fn translate(&self, gva: Gva) -> Option<Translation> {
        walk::translate(self.memory, self.view()?.cr3, gva)
    }

    /// The pieces of guest-physical memory that `size` bytes at `address` are: where each starts,
    /// and its bytes.
    fn pieces(
        &self,
        address: u64,
        size: u64,
        how: Use,
    ) -> impl Iterator<Item = Result<(Gpa, usize), Malformed>> {
        let (mut at, mut left) = (address, size);
        let mut failed = size > 0 && address.checked_add(size - 1).is_none();
        let refused = Malformed::pointer(address, size);
        std::iter::from_fn(move || {
            if std::mem::take(&mut failed) {
                left = 0;
                return Some(Err(refused));
            }
            if left == 0 {
                return None;
            }
            let now = left.min(PAGE - at % PAGE);
            let found = self.translate(Gva(at)).filter(|page| {
                let view = self.view();
                let (user, protect) =
                    view.map_or((true, true), |view| (view.user, view.write_protect));
                let writable = page.writable || !(user || protect);
                (page.user || !user) && (how == Use::Read || writable)
            });
            let Some(page) = found else {
                left = 0;
                return Some(Err(refused));
            };
            (at, left) = (at.wrapping_add(now), left - now);
            Some(Ok((page.gpa, usize::try_from(now).unwrap_or(0))))
        })
    }

    fn copy(&self, address: u64, size: u64, how: Use) -> Result<Vec<u8>, Malformed> {
        Malformed::check_size(size)?;
        let mut bytes = Vec::new();
        // A host that is short of memory goes on without this guest.
        let room = usize::try_from(size).unwrap_or(usize::MAX);
        bytes.try_reserve_exact(room).map_err(|_| Malformed::too_large(size, 0))?;
        for piece in self.pieces(address, size, how) {
            let (gpa, piece) = piece?;
            let start = bytes.len();
            bytes.resize(start + piece, 0);
            let read = self.memory.read(gpa, &mut bytes[start..]);
            read.map_err(|_| Malformed::pointer(address, size))?;
            if how == Use::Read && self.recorded {
                self.memory.note_read(gpa, &bytes[start..]);
            }
        }
        Ok(bytes)
    }

    /// The pieces of guest-physical memory that bytes are which the guest may write.
    pub(crate) fn writable(&self, address: u64, size: u64) -> Result<Vec<Piece>, Malformed> {
        let piece = |piece: Result<(Gpa, usize), Malformed>| {
            let (gpa, size) = piece?;
            // Page tables may lead beyond RAM.
            let refused = Malformed::pointer(address, size as u64);
            self.memory.read(gpa, &mut [0]).map_err(|_| refused)?;
            Ok(Piece { gpa, size: size as u64 })
        };
        self.pieces(address, size, Use::Write).map(piece).collect()
    }

    /// Copies bytes that the guest may read, at most [`BUFFER_MAX`](calls::BUFFER_MAX).
    ///
    /// # Errors
    /// It may not read all of them, or they are too many.
    pub fn read(&self, address: u64, size: u64) -> Result<Vec<u8>, Malformed> {
        self.copy(address, size, Use::Read)
    }

    /// Writes bytes where the guest may.
    ///
    /// # Errors
    /// It may not write there; nothing is written then, unless another thread changes its page
    /// tables meanwhile.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Malformed> {
        let refused = Malformed::pointer(address, bytes.len() as u64);
        let size = bytes.len() as u64;
        // All of it is looked at before any of it is written.
        let mut there = [0];
        for piece in self.pieces(address, size, Use::Write) {
            let (gpa, _) = piece?;
            self.memory.read(gpa, &mut there).map_err(|_| refused)?;
        }
        let mut rest = bytes;
        for piece in self.pieces(address, size, Use::Write) {
            let (gpa, piece) = piece?;
            let (now, later) = rest.split_at_checked(piece).ok_or(refused)?;
            self.memory.write(gpa, now).map_err(|_| refused)?;
            rest = later;
        }
        Ok(())
    }
}

impl calls::Memory for Claims<'_> {
    type Bytes = Vec<u8>;
    type Text = String;

    fn read(&mut self, address: u64, size: u64) -> Result<Vec<u8>, Malformed> {
        self.copy(address, size, Use::Read)
    }

    fn text(&mut self, address: u64, size: u64) -> Result<String, Malformed> {
        let bytes = self.copy(address, size, Use::Read)?;
        String::from_utf8(bytes).map_err(|_| Malformed::text(address, size))
    }

    fn borrow(&mut self, address: u64, size: u64) -> Result<Vec<u8>, Malformed> {
        self.copy(address, size, Use::Write)
    }

    fn give_back(&mut self, address: u64, bytes: Vec<u8>) -> Result<(), Malformed> {
        self.write(address, &bytes)
    }

    fn give(&mut self, bytes: &[u8], (address, room): (u64, u64)) -> Result<u64, Malformed> {
        let size = bytes.len() as u64;
        if size > room {
            return Err(Malformed::too_large(size, room));
        }
        self.write(address, bytes)?;
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::Claims;
    use crate::layout::{Gpa, Layout, MIB, PAGE};
    use crate::memory::Memory;
    use crate::registers::{Ring, long_mode};
    use abi::calls::Malformed;
    use kvm_bindings::kvm_sregs;

    #[test]
    fn bytes_do_not_go_around_the_end_of_the_addresses() {
        let layout = Layout::new(2 * MIB, 12, 0, 0).expect("lays out");
        let ram = Memory::map(&layout).expect("maps");
        // Page tables of the guest's own: the first and the last page of all are RAM.
        let root = layout.tables.start;
        for level in 0..4 {
            for slot in [0, 511] {
                let last = if slot == 0 { 0x1_0000 } else { 0x2_0000 };
                let next = if level == 3 { last } else { root + (level + 1) * PAGE };
                ram.store_u64(Gpa(root + level * PAGE + 8 * slot), next | 7).expect("RAM");
            }
        }
        let mut sregs = kvm_sregs::default();
        long_mode(&mut sregs, &layout, Ring::Three);
        let claims = Claims::by(&ram, &sregs);
        let end = u64::MAX - 7;
        assert_eq!(claims.write(end, b"12345678"), Ok(()));
        assert_eq!(claims.read(end, 8).as_deref(), Ok(&b"12345678"[..]));
        assert_eq!(claims.write(0, b"90"), Ok(()));
        assert_eq!(claims.read(end, 10), Err(Malformed::pointer(end, 10)));
        assert_eq!(claims.write(end, &[0; 10]), Err(Malformed::pointer(end, 10)));
        assert_eq!(claims.read(end, 8).as_deref(), Ok(&b"12345678"[..]));
    }
}
