//! Answers a call of every kind, and then makes each of its guest.

use calls::kinds::{Client, Echo, Server};
use portcall::Vm;
use std::error::Error;
use std::io::{Write, stdout};
use std::process::ExitCode;

fn ask_guest(vm: &mut Vm) -> Result<(), Box<dyn Error>> {
    let mut client = Client(vm.door());
    calls::ask!(client?);
    writeln!(stdout(), "the guest answers right")?;
    Ok(())
}

fn main() -> ExitCode {
    cli::Experiment::new().vm(|vm| vm.serve(Server(Echo::default()))).after(ask_guest).main()
}
