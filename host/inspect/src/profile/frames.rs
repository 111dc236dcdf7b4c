//! The way up the stack, at the cost of a few reads: by unwind tables, and by frame pointers where there
//! are none.

use super::Origin;
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, LittleEndian, RegisterRule,
    UnwindContext, UnwindSection, X86_64,
};
use portcall::kvm_bindings::kvm_regs;
use portcall::sections::Sections;
use portcall::{Gpa, Gva, Memory, walk};
use std::ops::Range;

/// The most calls that are followed.
const MAX_DEPTH: usize = 256;

/// The largest unwind table that is read, and the most rows of all.
const MAX_TABLE: usize = 8 << 20;
const MAX_ROWS: usize = 1 << 18;

/// Where a caller is found from an address: the canonical frame address (DWARF 5, 6.4.1) is so far
/// behind RSP or RBP, and RIP right before it.
#[derive(Clone, Copy, Debug)]
struct Rule {
    start: u64,
    end: u64,
    from_rbp: bool,
    offset: i64,
    /// Where the caller's RBP is, from the canonical frame address; else it is in RBP.
    rbp: Option<i64>,
}

/// The unwind tables of an image, in rows. Reading them at each sample would take longer than
/// what they are wanted for.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    /// What can be read of a whole ELF file's; `bias` is what was added to its addresses.
    pub(super) fn read(elf: &[u8], bias: u64) -> Self {
        let sections = Sections::parse(elf);
        let bytes = |name| sections.bytes(name).filter(|bytes| bytes.len() <= MAX_TABLE);
        let address =
            |name: &str| sections.iter().find(|it| it.name == name.as_bytes()).map(|it| it.address);
        let mut rules = Vec::new();
        if let Some(bytes) = bytes(".debug_frame") {
            let mut table = DebugFrame::new(bytes, LittleEndian);
            table.set_address_size(8);
            take(&table, &BaseAddresses::default(), bias, &mut rules);
        }
        if let (Some(bytes), Some(at)) = (bytes(".eh_frame"), address(".eh_frame")) {
            let mut table = EhFrame::new(bytes, LittleEndian);
            table.set_address_size(8);
            let text = address(".text").unwrap_or(0);
            take(
                &table,
                &BaseAddresses::default().set_eh_frame(at).set_text(text),
                bias,
                &mut rules,
            );
        }
        rules.sort_by_key(|rule| rule.start);
        Self(rules)
    }

    fn at(&self, address: u64) -> Option<Rule> {
        let behind = self.0.partition_point(|rule| rule.start <= address);
        self.0[..behind].last().copied().filter(|rule| address < rule.end)
    }
}

/// Takes a table's rows, as far as it can be read.
fn take<'a, S: UnwindSection<gimli::EndianSlice<'a, LittleEndian>>>(
    table: &S,
    bases: &BaseAddresses,
    bias: u64,
    rules: &mut Vec<Rule>,
) {
    let mut entries = table.entries(bases);
    let mut context = UnwindContext::new();
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(entry) = partial.parse(S::cie_from_offset) else { continue };
        let Ok(mut rows) = entry.rows(table, bases, &mut context) else { continue };
        while let Ok(Some(row)) = rows.next_row() {
            if rules.len() >= MAX_ROWS {
                return;
            }
            let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else { continue };
            let is_before = matches!(row.register(X86_64::RA), Some(RegisterRule::Offset(-8)));
            if !is_before || ![X86_64::RSP, X86_64::RBP].contains(register) {
                continue;
            }
            rules.push(Rule {
                start: row.start_address().wrapping_add(bias),
                end: row.end_address().wrapping_add(bias),
                from_rbp: *register == X86_64::RBP,
                offset: *offset,
                rbp: saved(row.register(X86_64::RBP)),
            });
        }
    }
}

/// Where a register was saved.
fn saved<T: gimli::ReaderOffset>(rule: Option<RegisterRule<T>>) -> Option<i64> {
    match rule {
        Some(RegisterRule::Offset(offset)) => Some(offset),
        _ => None,
    }
}

