//! Returns an error from main.
//@ expect: exit=1 end=exited

#![no_std]
#![no_main]

use core::num::ParseIntError;
use guest::{Boot, println};

guest::entry!(main);

fn main(_: &Boot) -> Result<(), ParseIntError> {
    println!("{}", "forty-two".parse::<u64>()?);
    Ok(())
}
