//! What each way out of a guest costs on this machine: `portcall lab`.
//!
//! A row is a mechanism of KVM's, with a guest that uses it and a host that answers ([`rows`]); or
//! a measurement of a guest of the caller's. Each is measured in rounds, every round a VM of its own
//! in a process of its own ([`round`]), by turns with those of all other rows ([`run`]), and what
//! comes of it is a [`Report`](report::Report).

/// The image of the built-in rows' guest; empty in a build without it.
pub static GUEST: &[u8] = include_bytes!(env!("LAB_GUEST"));

pub mod report;
mod absent;
pub mod machine;
pub mod rows;
pub mod stopwatch;
pub mod round;
mod affinity;
mod child;
mod gather;
mod pace;
mod progress;
pub mod run;

pub mod store;
mod figures;
mod words;
pub mod csv;
pub mod show;
pub mod compare;
pub mod page;

use ::page::{text, units};

// Tests and examples share the sample, which names this crate.
#[cfg(test)]
extern crate self as lab;

#[cfg(test)]
#[path = "../tests/sample/mod.rs"]
mod sample;
