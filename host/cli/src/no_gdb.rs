//! What stands in the place of `gdb` in a build without instruments: the option is there, and says
//! that it does nothing.

use crate::code::Failure;
use crate::emit::without_instruments;
use inspect::drive::Driver;
use portcall::{Builder, Error, Image, Kvm, Outcome, Ring, Vm};
use std::path::Path;
use std::str::FromStr;

/// There is none.
#[derive(Clone, Debug)]
pub(crate) enum Gdb {}

impl FromStr for Gdb {
    type Err = String;

    fn from_str(_: &str) -> Result<Self, String> {
        Err(without_instruments("gdb"))
    }
}

impl Gdb {
    pub(crate) const fn open(&self) -> Result<Debugger, Failure> {
        match *self {}
    }
}

/// There is none.
pub(crate) enum Debugger {}

impl Debugger {
    pub(crate) fn equip<'b>(&self, _: Builder<'b>) -> Builder<'b> {
        match *self {}
    }

    pub(crate) const fn attach(&self, _: &Kvm, _: Ring, _: &Vm, _: &Path) -> Result<(), Failure> {
        match *self {}
    }

    pub(crate) fn run(
        &self,
        _: &mut Vm,
        _: &Image<'_>,
        _: Vec<&mut dyn Driver>,
        _: bool,
    ) -> Result<Outcome, Error> {
        match *self {}
    }

    pub(crate) const fn has_killed(&self) -> bool {
        match *self {}
    }
}
