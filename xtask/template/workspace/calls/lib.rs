//! What the guest may ask of the host. Both sides are built from it.

#![no_std]
#![forbid(unsafe_code)]

pub mod {{module}};
