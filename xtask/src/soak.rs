//! Many VMs in one process: `portcall-soak` with all guest programs, short as one of the tests,
//! long by `cargo xtask test --soak`.

use crate::Failure;
use crate::cargo::{build_soak, succeeds};
use crate::engine::Verdict;
use crate::process;
use crate::programs::{self, Profile};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Its name among the tests.
pub(crate) const LABEL: &str = "soak";

/// The short one: VMs, and stops at random moments.
const SHORT: [&str; 2] = ["--vms=400", "--stops=1000"];
/// The long one: some minutes.
const LONG: [&str; 2] = ["--vms=10000", "--stops=100000"];

/// When the short one has hung.
const DEADLINE: Duration = Duration::from_secs(120);

/// Builds all that it takes.
fn command(size: [&str; 2]) -> Result<Command, Failure> {
    let programs = programs::all()?;
    programs::build(&programs, Profile::Release)?;
    let mut command = Command::new(build_soak()?);
    command.args(size).args(programs.iter().map(|it| it.image(Profile::Release)));
    Ok(command)
}

/// The long one, whose words are passed on.
pub(crate) fn long() -> Result<ExitCode, Failure> {
    let passed = succeeds(&mut command(LONG)?)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The short one.
pub(crate) fn short() -> Result<Verdict, Failure> {
    let ran = process::run(&mut command(SHORT)?, Vec::new(), DEADLINE)
        .map_err(|error| Failure(format!("cannot start the soak: {error}")))?;
    if ran.code == Some(0) {
        return Ok(Verdict::Passed);
    }
    let said = [ran.stdout, ran.stderr].concat();
    let code = ran.code.map_or("killed at its deadline".to_owned(), |it| format!("code {it}"));
    Ok(Verdict::Failed(format!("{code}\n{}", String::from_utf8_lossy(&said))))
}
