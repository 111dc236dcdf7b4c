//! The VM's end, left to the kernel: who waits for this process does not wait for that too.
//!
//! Who closes the last descriptor of a VM waits in close(2) for grace periods of the kernel's, some
//! 0.4 ms of a start's 1.3. So one more descriptor is kept where no process can get at it: in a
//! message of a pair of sockets, of which one is in that same message (unix(7), `SCM_RIGHTS`). Once
//! this process has closed its own, by itself or by dying, nothing but that message leads to them.
//! The kernel's collector of such messages finds it at the close of the pair, and it is a thread of
//! the kernel's that closes the VM. No process is left behind, so there is none to be waited for,
//! counted or killed.
//!
//! That thread closes one after the other: 16 processes at a time ended sooner than it could follow,
//! and a thousand VMs waited for it. So there are [`PLACES`], of which a process takes one when its
//! VM ends; where all are taken, or the kernel refuses anything of this, it closes its VM itself. One
//! that is killed takes none, and its VM's end is the thread's all the same.
//! Kernels before Linux 6.9 collect in the close itself: there nothing is gained, and nothing lost.

use portcall::{Kvm, Vm};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use vmm_sys_util::sock_ctrl_msg::ScmSocket;

/// How many VMs of this machine's may wait for the kernel's thread. A place is a byte that is locked
/// in the device (fcntl(2), F_OFD_SETLK) as long as the message has it, so nobody has to give it back.
const PLACES: libc::off_t = 4;

/// Leaves a VM's end to the kernel; `None` where that refuses: it lets a user have as many descriptors
/// in messages as a process of his may have open (RLIMIT_NOFILE), and this takes three; or where that
/// limit leaves little for the rest of the run beside the two that this takes.
///
/// To be had outside of the jail, in which nothing is sent, and dropped behind the VM.
pub(crate) fn end_of<'a>(vm: &Vm, kvm: &'a Kvm) -> Option<Deferred<'a, impl AsRawFd + use<>>> {
    // SAFETY: the kernel closes what it is given; nobody makes a vCPU of it.
    let vm = unsafe { vm.vm_fd() };
    Deferred::close_of(vm, kvm.fd()).ok()
}

/// Something whose close is left to the kernel, when this is dropped.
pub(crate) struct Deferred<'a, P: AsRawFd> {
    places: &'a P,
    _sender: UnixDatagram,
    /// What has the message.
    receiver: File,
}

impl<'a, P: AsRawFd> Deferred<'a, P> {
    fn close_of(file: &impl AsRawFd, places: &'a P) -> io::Result<Self> {
        let (sender, receiver) = UnixDatagram::pair()?;
        if !leaves_room(receiver.as_raw_fd(), descriptors_allowed()?) {
            // Both are given back.
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let files = [receiver.as_raw_fd(), file.as_raw_fd(), places.as_raw_fd()];
        // One byte: without any it would be no message.
        let sent = sender.send_with_fds(&[&[0_u8][..]], &files);
        sent.map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
        Ok(Self { places, _sender: sender, receiver: OwnedFd::from(receiver).into() })
    }

    fn takes_a_place(&self) -> bool {
        (0..PLACES).any(|place| lock(self.places, place))
    }
}

impl<P: AsRawFd> Drop for Deferred<'_, P> {
    fn drop(&mut self) {
        if !self.takes_a_place() {
            // Read as bytes, the message gives its descriptors up, here and now.
            let _ = self.receiver.read(&mut [0]);
        }
    }
}

/// How many descriptors the rest of a run may need: files that are looked into, a debugger.
const ROOM: u64 = 16;

/// Whether a process that may have so many descriptors has enough for the rest beside this one, its
/// last: the kernel gives the lowest that is free (open(2)).
fn leaves_room(last: RawFd, allowed: u64) -> bool {
    u64::try_from(last).is_ok_and(|last| last + ROOM < allowed)
}

/// How many descriptors this process may have (getrlimit(2), RLIMIT_NOFILE).
fn descriptors_allowed() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable for the call's duration.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => Ok(limit.rlim_cur),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Locks a byte of a file until all descriptors that this one was duplicated to are closed; false
/// where another open of the same file has it.
fn lock(file: &impl AsRawFd, at: libc::off_t) -> bool {
    // SAFETY: all-zero bytes are a valid flock structure: SEEK_SET, and 0 for the process.
    let mut flock: libc::flock = unsafe { std::mem::zeroed() };
    (flock.l_type, flock.l_start, flock.l_len) = (WRITE_LOCK, at, 1);
    // SAFETY: `flock` is valid for the call's duration; the call does not wait.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const flock) == 0 }
}

#[expect(clippy::cast_possible_truncation, reason = "it is 1")]
const WRITE_LOCK: libc::c_short = libc::F_WRLCK as libc::c_short;

#[cfg(test)]
mod tests {
    use super::{Deferred, PLACES, ROOM, leaves_room, lock};
    use std::fs::File;
    use std::io::{self, PipeReader, Read};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    /// For what the kernel does beside, on a machine that is busy.
    const LONG: Duration = Duration::from_secs(30);

    /// A file of places, and a further open of it for each process that there would be.
    struct Device(tempfile::NamedTempFile);

    impl Device {
        fn new() -> Self {
            Self(tempfile::NamedTempFile::new().expect("made"))
        }

        fn open(&self) -> File {
            File::options().read(true).write(true).open(self.0.path()).expect("there")
        }
    }

    /// Something that is deferred, with a way to see when it is closed.
    fn deferred(places: &File) -> (PipeReader, Deferred<'_, File>) {
        let (reader, writer) = io::pipe().expect("a pipe");
        (reader, Deferred::close_of(&writer, places).expect("sent"))
    }

    fn is_closed(reader: &PipeReader) -> bool {
        use std::os::fd::AsRawFd;
        let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: one valid entry for the call's duration; it does not wait.
        unsafe { libc::poll(&raw mut poll, 1, 0) > 0 && poll.revents & libc::POLLHUP != 0 }
    }

    #[test]
    fn what_is_deferred_is_open_until_it_is_dropped_and_then_its_place_is_free_again() {
        let device = Device::new();
        let ours = device.open();
        let (mut reader, deferred) = deferred(&ours);
        assert!(!is_closed(&reader));
        drop(deferred);
        drop(ours);
        assert_eq!(reader.read(&mut [0]).expect("closed by the kernel"), 0);

        let (other, start) = (device.open(), Instant::now());
        while !(0..PLACES).all(|place| lock(&other, place)) {
            assert!(start.elapsed() < LONG, "a place stays taken");
            sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_run_that_may_have_few_descriptors_keeps_them() {
        assert!(!leaves_room(9, 12));
        assert!(!leaves_room(9, 9 + ROOM));
        assert!(leaves_room(9, 10 + ROOM));
        assert!(leaves_room(9, libc::RLIM_INFINITY));
    }

    #[test]
    fn where_all_places_are_taken_it_is_closed_at_once() {
        let device = Device::new();
        let others: Vec<File> = (0..PLACES).map(|_| device.open()).collect();
        for (other, place) in others.iter().zip(0..) {
            assert!(lock(other, place));
        }
        let ours = device.open();
        let (reader, deferred) = deferred(&ours);
        drop(deferred);
        assert!(is_closed(&reader));
    }
}
