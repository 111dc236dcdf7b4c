//! The laboratory: what each way out of a guest costs on this machine.

pub mod report;
