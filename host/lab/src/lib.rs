//! The laboratory: what each way out of a guest costs on this machine.

pub mod report;
pub mod store;
mod text;
mod units;
mod figures;
mod words;
pub mod csv;
pub mod show;
pub mod compare;
pub mod page;

// Tests and examples share the sample, which names this crate.
#[cfg(test)]
extern crate self as lab;

#[cfg(test)]
#[path = "../tests/sample/mod.rs"]
mod sample;
