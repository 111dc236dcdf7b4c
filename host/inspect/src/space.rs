//! Guest-virtual memory, as well as it can still be read.

use portcall::layout::Layout;
use portcall::segment::Permissions;
use portcall::{Gpa, Gva, Image, Memory, walk};

/// The guest's address space at its end.
pub(crate) struct Space<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) layout: &'a Layout,
    pub(crate) image: &'a Image<'a>,
    /// The root of its page tables now.
    pub(crate) cr3: u64,
}

impl Space<'_> {
    /// Where an address leads: by the guest's page tables, or where those are broken, as the
    /// host had set it up.
    pub(crate) fn translate(&self, gva: u64) -> Option<Gpa> {
        let by_tables = walk::translate(self.memory, self.cr3, Gva(gva)).map(|t| t.gpa);
        by_tables.or_else(|| {
            if self.tables_lead_somewhere() {
                return None;
            }
            let segments = self.image.segments().iter();
            let inside = segments.filter(|s| s.virtual_range().contains(&gva));
            let moved = inside.map(|s| Gpa(s.gpa.0 + (gva - s.gva.0))).next();
            let ram = || self.layout.ram.iter().any(|range| range.contains(&gva));
            moved.or_else(|| ram().then_some(Gpa(gva)))
        })
    }

    /// Whether the guest's tables still map anything of ours: the image's own entry.
    pub(crate) fn tables_lead_somewhere(&self) -> bool {
        walk::translate(self.memory, self.cr3, self.image.entry()).is_some()
    }

    /// Copies as much of guest-virtual memory as there is.
    pub(crate) fn read(&self, gva: u64, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let Some(at) = gva.checked_add(done as u64) else { break };
            let Some(gpa) = self.translate(at) else { break };
            let to_page_end = usize::try_from(4096 - at % 4096).unwrap_or(1);
            let now = to_page_end.min(bytes.len() - done);
            if self.memory.read(gpa, &mut bytes[done..done + now]).is_err() {
                break;
            }
            done += now;
        }
        done
    }

    /// A word, if all of it is there.
    pub(crate) fn word(&self, gva: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read(gva, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
    }

    /// The permissions of the page at an address, and whether ring 3 may use it.
    pub(crate) fn permissions(&self, gva: u64) -> Option<(Permissions, bool)> {
        let found = walk::translate(self.memory, self.cr3, Gva(gva))?;
        let permissions = Permissions { write: found.writable, execute: found.executable };
        Some((permissions, found.user))
    }

    /// The page walk of an address in words, down to where it ends.
    pub(crate) fn walk(&self, gva: u64) -> String {
        let mut table = self.cr3 & 0x000f_ffff_ffff_f000;
        let mut text = format!("CR3 {table:#x}");
        for (name, shift) in [("PML4", 39), ("PDPT", 30), ("PD", 21), ("PT", 12)] {
            let index = gva >> shift & 0x1ff;
            let Ok(entry) = self.memory.load_u64(Gpa(table + 8 * index)) else {
                return text + ", which is not RAM";
            };
            text += &format!(", {name}[{index}]");
            if entry & 1 == 0 {
                return text + " not present";
            }
            table = entry & 0x000f_ffff_ffff_f000;
            let leaf = shift == 12 || (shift < 39 && entry & 0x80 != 0);
            if leaf {
                let bit = |bit: u32, name| if entry >> bit & 1 == 1 { name } else { "-" };
                let execute = if entry >> 63 == 0 { "x" } else { "-" };
                return text + &format!(" {table:#x} r{}{execute}{}", bit(1, "w"), bit(2, "u"));
            }
        }
        text
    }

    /// What lies at an address, of what the host knows: a part of the image or of its own range.
    pub(crate) fn region(&self, gva: u64) -> Option<&'static str> {
        let layout = self.layout;
        let ours = [
            (&layout.tables, "the page tables"),
            (&layout.descriptors, "the descriptor tables (GDT, IDT, TSS)"),
            (&layout.stubs, "the host's exception stubs"),
            (&layout.exception_stacks, "the host's exception stacks"),
            (&layout.boot, "the boot information"),
            (&layout.console, "the console window"),
            (&layout.guard, "the guard page below the stack"),
            (&layout.stack, "the stack"),
        ];
        ours.into_iter().find(|(range, _)| range.contains(&gva)).map(|(_, name)| name)
    }
}
