//! A process with rounds, seen from the one that waits for it.

use crate::report::Absent;
use crate::round::{Answer, Order};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The most that is taken of what it says: samples, and words at its death.
const ANSWER_MAX: usize = 256 << 20;
const WORDS_MAX: usize = 64 << 10;

/// How often it is looked whether to stop.
const LOOK: u16 = 50;

/// What came of it.
pub(crate) enum Heard {
    Answer(Answer),
    /// It ended without one: at its deadline, or by a signal, which may be from outside.
    Killed(Absent),
    /// It was to be stopped, and was.
    Stopped,
}

/// The process; it ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It leads a group of its own, so that nothing that it started stays either.
        if let Ok(id) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

/// Has this program obey an order, for as long as that may take.
pub(crate) fn obey(order: &Order, deadline: Duration, is_stopped: &dyn Fn() -> bool) -> Heard {
    match heard(order, deadline, is_stopped) {
        Ok(heard) => heard,
        Err(error) => Heard::Answer(Err(Absent::failed(format!("its process failed: {error}")))),
    }
}

fn heard(order: &Order, deadline: Duration, is_stopped: &dyn Fn() -> bool) -> io::Result<Heard> {
    // This very program, even where a build has put another in its place meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg("lab-round").arg(serde_json::to_string(order)?).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn()?);
    // One beyond all time is none.
    let end = Instant::now().checked_add(deadline);
    let (mut out, mut err) = (running.0.stdout.take(), running.0.stderr.take());
    let (mut answer, mut words) = (Vec::new(), Vec::new());
    let over = || {
        if is_stopped() {
            return Some(Heard::Stopped);
        }
        let why = || format!("it did not come back in {}", humantime::format_duration(deadline));
        let is_late = end.is_some_and(|end| Instant::now() >= end);
        is_late.then(|| Heard::Killed(Absent::wedged(why())))
    };
    while out.is_some() || err.is_some() {
        if let Some(heard) = over() {
            return Ok(heard);
        }
        let fds = out.iter().map(AsFd::as_fd).chain(err.iter().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::from(LOOK)) {
            Err(nix::errno::Errno::EINTR) => continue,
            ready => ready?,
        };
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let ready: Vec<bool> = fds.iter().map(is_ready).collect();
        let out_is_ready = out.is_some() && ready.first().is_some_and(|it| *it);
        let err_is_ready = err.is_some() && ready.last().is_some_and(|it| *it);
        if out_is_ready && !take(&mut out, &mut answer, ANSWER_MAX)? {
            out = None;
        }
        if err_is_ready && !take(&mut err, &mut words, WORDS_MAX)? {
            err = None;
        }
    }
    let status = match ended(&mut running.0, over)? {
        Ok(status) => status,
        Err(heard) => return Ok(heard),
    };
    let answer = understood(&answer, &words, status);
    Ok(match answer {
        Err(absent) if status.signal().is_some() => Heard::Killed(absent),
        answer => Heard::Answer(answer),
    })
}

/// Waits for its end, unless something is over before: a process may close its pipes and go on.
fn ended<T>(child: &mut Child, over: impl Fn() -> Option<T>) -> io::Result<Result<ExitStatus, T>> {
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ok(status));
        }
        if let Some(over) = over() {
            return Ok(Err(over));
        }
        // Its end follows that of its pipes at once, as a rule.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(LOOK.into()));
    }
}

/// Reads what is there; whether there may be more.
fn take(from: &mut Option<impl Read>, into: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    let mut block = [0; 64 << 10];
    let count = match from.as_mut().map(|it| it.read(&mut block)) {
        Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
        count => count.transpose()?.unwrap_or(0),
    };
    let room = most.saturating_sub(into.len());
    into.extend_from_slice(&block[..count.min(room)]);
    Ok(count > 0)
}

/// The answer, or what else there is to say of such a process.
fn understood(answer: &[u8], words: &[u8], status: ExitStatus) -> Answer {
    if let (true, Ok(answer)) = (status.success(), serde_json::from_slice::<Answer>(answer)) {
        return answer;
    }
    let words = String::from_utf8_lossy(words);
    let last = words.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.map_or_else(|| "it said nothing".to_owned(), |it| format!("it said: {it}"));
    Err(Absent::failed(format!("its process ended by {status} without an answer; {last}")))
}

#[cfg(test)]
mod tests {
    use super::{Running, ended, understood};
    use crate::report::Absence;
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Command, ExitStatus};
    use std::time::{Duration, Instant};

    #[test]
    fn rubbish_is_a_failure_with_the_last_words() {
        for (answer, status) in [("", 9), ("{\"Ok\":[", 0), ("{\"Ok\":[]}", 256), ("\u{1}", 0)] {
            let words = b"one\nportcall: panicked at a.rs\n\n";
            let status = ExitStatus::from_raw(status);
            let absent = understood(answer.as_bytes(), words, status).expect_err(answer);
            assert_eq!(absent.kind, Absence::Failed);
            assert!(absent.why.ends_with("it said: portcall: panicked at a.rs"), "{}", absent.why);
        }
        assert_eq!(understood(b"{\"Ok\":[]}\n", b"", ExitStatus::from_raw(0)), Ok(Vec::new()));
    }

    #[test]
    fn a_process_that_closed_its_pipes_and_stays_is_not_waited_for_for_ever() {
        let sleeps = |time: &str| {
            Running(Command::new("sleep").arg(time).process_group(0).spawn().expect("sleep starts"))
        };
        let start = Instant::now();
        let over = || (start.elapsed() > Duration::from_millis(200)).then_some("over");
        assert_eq!(ended(&mut sleeps("60").0, over).expect("it can be asked"), Err("over"));
        let status = ended(&mut sleeps("0").0, || None::<()>).expect("it can be asked");
        assert!(status.is_ok_and(|it| it.success()));
    }
}
