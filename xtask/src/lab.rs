//! `cargo xtask lab`: builds the laboratory with the guest of its rows, and becomes `portcall lab`.

use crate::cargo::{build_lab, build_lab_guest, cannot_start, root, target_dir};
use crate::engine::Verdict;
use crate::programs::{self, Profile};
use crate::{Failure, halves, lab_ends, lab_rows, process};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Its name among the tests.
pub(crate) const LABEL: &str = "laboratory";

/// When a part of its test has hung.
const DEADLINE: Duration = Duration::from_secs(120);

/// The command line of `lab`.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "cargo xtask lab [NAME] [OPTIONS] [-- ARGS]",
    after_help = "\
NAME is a guest program that measures by `guest::measure`, as for `cargo xtask run`; with the host half \
of its name, if there is one. Without it only the built-in rows are measured."
)]
pub(crate) struct Args {
    /// A guest program, and options for `portcall lab`; --help lists them, --quick takes 10 seconds
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "NAME|OPTION")]
    words: Vec<OsString>,
}

/// Builds all that it takes, and goes on as `portcall lab`.
pub(crate) fn lab(args: &Args, guest_args: &[OsString]) -> Result<ExitCode, Failure> {
    let mut command = command(&args.words)?;
    if !guest_args.is_empty() {
        command.arg("--").args(guest_args);
    }
    // In our place, so that signals, terminal and exit code are the real ones.
    let error = command.exec();
    Err(cannot_start(&command, &error))
}

/// Whether it is that option.
fn says(word: &OsString, option: &str) -> bool {
    word.to_string_lossy().split('=').next() == Some(option)
}

/// The options of `portcall lab` that have a word behind them, and how many.
const WITH_WORDS: [(&str, usize); 7] = [
    ("--row", 1),
    ("--ring", 1),
    ("--pin", 1),
    ("--emit", 1),
    ("--memory", 1),
    ("--timeout", 1),
    ("--compare", 2),
];

/// Where NAME stands: the first word that is no option, no option's, and no path of an image.
fn place_of_name(words: &[OsString]) -> Option<usize> {
    let mut place = 0;
    loop {
        let word = words.get(place)?.to_string_lossy();
        let option = WITH_WORDS.iter().find(|(option, _)| *option == word);
        place += match option {
            Some((_, behind)) => 1 + behind,
            None if word.starts_with('-') || word.contains('/') => 1,
            None => return Some(place),
        };
    }
}

/// `portcall lab` with these words, built.
pub(crate) fn command(words: &[OsString]) -> Result<Command, Failure> {
    let place = place_of_name(words);
    let named = place.and_then(|place| words.get(place));
    let (mut own, mut half): (Vec<OsString>, _) = (Vec::new(), None);
    if let Some(name) = named {
        let program = programs::find(&name.to_string_lossy())?;
        let header = program.directives()?;
        half = halves::of(&program.name, header.host.as_deref())?;
        own.push(program.image(Profile::Release).into());
        // What its header asks for, unless the user says otherwise.
        for (option, asked) in [("--memory", header.memory), ("--ring", header.ring)] {
            let asked = asked.filter(|_| !words.iter().any(|it| says(it, option)));
            own.extend(asked.map(|asked| format!("{option}={asked}").into()));
        }
        programs::build(&[program], Profile::Release)?;
    }
    let options = words.iter().enumerate().filter(|(at, _)| Some(*at) != place);
    let guest: PathBuf = build_lab_guest()?;
    let mut command = Command::new(build_lab(half.as_deref(), &guest)?);
    command.arg("lab").args(own).args(options.map(|(_, word)| word));
    Ok(command)
}

/// On a processor that this process may use, whichever that is.
fn pinned(program: &OsStr) -> Command {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = text.lines().find_map(|it| it.strip_prefix("Cpus_allowed_list:")).unwrap_or("0");
    let first = list.trim().split([',', '-']).next().unwrap_or("0");
    let mut command = Command::new(program);
    command.args(["lab", "--quick", "--row=out-1", "--row=stop"]).arg(format!("--pin={first}"));
    command
}

/// Rows at once for which a quick run on a busy machine has time.
const FEW: usize = 4;

