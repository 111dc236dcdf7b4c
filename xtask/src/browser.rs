//! The page of a run in a browser, as one of the tests: where there is one.

use crate::Failure;
use crate::cargo::cargo;
use crate::engine::Verdict;
use crate::process;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Its name among the tests.
pub(crate) const LABEL: &str = "browser";

/// When it has hung, its building included.
const DEADLINE: Duration = Duration::from_secs(600);

/// Whether there is a Chromium that starts.
fn is_there() -> bool {
    let mut command = Command::new("chromium");
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Zooms in a headless browser, and looks at what came of it.
pub(crate) fn test() -> Result<Verdict, Failure> {
    if !is_there() {
        let why = "there is no chromium (apt-get install chromium)";
        return Ok(Verdict::Skipped(why.to_owned()));
    }
    let mut command = cargo("test");
    // As the other tests are built.
    command.args(["--features", "portcall-cli/instruments", "--test", "browser"]);
    command.args(["--", "--ignored"]);
    let ran = process::run(&mut command, Vec::new(), DEADLINE)
        .map_err(|error| Failure(format!("cannot start the browser's test: {error}")))?;
    if ran.code == Some(0) {
        return Ok(Verdict::Passed);
    }
    let said = [ran.stdout, ran.stderr].concat();
    Ok(Verdict::Failed(String::from_utf8_lossy(&said).into_owned()))
}
