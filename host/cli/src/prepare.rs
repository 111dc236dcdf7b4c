//! What a process needs before anything else, where Rust's standard library has not seen to it.

use std::ffi::{CStr, c_int};

const NULL: &CStr = c"/dev/null";

/// For a `main` that the C library calls: descriptors 0 to 2 are open afterwards, and SIGPIPE is an
/// error of a write. std does the same before its own `main`.
///
/// A descriptor that a parent has closed would be given to the next file that is opened, and what is
/// meant for stderr would go into that.
pub fn prepare() {
    let mut standard = [0, 1, 2].map(|fd: c_int| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: three valid entries for the call's duration; it does not wait.
    let found = unsafe { libc::poll(standard.as_mut_ptr(), 3, 0) };
    let closed = |it: &&libc::pollfd| it.revents & libc::POLLNVAL != 0;
    for _ in standard.iter().filter(|it| found < 0 || closed(it)) {
        // SAFETY: a C string. The lowest number that is free is the one that is given.
        let fd = unsafe { libc::open(NULL.as_ptr(), libc::O_RDWR) };
        if fd > 2 {
            // All were open, and poll had no room.
            // SAFETY: nobody else has it.
            unsafe { libc::close(fd) };
        }
    }
    // SAFETY: to be ignored is what the signal is set to; nothing of ours runs by it.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::prepare;

    #[test]
    fn what_is_open_stays_open_and_nothing_more_is() {
        let open = || std::fs::read_dir("/proc/self/fd").expect("procfs").count();
        let name = "prepare::tests::what_is_open_stays_open_and_nothing_more_is";
        if std::env::var_os("PORTCALL_TEST_PREPARE").is_some() {
            // In a process of its own: other tests open files meanwhile.
            let before = open();
            prepare();
            assert_eq!(open(), before);
            return;
        }
        let mut itself = std::process::Command::new(std::env::current_exe().expect("a path"));
        itself.args(["--exact", "--test-threads=1", name]).env("PORTCALL_TEST_PREPARE", "1");
        assert!(itself.output().expect("starts").status.success());
    }
}
