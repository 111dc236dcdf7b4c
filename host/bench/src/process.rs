//! A side's process, from outside: started, asked for rounds, and seen to its end.

use crate::peak;
use crate::sides::{Role, Sample};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

/// How a side's rounds are had.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// By a role of this program, which measures by itself.
    Role(Role),
    /// The same, but milliseconds from the process's start to its end.
    RoleToExit(Role),
    /// Milliseconds from a program's start to its end.
    ToExit(Vec<OsString>),
    /// KiB that were resident at most in a program.
    Peak(Vec<OsString>),
}

/// Rounds of a process that is kept: where it lies in memory, and what else is its own, is to be
/// another often enough.
const BATCH: usize = 10;

/// A side that rounds can be had of.
pub(crate) enum Side {
    Kept(Kept),
    Fresh(Work),
}

impl Side {
    pub(crate) fn start(work: &Work) -> Result<Self, String> {
        match work {
            Work::Role(role) if role.is_kept() => Kept::start(role).map(Self::Kept),
            work => Ok(Self::Fresh(work.clone())),
        }
    }

    pub(crate) fn round(&mut self) -> Result<Sample, String> {
        match self {
            Self::Kept(kept) => kept.round(),
            Self::Fresh(Work::Role(role)) => one_line(role),
            Self::Fresh(Work::RoleToExit(role)) => to_exit(&mut playing(role)?),
            Self::Fresh(Work::ToExit(words)) => to_exit(&mut command(words)?),
            Self::Fresh(Work::Peak(words)) => {
                let kib = peak::of(&mut command(words)?)?;
                Ok(Sample { value: kib, instructions: None })
            }
        }
    }

    /// Rounds after which its process is started anew.
    pub(crate) const fn batch(work: &Work) -> usize {
        match work {
            Work::Role(role) if role.is_kept() => BATCH,
            _ => 1,
        }
    }

    /// Sees it to its end, which has to be a good one.
    pub(crate) fn end(self) -> Result<(), String> {
        match self {
            Self::Kept(kept) => kept.end(),
            Self::Fresh(_) => Ok(()),
        }
    }
}

/// A process that does a round for each line.
pub(crate) struct Kept {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Kept {
    fn start(role: &Role) -> Result<Self, String> {
        let mut command = playing(role)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(cannot_start)?;
        let (ask, answers) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes")?;
        Ok(Self { child, ask, answers: BufReader::new(answers) })
    }

    fn round(&mut self) -> Result<Sample, String> {
        let mut line = String::new();
        // A side that is gone is heard of by its missing answer.
        let _ = self.ask.write_all(b"\n");
        let _ = self.answers.read_line(&mut line);
        Sample::parse(&line).ok_or_else(|| "one side ended; what it said is above".to_owned())
    }

    fn end(self) -> Result<(), String> {
        let Self { mut child, ask, answers } = self;
        drop((ask, answers));
        let status = child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("one side ended by {status}")) }
    }
}

fn one_line(role: &Role) -> Result<Sample, String> {
    let mut command = playing(role)?;
    command.stdout(Stdio::piped());
    let output = command.output().map_err(cannot_start)?;
    let line = String::from_utf8_lossy(&output.stdout);
    Sample::parse(&line)
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("one side ended by {}; what it said is above", output.status))
}

fn to_exit(command: &mut Command) -> Result<Sample, String> {
    let start = Instant::now();
    let status = command.status().map_err(cannot_start)?;
    let value = start.elapsed().as_secs_f64() * 1e3;
    if status.success() {
        return Ok(Sample { value, instructions: None });
    }
    Err(format!("{:?} ended by {status}", command.get_program()))
}

/// This program, in a role. Its errors are heard.
fn playing(role: &Role) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let text = serde_json::to_string(role).map_err(|error| error.to_string())?;
    let mut command = command(&[program.into(), "side".into(), text.into()])?;
    command.stderr(Stdio::inherit());
    Ok(command)
}

/// In a process group of its own: Ctrl-C at a terminal is for us, who end what we began.
fn command(words: &[OsString]) -> Result<Command, String> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn cannot_start(error: std::io::Error) -> String {
    format!("a side cannot be started: {error}")
}
