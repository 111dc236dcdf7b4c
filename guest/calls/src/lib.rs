//! The interfaces of the shipped experiments, one short file each: both sides are built from
//! them.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod back;
pub mod batch;
pub mod calc;
pub mod counter;
pub mod kinds;
pub mod store;
pub mod stress;
pub mod tally;
pub mod ways;
