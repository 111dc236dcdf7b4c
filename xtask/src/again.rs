//! A guest once more: recorded, and replayed by the stock binary without any handlers. It must
//! print and end as it was recorded.

use crate::Failure;
use crate::cargo::{cannot_start, target_dir};
use crate::engine::{Case, DEADLINE, Hosts, command};
use crate::process::{self, Ran};
use std::fmt::Write;
use std::fs;
use std::process::Command;

/// How long a replay may take: its recording's own limit is in the log, and some that ends in seconds
/// is replayed on a machine that is busy.
const TIMEOUT: &str = "25s";

/// Records the guest as its host runs it, and replays it by the stock binary; what is wrong, if
/// anything is.
pub(crate) fn again(case: &Case, hosts: Hosts<'_>) -> Result<String, Failure> {
    let folder = target_dir().join("replay");
    fs::create_dir_all(&folder).map_err(|error| Failure::file("create", &folder, error))?;
    let log = folder.join(case.label.replace([' ', '/', '(', ')'], "-") + ".log");
    let mut record = command(case, hosts.own, 1, Some(("log", &log)))?;
    let recorded = ran(&mut record, case.directives.stdin.clone())?;
    let mut replay = Command::new(hosts.stock);
    replay.arg("replay").arg(&log).args(["--quiet", "--timeout", TIMEOUT]);
    let replayed = ran(&mut replay, Vec::new())?;
    let mut complaint = differences(&recorded, &replayed, case.half.is_some());
    if complaint.is_empty() {
        // Each has the image in it, which is much for what nobody looks at again.
        fs::remove_file(&log).map_err(|error| Failure::file("remove", &log, error))?;
    } else {
        let said = String::from_utf8_lossy(&replayed.stderr);
        let _ = writeln!(complaint, "{} says it again:\n{said}", log.display());
    }
    Ok(complaint)
}

fn ran(command: &mut Command, input: Vec<u8>) -> Result<Ran, Failure> {
    process::run(command, input, DEADLINE).map_err(|error| cannot_start(command, &error))
}

/// What a host half prints itself, behind all of its guest's text, is in no log.
fn differences(recorded: &Ran, replayed: &Ran, half: bool) -> String {
    let mut complaint = String::new();
    let codes = [recorded, replayed].map(|ran| ran.code);
    if codes[0] != codes[1] || codes[0].is_none() {
        let told = codes.map(|code| code.map_or("a hang".to_owned(), |code| code.to_string()));
        // Writing to a String does not fail, here and below.
        let _ =
            writeln!(complaint, "recorded it ended with {}, replayed with {}", told[0], told[1]);
    }
    let same = match half {
        true => recorded.stdout.starts_with(&replayed.stdout),
        false => recorded.stdout == replayed.stdout,
    };
    if !same {
        let _ = writeln!(complaint, "replayed it prints something else than recorded");
    }
    complaint
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(code: Option<i32>, text: &str) -> Ran {
        Ran { stdout: text.into(), stderr: Vec::new(), code }
    }

    #[test]
    fn code_and_text_are_compared() {
        let same = |a: Ran, b: Ran, half| differences(&a, &b, half).is_empty();
        assert!(same(ran(Some(3), "text"), ran(Some(3), "text"), false));
        assert!(!same(ran(Some(3), "text"), ran(Some(4), "text"), false));
        assert!(!same(ran(None, "text"), ran(None, "text"), false));
        assert!(!same(ran(Some(3), "text"), ran(Some(3), "tex"), false));
        assert!(same(ran(Some(3), "text"), ran(Some(3), "tex"), true));
        assert!(!same(ran(Some(3), "text"), ran(Some(3), "ext"), true));
    }
}
