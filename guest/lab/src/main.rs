//! The guest of the laboratory's rows. A row is a file here, and one of the same name in
//! host/lab/src/rows; host/lab/README.md says how to add one.
//!
//! Its arguments are a row's name and how many samples to take.

#![no_std]
#![no_main]

mod call;
mod coalesced;
mod cpuid;
mod hlt;
mod host_call;
mod input;
mod ioeventfd;
mod mmio;
mod msr;
mod out;
mod polled;
mod rdtsc;
mod ring;
mod stop;
mod string;
mod touch;
mod trap;
mod vmcall;

use calls::{back, ways};
use guest::abi::lab;
use guest::{Boot, Exit, println};

guest::entry!(main, calls = [lab, ways], serves = [back: host_call::Adder]);

/// What a row does with the number of samples that are wanted.
type Row = fn(&Boot, u32);

/// All rows.
const ROWS: &[(&str, Row)] = &[
    ("out-1", out::one),
    ("out-2", out::two),
    ("out-4", out::four),
    ("in-1", input::one),
    ("in-2", input::two),
    ("in-4", input::four),
    ("outs", string::outs),
    ("ins", string::ins),
    ("mmio-read", mmio::read),
    ("mmio-write", mmio::write),
    ("hlt", hlt::hlt),
    ("cpuid", cpuid::cpuid),
    ("rdmsr", msr::read),
    ("wrmsr", msr::write),
    ("ioeventfd-pio", ioeventfd::pio),
    ("ioeventfd-mmio", ioeventfd::mmio),
    ("coalesced-pio", coalesced::pio),
    ("coalesced-mmio", coalesced::mmio),
    ("call", call::scalars),
    ("call-in", call::buffer_in),
    ("call-out", call::buffer_out),
    ("host-call", host_call::wait),
    ("ring-1", ring::one),
    ("ring-8", ring::eight),
    ("ring-64", ring::sixty_four),
    ("ring-512", ring::full),
    ("polled", polled::polled),
    ("stop", stop::spin),
    ("trap-int3", trap::int3),
    ("trap-int", trap::int),
    ("trap-syscall", trap::syscall),
    ("touch", touch::touch),
    ("vmcall", vmcall::vmcall),
    ("rdtsc", rdtsc::rdtsc),
];

fn main(boot: &Boot) -> Exit {
    let mut words = boot.args();
    let (name, samples) = (words.next(), words.next().and_then(|word| word.parse().ok()));
    let row = ROWS.iter().find(|(row, _)| Some(*row) == name);
    let (Some((_, row)), Some(samples)) = (row, samples) else {
        println!("give a row's name and a number of samples");
        return Exit::code(2);
    };
    row(boot, samples);
    Exit::SUCCESS
}
