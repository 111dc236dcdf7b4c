//! Which lines of its source a guest has reached, by the line tables of its image: no other build, no
//! help from the guest.
//!
//! A [`Collector`] is a [`Driver`] that sets a breakpoint wherever a statement begins. The first
//! time that one is reached it is taken away again, so that each costs one exit; a line was reached or was
//! not, and how often is not known.
//!
//! A guest sees the breakpoints (INT3, 0xcc) where it reads its own code, as one does that has a
//! checksum of it; and one with an interrupt table of its own gets them itself where KVM does not
//! take them (ring 3 of kvm_pvm). Code that is changed while it runs, or that the guest loads, has lines
//! only as far as it is the image's.
//!
//! ```no_run
//! use inspect::coverage::{Collector, Plan};
//! use inspect::drive;
//! use portcall::{Image, Kvm, Vm};
//!
//! let file = std::fs::read("target/x86_64-unknown-none/release/examples/hello")?;
//! let image = Image::parse(&file)?;
//! let here = std::env::current_dir()?;
//! let plan = Plan::of(&image, &file, |source| source.starts_with(&here)).expect("it has lines");
//! let mut collector = Collector::new(plan);
//! let mut vm = Vm::builder(&Kvm::open()?, &image).build()?;
//! drive::run(&mut vm, vec![&mut collector])?;
//! collector.finish().write_lcov("hello", &mut std::io::stdout())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lcov;
mod page;
mod plan;
mod starts;

pub use lcov::NotLcov;
pub use plan::Plan;

use crate::drive::{Driver, Scene};
use portcall::{Error, Gva};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// What is known of lines, of one run or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// By the file's path, as the compiler had it.
    pub files: BTreeMap<PathBuf, File>,
}

/// What is known of a file's lines. Those that are not in it have no code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// By number, from 1: whether it was reached.
    pub lines: BTreeMap<u32, bool>,
    /// The functions that begin in it, by line and name, and whether they were called. Those that
    /// were inlined wherever they are called are not among them.
    pub functions: BTreeMap<(u32, String), bool>,
}

impl File {
    /// How many lines were reached, and how many there are.
    #[must_use]
    pub fn reached(&self) -> (usize, usize) {
        (self.lines.values().filter(|it| **it).count(), self.lines.len())
    }
}

impl Coverage {
    /// How many lines were reached, and how many there are.
    #[must_use]
    pub fn reached(&self) -> (usize, usize) {
        let all = self.files.values().map(File::reached);
        all.fold((0, 0), |(reached, lines), it| (reached + it.0, lines + it.1))
    }

    /// Takes in what another run has reached.
    pub fn merge(&mut self, other: Self) {
        for (path, file) in other.files {
            let own = self.files.entry(path).or_default();
            for (line, reached) in file.lines {
                *own.lines.entry(line).or_default() |= reached;
            }
            for (function, called) in file.functions {
                *own.functions.entry(function).or_default() |= called;
            }
        }
    }
}

/// Goes along with a run, and notes what is reached.
pub struct Collector {
    plan: Plan,
    /// Where it was not reached yet; places without memory are left out.
    waiting: HashMap<u64, bool>,
    missing: usize,
}

impl Collector {
    /// Collects what is in the plan.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let waiting = plan.addresses().map(|it| (it, false)).collect();
        Self { plan, waiting, missing: 0 }
    }

    /// How many places were not looked at: those that begin no instruction, and those where the
    /// guest has no memory.
    #[must_use]
    pub const fn left_out(&self) -> usize {
        self.plan.left_out() + self.missing
    }

    /// What was reached.
    #[must_use]
    pub fn finish(self) -> Coverage {
        self.plan.coverage(|address| self.waiting.get(&address).copied())
    }
}

impl Driver for Collector {
    fn begin(&mut self, scene: &mut Scene<'_>) -> Result<(), Error> {
        let places: Vec<u64> = self.waiting.keys().copied().collect();
        for place in places {
            if scene.insert(Gva(place)).is_err() {
                self.waiting.remove(&place);
                self.missing += 1;
            }
        }
        Ok(())
    }

    fn reached(&mut self, scene: &mut Scene<'_>, at: Gva) -> Result<(), Error> {
        if let Some(reached) = self.waiting.get_mut(&at.0) {
            *reached = true;
            scene.remove(at);
        }
        Ok(())
    }
}
