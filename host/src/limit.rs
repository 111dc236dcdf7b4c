//! Bounds on what a run may use.

use std::fmt;
use std::time::Duration;

/// A bound on what a run, or a call of the host's into its guest, may use.
///
/// All are looked at where the guest exits, and those of time and text at the ticks of a timer
/// besides. A limit that is met to the last unit is not reached: the end comes with the first unit
/// beyond it, which is not answered.
///
/// ```
/// use portcall::{End, Image, Kvm, Limit, Vm};
///
/// // out 0x80, al; jmp to it
/// let (kvm, image) = (Kvm::open()?, Image::flat(&[0xe6, 0x80, 0xeb, 0xfc])?);
/// let mut vm = Vm::builder(&kvm, &image).limit(Limit::Exits(3)).build()?;
/// assert_eq!(vm.run()?.end, End::LimitReached(Limit::Exits(3)));
/// # Ok::<(), portcall::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Wall-clock time from the first KVM_RUN on. It is seen at the next tick of a timer, at
    /// most 20 ms late, or as soon as a handler that is at work by then has answered: one that
    /// runs another VM gives that a limit of its own.
    Time(Duration),
    /// Exits of the guest's own: not those that the host asked for by a signal or for debugging,
    /// nor those that only some KVMs make ([`Exit::TaskPriority`](crate::Exit::TaskPriority)).
    Exits(u64),
    /// Bytes of console text, the host's own words among it. What is beyond is not handed on. A
    /// run that has printed more ends so even where its guest had ended otherwise by then.
    Console(u64),
    /// Typed calls of the guest's.
    Calls(u64),
}

impl Limit {
    /// All that [`name`](Self::name) gives.
    pub const NAMES: [&str; 4] = ["time", "exits", "console", "calls"];

    /// A short name of what is bounded.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Time(_) => "time",
            Self::Exits(_) => "exits",
            Self::Console(_) => "console",
            Self::Calls(_) => "calls",
        }
    }
}

/// What the guest did, as a sentence goes on behind its name.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        match *self {
            Self::Time(time) => write!(f, "ran longer than its limit of {time:?}"),
            Self::Exits(most) => {
                write!(f, "made more exits than its limit of {most} exit{}", plural(most))
            }
            Self::Console(most) => {
                write!(f, "printed more than its limit of {most} byte{}", plural(most))
            }
            Self::Calls(most) => {
                write!(f, "made more calls than its limit of {most} call{}", plural(most))
            }
        }
    }
}

/// At most one limit of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) time: Option<Duration>,
    pub(crate) exits: Option<u64>,
    pub(crate) console: Option<u64>,
    pub(crate) calls: Option<u64>,
}

impl Limits {
    /// Sets one, in place of what there was of its kind.
    pub(crate) const fn set(&mut self, limit: Limit) {
        match limit {
            Limit::Time(time) => self.time = Some(time),
            Limit::Exits(most) => self.exits = Some(most),
            Limit::Console(most) => self.console = Some(most),
            Limit::Calls(most) => self.calls = Some(most),
        }
    }
}