/// What a function's caller needs.
#[derive(Clone, Copy)]
struct Registers {
    rip: u64,
    rsp: u64,
    rbp: u64,
}

/// A guest's stack, to be read at a moment of its life.
pub(super) struct Frames<'a> {
    pub(super) memory: &'a Memory,
    pub(super) cr3: u64,
    /// Where its code is.
    pub(super) code: &'a [Range<u64>],
}

impl Frames<'_> {
    /// RIP, then what is returned to; each further up the stack than the one before.
    pub(super) fn walk(&self, rules: &Rules, registers: &kvm_regs) -> (Vec<u64>, Origin) {
        let mut now = Registers { rip: registers.rip, rsp: registers.rsp, rbp: registers.rbp };
        let mut addresses = vec![now.rip];
        let mut page = None;
        if !self.is_code(now.rip) {
            return (addresses, Origin::Lost);
        }
        // RIP itself is not returned to: a call may be the last instruction of its function.
        let mut probe = now.rip;
        while let Some(found) = self.caller(rules, probe, now, &mut page) {
            if found.rip == 0 {
                return (addresses, Origin::Start);
            }
            if addresses.len() == MAX_DEPTH {
                return (addresses, Origin::Deep);
            }
            addresses.push(found.rip);
            (now, probe) = (found, found.rip.wrapping_sub(1));
        }
        (addresses, Origin::Lost)
    }

    /// Who called: by the tables where they know the function, since one without a frame pointer
    /// leaves in RBP whatever its caller had there, and its caller's frame would be skipped. Where they
    /// lead nowhere, by RBP.
    fn caller(
        &self,
        rules: &Rules,
        probe: u64,
        now: Registers,
        page: &mut Page,
    ) -> Option<Registers> {
        // Up the stack, or it is no caller.
        let leads = |it: &Registers| {
            it.rip == 0 || it.rsp > now.rsp && self.is_code(it.rip.wrapping_sub(1))
        };
        let by_rule = rules.at(probe).and_then(|rule| self.by_rule(rule, now, page)).filter(leads);
        by_rule.or_else(|| self.by_pointer(now, page).filter(leads))
    }

    fn is_code(&self, address: u64) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }

    fn by_rule(&self, rule: Rule, now: Registers, page: &mut Page) -> Option<Registers> {
        let base = if rule.from_rbp { now.rbp } else { now.rsp };
        let cfa = base.checked_add_signed(rule.offset)?;
        let rip = self.word(cfa.checked_sub(8)?, page)?;
        let rbp = match rule.rbp {
            Some(offset) => self.word(cfa.checked_add_signed(offset)?, page)?,
            None => now.rbp,
        };
        Some(Registers { rip, rsp: cfa, rbp })
    }

    /// The frame that RBP points at: the caller's RBP, and behind it the return address.
    fn by_pointer(&self, now: Registers, page: &mut Page) -> Option<Registers> {
        if now.rbp < now.rsp || !now.rbp.is_multiple_of(8) {
            return None;
        }
        let rip = self.word(now.rbp.checked_add(8)?, page)?;
        Some(Registers { rip, rsp: now.rbp.checked_add(16)?, rbp: self.word(now.rbp, page)? })
    }

    /// A word of the stack, whose pages are looked up once each.
    fn word(&self, gva: u64, page: &mut Page) -> Option<u64> {
        let (number, into) = (gva / 4096, gva % 4096);
        if into > 4096 - 8 {
            return None;
        }
        let gpa = match *page {
            Some((known, gpa)) if known == number => gpa,
            _ => {
                let found = walk::translate(self.memory, self.cr3, Gva(number * 4096))?.gpa.0;
                *page = Some((number, found));
                found
            }
        };
        let mut bytes = [0; 8];
        self.memory.read(Gpa(gpa + into), &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

/// The page of the stack that was read last: its number, and where it is.
type Page = Option<(u64, u64)>;
