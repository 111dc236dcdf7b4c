//! Landlock (landlock(7)): which files may be opened, and that nothing is connected to.

use crate::JailError;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};
use std::path::{Path, PathBuf};

/// The newest version whose rights are known here. Older kernels handle what they know of them.
const NEWEST: ABI = ABI::V7;

/// Where something may be done.
pub(crate) struct Places<'a> {
    /// Reading.
    pub(crate) readable: &'a [PathBuf],
    /// Reading and writing.
    pub(crate) writable: &'a [PathBuf],
    /// Renaming and removing.
    pub(crate) renaming: &'a [PathBuf],
}

/// Denies this thread, and those that it starts, all that Landlock knows of, but for what may be
/// done beneath these places. `alone` says that there are no other threads. Gives the kernel's
/// version of Landlock, if it has one.
pub(crate) fn restrict(places: &Places<'_>, alone: bool) -> Result<Option<u32>, JailError> {
    // Between Linux 6.12 and a fix of 6.15 a thread inside may not signal one of its own process
    // outside, as a stopper does; seccomp keeps signals to the process in any case.
    let scopes = if alone { Scope::from_all(NEWEST) } else { Scope::AbstractUnixSocket.into() };
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(scopes)?
        .create()?;
    let read = BitFlags::from(AccessFs::ReadFile);
    let write = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg;
    // What takes another's place is made there, and the other is removed.
    let rename = AccessFs::RemoveFile | AccessFs::MakeReg;
    let readable = places.readable.iter().map(|root| (root, read));
    let writable = places.writable.iter().map(|root| (root, write));
    let renaming = places.renaming.iter().map(|root| (root, rename));
    for (root, access) in readable.chain(writable).chain(renaming) {
        rules = rules.add_rule(PathBeneath::new(open(root)?, access))?;
    }
    let status = rules.restrict_self()?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            let version = kernel_abi.unwrap_or(effective_abi as i32);
            Ok(u32::try_from(version).ok())
        }
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => Ok(None),
    }
}

/// A place, to be named to the kernel.
fn open(path: &Path) -> Result<PathFd, JailError> {
    PathFd::new(path).map_err(|error| JailError::Root { path: path.into(), source: error })
}