/// Quick runs of the rows for which there was no time, as long as there are some and one gets further.
fn rest(program: &OsStr, file: &Path, reports: &mut Vec<String>) -> Result<String, Failure> {
    let mut wrong = String::new();
    loop {
        let left = lab_rows::unreached(reports);
        if left.is_empty() || !wrong.is_empty() {
            return Ok(wrong);
        }
        let mut command = Command::new(program);
        command.args(["lab", "--quick"]).arg(format!("--emit=json={}", file.display()));
        command.args(left.iter().take(FEW).map(|name| format!("--row={name}")));
        let ran = process::run(&mut command, Vec::new(), DEADLINE);
        let ran = ran.map_err(|error| cannot_start(&command, &error))?;
        wrong += &lab_ends::differences("rows that were not reached", &ran, 0, &left[..1]);
        reports.push(fs::read_to_string(file).unwrap_or_default());
        if lab_rows::unreached(reports).len() == left.len() {
            wrong += &format!(
                "a quick run of {:?} reaches none of them\n",
                &left[..left.len().min(FEW)]
            );
        }
    }
}

/// All rows with few samples, and a guest's own: whether they come to what is known of them, and are
/// in all files; never how long anything took.
pub(crate) fn smoke() -> Result<Verdict, Failure> {
    let program = command(&[])?;
    let program = program.get_program();
    let measured = programs::find("measured")?;
    let image = measured.image(Profile::Release);
    programs::build(&[measured], Profile::Release)?;
    let place = target_dir().join("xtask/lab");
    fs::create_dir_all(&place).map_err(|error| Failure::file("make", &place, error))?;
    let file = |kind: &str| place.join(format!("report.{kind}"));
    let emit = |kind: &str| format!("--emit={kind}={}", file(kind).display());

    let mut first = Command::new(program);
    first.args(["lab", "--quick"]);
    first.args(["json", "csv", "html"].map(emit)).arg(&image);
    let mut second = Command::new(program);
    second.args(["lab", "--compare"]).args([file("json"), file("json")]);
    // What cannot be had is said before anything is measured.
    let mut third = Command::new(program);
    third.args(["lab", "--row=out-1", "--emit=json=/nonexistent/a.json"]);
    let mut fourth = Command::new(program);
    fourth.args(["lab", "--quick", "--alone"]).arg(root().join("Cargo.toml"));

    let mut wrong = String::new();
    let compared = ["Both machines are described alike", "B/A", "out-1", "which means"];
    let commands = [
        (first, 0, &["out-1"][..]),
        (second, 0, &compared),
        (third, 125, &["cannot create /nonexistent/a.json"]),
        (fourth, 1, &["Cargo"]),
        (pinned(program), 0, &["stop"]),
    ];
    for (command, code, said) in commands {
        let mut command = command;
        let ran = process::run(&mut command, Vec::new(), DEADLINE);
        let ran = ran.map_err(|error| cannot_start(&command, &error))?;
        let words: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
        wrong += &lab_ends::differences(&words.join(" "), &ran, code, said);
    }
    for kind in ["json", "csv", "html"] {
        let text = fs::read_to_string(file(kind)).unwrap_or_default();
        for row in ["out-1", "host-call", "ring-8", "Host::exits"] {
            if !text.contains(row) {
                wrong += &format!("{} does not have the row {row}\n", file(kind).display());
            }
        }
    }
    wrong += &lab_ends::wrong(program, &image, &place)?;
    let mut reports = vec![fs::read_to_string(file("json")).unwrap_or_default()];
    wrong += &rest(program, &file("rest.json"), &mut reports)?;
    wrong += &lab_rows::differences(&reports);
    Ok(if wrong.is_empty() { Verdict::Passed } else { Verdict::Failed(wrong) })
}

#[cfg(test)]
mod tests {
    use super::place_of_name;
    use std::ffi::OsString;

    #[test]
    fn a_name_may_stand_anywhere() {
        let place = |words: &str| {
            let words: Vec<OsString> = words.split_ascii_whitespace().map(Into::into).collect();
            place_of_name(&words)
        };
        assert_eq!(place("mine"), Some(0));
        assert_eq!(place("mine --quick"), Some(0));
        assert_eq!(place("--quick --alone mine"), Some(2));
        assert_eq!(place("--row out --ring=3 --emit csv=a mine --pin 1"), Some(5));
        assert_eq!(place("--quick --row out"), None);
        assert_eq!(place("--compare a.json b.json"), None);
        assert_eq!(place("--alone target/mine.elf"), None);
        assert_eq!(place("--row"), None);
        assert_eq!(place(""), None);
    }
}
