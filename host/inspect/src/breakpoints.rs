//! The one table of a run's breakpoints: an INT3 in place of an instruction's first byte, and what
//! stood there.
//!
//! It is one table for all who drive a VM together, since two who each keep "the byte that was
//! there" would restore each other's INT3. A place stays a breakpoint as long as it has an owner.
//! It is kept by its guest-physical address: the byte is in memory however it is mapped.

use portcall::trap::INT3;
use portcall::{Gpa, Gva, Memory, walk};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Who has a breakpoint: a driver, or the one who drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner(pub usize);

/// There can be no breakpoint, since nothing is mapped there that is RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no memory at {:#x}", .0.0)]
pub struct NoMemory(pub Gva);

/// A byte of memory with an INT3 in it.
#[derive(Debug)]
struct Site {
    original: u8,
    /// The instruction is back in memory for a moment: one who lifts it meanwhile has nothing to
    /// lower.
    is_lifted: bool,
    owners: BTreeSet<(Owner, u64)>,
}

impl Site {
    /// Puts the instruction back; whether it was not back already.
    fn lift(&mut self, memory: &Memory, gpa: Gpa) -> bool {
        if std::mem::replace(&mut self.is_lifted, true) {
            return false;
        }
        if is_int3(memory, gpa) {
            // It is RAM, as it was when the breakpoint was set.
            let _ = memory.write_unnoted(gpa, &[self.original]);
        }
        true
    }
}

/// All breakpoints of a run.
#[derive(Debug, Default)]
pub struct Breakpoints {
    /// By guest-physical address.
    sites: BTreeMap<u64, Site>,
    /// Where each was asked for, and the guest-physical address that this led to then: the guest
    /// may have changed its page tables since.
    asked: BTreeMap<(Owner, u64), u64>,
}

impl Breakpoints {
    /// Sets one at a guest-virtual address, by the page tables at `cr3`. Nothing where the owner has
    /// it already.
    ///
    /// # Errors
    /// There is no memory.
    pub fn insert(
        &mut self,
        memory: &Memory,
        cr3: u64,
        owner: Owner,
        gva: Gva,
    ) -> Result<(), NoMemory> {
        if self.asked.contains_key(&(owner, gva.0)) {
            return Ok(());
        }
        let found = walk::translate(memory, cr3, gva).ok_or(NoMemory(gva))?;
        let gpa = found.gpa;
        let site = match self.sites.entry(gpa.0) {
            Entry::Occupied(site) => site.into_mut(),
            Entry::Vacant(free) => {
                let mut byte = [0];
                memory.read(gpa, &mut byte).map_err(|_| NoMemory(gva))?;
                memory.write_unnoted(gpa, &[INT3]).map_err(|_| NoMemory(gva))?;
                free.insert(Site { original: byte[0], is_lifted: false, owners: BTreeSet::new() })
            }
        };
        site.owners.insert((owner, gva.0));
        self.asked.insert((owner, gva.0), gpa.0);
        Ok(())
    }

    /// Takes an owner's breakpoint away; whether it had one there.
    pub fn remove(&mut self, memory: &Memory, owner: Owner, gva: Gva) -> bool {
        let Some(gpa) = self.asked.remove(&(owner, gva.0)) else { return false };
        let Some(site) = self.sites.get_mut(&gpa) else { return false };
        site.owners.remove(&(owner, gva.0));
        if site.owners.is_empty() {
            self.lift(memory, Gpa(gpa));
            self.sites.remove(&gpa);
        }
        true
    }

    /// Takes all of an owner's away.
    pub fn remove_all(&mut self, memory: &Memory, owner: Owner) {
        let all = self.asked.range((owner, 0)..=(owner, u64::MAX));
        for gva in all.map(|((_, gva), _)| *gva).collect::<Vec<_>>() {
            self.remove(memory, owner, Gva(gva));
        }
    }

    /// Takes everybody's away.
    pub fn clear(&mut self, memory: &Memory) {
        let _ = self.lift_all(memory);
        self.sites.clear();
        self.asked.clear();
    }

    /// How many places there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// Whether there is one at this guest-physical address.
    #[must_use]
    pub fn is_at(&self, gpa: Gpa) -> bool {
        self.sites.contains_key(&gpa.0)
    }

    /// Whether there is one, and its INT3 is in memory.
    pub(crate) fn is_in(&self, gpa: Gpa) -> bool {
        self.sites.get(&gpa.0).is_some_and(|site| !site.is_lifted)
    }

    /// Whose it is.
    pub fn owners_at(&self, gpa: Gpa) -> impl Iterator<Item = Owner> {
        self.sites.get(&gpa.0).into_iter().flat_map(|site| site.owners.iter().map(|it| it.0))
    }

    /// Puts the instruction back, for a moment; whether it was not back already. What the guest has
    /// written there meanwhile stays.
    pub(crate) fn lift(&mut self, memory: &Memory, gpa: Gpa) -> bool {
        self.sites.get_mut(&gpa.0).is_some_and(|site| site.lift(memory, gpa))
    }

    /// And the INT3 in again, in place of what the instruction has become. Nothing where it stands
    /// there.
    pub(crate) fn lower(&mut self, memory: &Memory, gpa: Gpa) {
        let mut byte = [0];
        if let Some(site) = self.sites.get_mut(&gpa.0)
            && std::mem::take(&mut site.is_lifted)
            && memory.read(gpa, &mut byte).is_ok()
        {
            site.original = byte[0];
            // As in `Site::lift`.
            let _ = memory.write_unnoted(gpa, &[INT3]);
        }
    }

    /// The instructions are back in all of memory, for a moment; those that were not already.
    #[must_use]
    pub(crate) fn lift_all(&mut self, memory: &Memory) -> Vec<Gpa> {
        let lifted = self.sites.iter_mut().filter_map(|(gpa, site)| {
            let gpa = Gpa(*gpa);
            site.lift(memory, gpa).then_some(gpa)
        });
        lifted.collect()
    }

    /// The end of that moment.
    pub(crate) fn lower_all(&mut self, memory: &Memory, lifted: Vec<Gpa>) {
        lifted.into_iter().for_each(|gpa| self.lower(memory, gpa));
    }

    /// Has bytes that were read of memory at `gpa` be those that the guest had there.
    pub fn hide(&self, gpa: Gpa, bytes: &mut [u8]) {
        let end = gpa.0.saturating_add(bytes.len() as u64);
        for (at, site) in self.sites.range(gpa.0..end).filter(|(_, site)| !site.is_lifted) {
            let byte = usize::try_from(at - gpa.0).ok().and_then(|at| bytes.get_mut(at));
            if let Some(byte) = byte.filter(|byte| **byte == INT3) {
                *byte = site.original;
            }
        }
    }

    /// Has bytes that are about to be written to memory at `gpa` keep the breakpoints: what is meant
    /// for the place of one is there when it goes.
    pub fn keep(&mut self, gpa: Gpa, bytes: &mut [u8]) {
        let end = gpa.0.saturating_add(bytes.len() as u64);
        for (at, site) in self.sites.range_mut(gpa.0..end).filter(|(_, site)| !site.is_lifted) {
            if let Some(byte) = usize::try_from(at - gpa.0).ok().and_then(|at| bytes.get_mut(at)) {
                site.original = std::mem::replace(byte, INT3);
            }
        }
    }
}

fn is_int3(memory: &Memory, gpa: Gpa) -> bool {
    let mut byte = [0];
    memory.read(gpa, &mut byte).is_ok() && byte[0] == INT3
}
