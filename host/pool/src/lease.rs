//! A VM that is lent.

use crate::Shared;
use crate::error::Lost;
use crate::place::Member;
use portcall::Vm;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// A VM that is lent, and the caller's alone. Dropped, it is given back: reset, for the next.
///
/// One that is leaked ([`std::mem::forget`]) keeps its place for good.
#[must_use = "dropped, the VM is given back"]
pub struct Lease {
    /// `None` only while it ends.
    member: Option<Box<Member>>,
    shared: Arc<Shared>,
}

impl Lease {
    pub(crate) fn of(member: Box<Member>, shared: &Arc<Shared>) -> Self {
        Self { member: Some(member), shared: Arc::clone(shared) }
    }

    /// Gives the VM back, as dropping the lease does, and says where it was not kept.
    ///
    /// # Errors
    /// The VM could not be reset. It was dropped, and the pool makes another when one is needed.
    pub fn give_back(mut self) -> Result<(), Lost> {
        self.member.take().map_or(Ok(()), |member| self.shared.take_back(member))
    }

    /// Drops the VM in place of giving it back; the pool makes another when one is needed.
    pub fn give_up(mut self) {
        if let Some(member) = self.member.take() {
            self.shared.give_up(member);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            // A VM that is lost is counted, and replaced.
            let _ = self.shared.take_back(member);
        }
    }
}

impl Deref for Lease {
    type Target = Vm;

    fn deref(&self) -> &Vm {
        match &self.member {
            Some(member) => &member.vm,
            None => unreachable!("it is taken only by what consumes the lease"),
        }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Vm {
        match &mut self.member {
            Some(member) => &mut member.vm,
            None => unreachable!("it is taken only by what consumes the lease"),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}
