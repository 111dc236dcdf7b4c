//! Running a program with given input, taking all that it says, under a deadline.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// What a program did.
pub(crate) struct Ran {
    /// All of its stdout, up to [`OUTPUT_MAX`].
    pub(crate) stdout: Vec<u8>,
    /// All of its stderr, up to [`OUTPUT_MAX`].
    pub(crate) stderr: Vec<u8>,
    /// The code that it ended with, as a shell reports it; none if it was killed at the deadline.
    pub(crate) code: Option<i32>,
}

/// Bytes kept of a stream; the rest is read and dropped, so that the program can end its own way.
const OUTPUT_MAX: u64 = 16 << 20;

/// Starts a program, waits for its end or the deadline, and kills it then.
pub(crate) fn run(command: &mut Command, input: Vec<u8>, deadline: Duration) -> io::Result<Ran> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program need not read its input: then this ends with a broken pipe.
        thread::spawn(move || stdin.write_all(&input));
    }
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let code = wait(&mut child, deadline)?.map(code);
    Ok(Ran { stdout: finish(stdout), stderr: finish(stderr), code })
}

/// The code that a shell would report.
fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|it| 128 + it)).unwrap_or(-1)
}

/// Reads a stream to its end in a thread of its own.
fn collect(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // An error of the read is an early end of the text, which the comparison will show.
        let _ = stream.by_ref().take(OUTPUT_MAX).read_to_end(&mut bytes);
        let _ = io::copy(&mut stream, &mut io::sink());
        sender.send(bytes)
    });
    receiver
}

/// What a stream held. The program is gone; only a child of its own can still hold the pipe,
/// and that one is not waited for long.
fn finish(stream: Option<Receiver<Vec<u8>>>) -> Vec<u8> {
    stream.and_then(|it| it.recv_timeout(Duration::from_secs(2)).ok()).unwrap_or_default()
}

/// Waits for the end, or kills the program at the deadline.
fn wait(child: &mut Child, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        // std has no wait with a timeout.
        thread::sleep(Duration::from_millis(2));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &[u8], deadline: Duration) -> Ran {
        run(Command::new("sh").args(["-c", script]), input.to_vec(), deadline).expect("sh starts")
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn input_goes_in_and_both_streams_come_out() {
        let ran = sh("cat; echo two >&2; exit 7", b"one", LONG);
        assert_eq!((ran.stdout.as_slice(), ran.stderr.as_slice()), (&b"one"[..], &b"two\n"[..]));
        assert_eq!(ran.code, Some(7));
    }

    #[test]
    fn input_larger_than_a_pipe_need_not_be_read() {
        let ran = sh("exit 0", &vec![b'x'; 1 << 20], LONG);
        assert_eq!(ran.code, Some(0));
    }

    #[test]
    fn endless_output_is_cut_but_not_stopped() {
        let ran = sh("head -c 20000000 /dev/zero; exit 3", b"", LONG);
        assert_eq!((ran.stdout.len(), ran.code), (16 << 20, Some(3)));
    }

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!(sh("kill -9 $$", b"", LONG).code, Some(137));
    }

    #[test]
    fn what_hangs_is_killed() {
        let ran = sh("echo said; exec sleep 60", b"", Duration::from_millis(300));
        assert!(ran.code.is_none());
        assert_eq!(ran.stdout, b"said\n");
    }
}
