//! How `portcall lab` ends where something is in its way: Ctrl-C, a guest that never comes back, a full
//! disk, a reader that has gone.

use crate::Failure;
use crate::cargo::cannot_start;
use crate::process::{self, Ran};
use crate::programs::{self, Profile};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// When one of them has hung.
const DEADLINE: Duration = Duration::from_secs(60);

/// More than a guest's first round takes; by then the next guest spins.
const REACHED: &str = "6";

/// A guest that never comes back.
const SPINS: &str = "cli-spin";

fn run(mut command: Command) -> Result<Ran, Failure> {
    process::run(&mut command, Vec::new(), DEADLINE).map_err(|error| cannot_start(&command, &error))
}

/// What is to be seen of it, and is not.
pub(crate) fn differences(what: &str, ran: &Ran, code: i32, words: &[&str]) -> String {
    let said = [&ran.stdout[..], &ran.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    let mut wrong = String::new();
    // Writing to a String does not fail.
    if ran.code != Some(code) {
        let _ = writeln!(wrong, "{what}: code {:?}, not {code}\n{said}", ran.code);
    }
    for word in words.iter().filter(|word| !said.contains(**word)) {
        let _ = writeln!(wrong, "{what} does not say {word:?}:\n{said}");
    }
    wrong
}

/// All that is wrong with its ends. `measures` is a guest that measures something in little time.
pub(crate) fn wrong(portcall: &OsStr, measures: &Path, place: &Path) -> Result<String, Failure> {
    let spins = programs::find(SPINS)?;
    let image = spins.image(Profile::Release);
    programs::build(&[spins], Profile::Release)?;
    let mut wrong = interrupted(portcall, &[measures, &image], place)?;

    let mut wedged = Command::new(portcall);
    wedged.args(["lab", "--quick", "--alone", "--ring=0", "--timeout=1s"]).arg(&image);
    let words = ["wedged: it did not come back in 1s"];
    wrong += &differences("a guest that spins", &run(wedged)?, 1, &words);

    wrong += &full_disk(portcall, place)?;
    wrong += &gone_reader(portcall)?;
    wrong += &one_file_for_both(portcall, place)?;
    Ok(wrong)
}

/// A real SIGINT, while the second guest spins: what the first one measured stays, and all is marked.
fn interrupted(portcall: &OsStr, images: &[&Path], place: &Path) -> Result<String, Failure> {
    let file = place.join("interrupted.json");
    let mut command = Command::new("timeout");
    command.args(["--signal=INT", "--preserve-status", REACHED]).arg(portcall);
    command.args(["lab", "--alone", "--ring=0", "--timeout=1h"]);
    command.arg(format!("--emit=json={}", file.display())).args(images);
    let words = ["INTERRUPTED", "Host::exits", "not reached", "1 round"];
    let mut wrong = differences("Ctrl-C", &run(command)?, 130, &words);
    let text = fs::read_to_string(&file).map_err(|error| Failure::file("read", &file, error))?;
    for word in ["\"interrupted\":true", "Host::exits", "\"finding\":\"not_reached\""] {
        if !text.contains(word) {
            let _ = writeln!(wrong, "after Ctrl-C, {} does not have {word}", file.display());
        }
    }
    Ok(wrong)
}

/// A file that may not grow is as a disk that is full (RLIMIT_FSIZE, setrlimit(2)): what stood there
/// stays.
fn full_disk(portcall: &OsStr, place: &Path) -> Result<String, Failure> {
    const OLDER: &str = "an older run\n";
    let file = place.join("kept.csv");
    fs::write(&file, OLDER).map_err(|error| Failure::file("write", &file, error))?;
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"]).arg(portcall);
    command.args(["lab", "--quick", "--row=rdtsc"]);
    command.arg(format!("--emit=csv={}", file.display()));
    let mut wrong = differences("a full disk", &run(command)?, 125, &["cannot write", "kept.csv"]);
    if fs::read_to_string(&file).ok().as_deref() != Some(OLDER) {
        let _ = writeln!(wrong, "a full disk: {} is no longer the older one", file.display());
    }
    let mut device = Command::new(portcall);
    device.args(["lab", "--quick", "--row=rdtsc", "--emit=csv=/dev/full"]);
    wrong += &differences("/dev/full", &run(device)?, 125, &["cannot write /dev/full"]);
    Ok(wrong)
}

/// As all of portcall: 141, and no words.
fn gone_reader(portcall: &OsStr) -> Result<String, Failure> {
    let mut wrong = String::new();
    for words in [&["--list"][..], &["--quick", "--row=rdtsc", "--emit=csv=-"]] {
        let (reader, writer) = io::pipe().map_err(|error| Failure(format!("no pipe: {error}")))?;
        drop(reader);
        let mut command = Command::new(portcall);
        command.arg("lab").args(words).stdout(writer).stderr(Stdio::null());
        let status = command.status().map_err(|error| cannot_start(&command, &error))?;
        if status.code() != Some(141) {
            let _ = writeln!(wrong, "lab {} with no reader: {status}, not 141", words.join(" "));
        }
    }
    Ok(wrong)
}

/// A file that a shell has led stdout to as well is refused, by whatever name: one of table and file
/// would be lost.
fn one_file_for_both(portcall: &OsStr, place: &Path) -> Result<String, Failure> {
    let file = place.join("both");
    let mut wrong = String::new();
    for name in [file.as_path(), Path::new("/proc/self/fd/1")] {
        let stdout = File::create(&file).map_err(|error| Failure::file("make", &file, error))?;
        let mut command = Command::new(portcall);
        command.args(["lab", "--quick", "--row=rdtsc"]).stdout(stdout);
        command.arg(format!("--emit=json={}", name.display()));
        let output = command.stderr(Stdio::piped()).output();
        let output = output.map_err(|error| cannot_start(&command, &error))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(125) || !said.contains("stdout goes there as well") {
            let name = name.display();
            let _ = writeln!(wrong, "{name}, which is stdout: {}\n{said}", output.status);
        }
    }
    Ok(wrong)
}
