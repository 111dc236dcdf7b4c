//! Calls a calculator in the guest, over and over: the same VM answers, and keeps its state.

use calls::calc::{Client, Point};
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let ask = |vm: &mut portcall::Vm| {
        let mut calc = Client(vm.door().within(Duration::from_secs(1)));
        let mut out = stdout();
        writeln!(out, "2 + 3 is {}", calc.add(2, 3)?)?;
        writeln!(out, "7 / -2 is {:?}", calc.divide(7, -2)?)?;
        writeln!(out, "7 / 0 is {:?}", calc.divide(7, 0)?)?;
        for value in [1, 20, 300] {
            writeln!(out, "{value} more make {}", calc.accumulate(value)?)?;
        }
        writeln!(out, "{:?}", calc.turn(Point { x: 3, y: 1 })?)?;
        writeln!(out, "{:?}", calc.echo("twenty bytes of text")?)?;
        let mut bytes = *b"guest";
        let least = calc.sort(&mut bytes)?;
        writeln!(out, "{} sorted, {least} of the least", bytes.escape_ascii())?;
        Ok(())
    };
    cli::Experiment::new().after(ask).main()
}
