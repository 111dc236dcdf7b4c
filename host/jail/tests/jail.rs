//! What is refused in the jail, and what still works: from inside. A process does not get out
//! again, so each test starts itself as another process, which enters.

use jail::{Jail, JailError};
use portcall::sparse::Pagemap;
use portcall::{Image, Kvm, Vm};
use std::ffi::{CString, c_int, c_long};
use std::fs::File;
use std::io::{Error, Read, Write};
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::ptr;

/// Names the directory that the process inside may use.
const INSIDE: &str = "PORTCALL_TEST_JAIL";

/// Runs `inside` as another process with one thread, in a directory with a file.
fn in_another_process(test: &str, inside: impl FnOnce(&str)) {
    if let Ok(directory) = std::env::var(INSIDE) {
        return alone(|| inside(&directory));
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "text").expect("written");
    let mut itself = Command::new(std::env::current_exe().expect("a path"));
    itself.args(["--exact", "--nocapture", test]).env(INSIDE, folder.path());
    let output = itself.output().expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let passed = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(output.status.success() && passed, "{said}");
}

/// Tests run on threads of their own; a process that is forked off has that one only. The other
/// one, which only waits by then, holds no lock.
fn alone(inside: impl FnOnce()) {
    // SAFETY: the child goes on in this function, and ends in it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = std::panic::catch_unwind(AssertUnwindSafe(inside));
        // SAFETY: the process ends here, and nothing of it is used any more.
        unsafe { libc::_exit(c_int::from(done.is_err())) };
    }
    let mut status = -1;
    // SAFETY: `status` is writable for the call's duration.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the process inside says why");
}

/// What a call of libc's gives: 0 for whatever is not an error.
fn errno(result: c_long) -> c_int {
    if result == -1 { Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// What a system call with words for arguments gives. None of the calls below is given memory
/// that it could change.
fn call(number: c_long, words: [usize; 4]) -> c_int {
    // SAFETY: the calls of this file are given null, or names that are only read.
    errno(unsafe { libc::syscall(number, words[0], words[1], words[2], words[3], 0, 0) })
}

/// Each forbidden call, and what it gives.
fn forbidden() -> Vec<(&'static str, c_int)> {
    /// Not there, should one of these calls be let through.
    const NAME: &std::ffi::CStr = c"/nonexistent/name";
    const OTHER: usize = 1;
    const KVM_CREATE_VM: usize = 0xae01;
    let (name, at) = (NAME.as_ptr().addr(), libc::AT_FDCWD as usize);
    let executable = (libc::PROT_READ | libc::PROT_EXEC) as usize;
    let mapping = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let stream = libc::SOCK_STREAM as usize;
    let all = [
        ("execve", libc::SYS_execve, [name, 0, 0, 0]),
        ("execveat", libc::SYS_execveat, [at, name, 0, 0]),
        ("fork", libc::SYS_fork, [0; 4]),
        ("vfork", libc::SYS_vfork, [0; 4]),
        ("clone", libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0]),
        ("clone3", libc::SYS_clone3, [0; 4]),
        ("ptrace", libc::SYS_ptrace, [libc::PTRACE_TRACEME as usize, 0, 0, 0]),
        ("process_vm_writev", libc::SYS_process_vm_writev, [OTHER, 0, 0, 0]),
        ("kill", libc::SYS_kill, [OTHER, 0, 0, 0]),
        ("tgkill of another process", libc::SYS_tgkill, [OTHER, OTHER, 0, 0]),
        ("socket", libc::SYS_socket, [libc::AF_INET as usize, stream, 0, 0]),
        ("a local socket", libc::SYS_socket, [libc::AF_UNIX as usize, stream, 0, 0]),
        ("executable mmap", libc::SYS_mmap, [0, 4096, executable, mapping]),
        ("executable mprotect", libc::SYS_mprotect, [name & !0xfff, 4096, executable, 0]),
        ("pkey_mprotect", libc::SYS_pkey_mprotect, [name & !0xfff, 4096, executable, 0]),
        ("personality", libc::SYS_personality, [0x0040_0000, 0, 0, 0]),
        ("open for writing", libc::SYS_openat, [at, name, libc::O_WRONLY as usize, 0]),
        ("open for both", libc::SYS_openat, [at, name, libc::O_RDWR as usize, 0]),
        ("open to make", libc::SYS_openat, [at, name, libc::O_CREAT as usize, 0]),
        ("open to empty", libc::SYS_openat, [at, name, libc::O_TRUNC as usize, 0]),
        ("open of no name", libc::SYS_openat, [at, name, libc::O_TMPFILE as usize, 0]),
        ("openat2", libc::SYS_openat2, [at, name, 0, 0]),
        ("unlink", libc::SYS_unlink, [name, 0, 0, 0]),
        ("rename", libc::SYS_rename, [name, name, 0, 0]),
        ("chmod", libc::SYS_chmod, [name, 0, 0, 0]),
        ("mount", libc::SYS_mount, [name, name, 0, 0]),
        ("a further VM", libc::SYS_ioctl, [0, KVM_CREATE_VM, 0, 0]),
        ("a signal's owner", libc::SYS_fcntl, [0, libc::F_SETOWN as usize, OTHER, 0]),
        ("prctl", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1, 0, 0]),
        ("io_uring", libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0; 4]),
    ];
    all.into_iter().map(|(what, number, words)| (what, call(number, words))).collect()
}

fn assert_refused(forbidden: Vec<(&'static str, c_int)>) {
    for (what, error) in forbidden {
        assert_eq!(error, libc::EPERM, "{what}");
    }
}

#[test]
fn what_is_not_needed_is_refused() {
    in_another_process("what_is_not_needed_is_refused", |directory| {
        let support = jail::support();
        assert!(support.seccomp);
        let covers = Jail::new().read_beneath(directory).enter().expect("enters");
        assert_eq!(covers.landlock, support.landlock);
        assert_refused(forbidden());
        // By way of std as well.
        assert!(Command::new("/bin/true").status().is_err());
        assert!(std::thread::Builder::new().spawn(|| {}).is_err());
        assert!(std::net::TcpStream::connect("127.0.0.1:1").is_err());
    });
}

#[test]
fn what_is_needed_works() {
    in_another_process("what_is_needed_works", |directory| {
        let path = format!("{directory}/file");
        let mut written = File::create(format!("{directory}/written")).expect("created");
        let covers = Jail::new().read_beneath(directory).enter().expect("enters");
        let mut text = String::new();
        let opened = File::open(path);
        if covers.landlock.is_some() {
            opened.expect("is beneath").read_to_string(&mut text).expect("read");
            assert_eq!(text, "text");
            let outside = File::open("/etc/passwd").expect_err("is outside");
            assert_eq!(outside.raw_os_error(), Some(libc::EACCES));
            assert!(std::fs::read_dir(directory).is_err());
        } else {
            // Nothing would keep reading to that place.
            assert_eq!(opened.expect_err("no file").raw_os_error(), Some(libc::EPERM));
        }
        written.write_all(b"what is open stays so").expect("written");
        written.set_len(4).expect("cut");
        let large = vec![1u8; 64 << 20];
        assert_eq!(large.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 64 << 20);
        let _ = std::time::Instant::now();
        let mut random = [0u8; 8];
        // SAFETY: the bytes are writable for the call's duration.
        let got = unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
        assert_eq!(got, 8);
        // Mapped for reading and writing, as ever.
        // SAFETY: a new mapping, at no address of ours.
        let mapped = unsafe {
            libc::mmap(
                ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(mapped, libc::MAP_FAILED);
        // A signal to this thread, as a stopper sends it; 0 only asks.
        // SAFETY: the call touches no memory.
        let own = unsafe { libc::gettid() } as usize;
        assert_eq!(call(libc::SYS_tgkill, [std::process::id() as usize, own, 0, 0]), 0);
    });
}

#[test]
fn without_a_place_no_file_is_opened() {
    in_another_process("without_a_place_no_file_is_opened", |directory| {
        Jail::new().enter().expect("enters");
        let error = File::open(format!("{directory}/file")).expect_err("no file");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    });
}

#[test]
fn a_place_to_write_beneath_is_written_beneath_only() {
    in_another_process("a_place_to_write_beneath_is_written_beneath_only", |directory| {
        let inner = format!("{directory}/inner");
        std::fs::create_dir(&inner).expect("made");
        let covers = Jail::new().write_beneath(&inner).enter().expect("enters");
        if covers.landlock.is_some() {
            std::fs::write(format!("{inner}/new"), "text").expect("written");
            assert_eq!(std::fs::read(format!("{inner}/new")).expect("read"), b"text");
        }
        assert!(std::fs::write(format!("{directory}/new"), "text").is_err());
        assert!(std::fs::remove_file(format!("{inner}/new")).is_err());
    });
}

#[test]
fn threads_that_run_already_are_an_error_unless_they_are_meant() {
    let test = "threads_that_run_already_are_an_error_unless_they_are_meant";
    in_another_process(test, |_| {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (began, begins) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            began.send(()).expect("waits");
            wait.recv().expect("told to");
            forbidden()
        });
        begins.recv().expect("begins");
        let error = Jail::new().enter().expect_err("there is another thread");
        assert!(matches!(error, JailError::Threads { others: 1 }), "{error}");
        Jail::new().beside_threads().enter().expect("enters");
        go.send(()).expect("waits");
        // Seccomp binds it too.
        assert_refused(other.join().expect("ends"));
        assert_refused(forbidden());
    });
}

#[test]
fn a_host_may_let_through_what_its_handlers_need() {
    in_another_process("a_host_may_let_through_what_its_handlers_need", |_| {
        let threads = [
            libc::SYS_clone3,
            libc::SYS_set_robust_list,
            libc::SYS_rseq,
            libc::SYS_sched_getaffinity,
        ];
        let jail = threads.into_iter().fold(Jail::new(), Jail::also);
        jail.enter().expect("enters");
        let inside = std::thread::spawn(|| {
            let other: Vec<_> = forbidden();
            other.into_iter().filter(|(what, _)| *what != "clone3").collect::<Vec<_>>()
        });
        assert_refused(inside.join().expect("ends"));
    });
}

#[test]
fn a_place_that_is_not_there_is_an_error_with_its_name() {
    in_another_process("a_place_that_is_not_there_is_an_error_with_its_name", |_| {
        let error = Jail::new().read_beneath("/nonexistent/place").enter().expect_err("nowhere");
        assert!(error.to_string().contains("beneath /nonexistent/place: "), "{error}");
    });
}

#[test]
fn the_thread_that_kvm_has_of_its_own_is_none_of_ours() {
    in_another_process("the_thread_that_kvm_has_of_its_own_is_none_of_ours", |_| {
        let kvm = portcall::Kvm::open().expect("/dev/kvm");
        // mov eax, 42; hlt
        let image = portcall::Image::flat(&[0xb8, 42, 0, 0, 0, 0xf4]).expect("an image");
        let mut vm = portcall::Vm::builder(&kvm, &image).build().expect("builds");
        assert_eq!(vm.run().expect("runs").end, portcall::End::Halted);
        Jail::new().enter().expect("enters, whatever threads the kernel has made");
        assert_eq!(vm.outcome().expect("is there").expect("has ended").registers.rax, 42);
    });
}

#[test]
fn files_are_renamed_and_removed_where_that_was_allowed_and_nowhere_else() {
    in_another_process(
        "files_are_renamed_and_removed_where_that_was_allowed_and_nowhere_else",
        |directory| {
            let path = |name: &str| CString::new(format!("{directory}/{name}")).expect("no NUL");
            std::fs::create_dir(format!("{directory}/inner")).expect("made");
            for name in ["inner/new", "inner/old"] {
                std::fs::write(format!("{directory}/{name}"), name).expect("written");
            }
            let at = libc::AT_FDCWD as usize;
            let rename = |from: &str, to: &str| {
                let (from, to) = (path(from), path(to));
                call(libc::SYS_renameat, [at, from.as_ptr().addr(), at, to.as_ptr().addr()])
            };
            let unlink = |name: &str| call(libc::SYS_unlink, [path(name).as_ptr().addr(), 0, 0, 0]);
            let open = File::open(format!("{directory}/inner/new")).expect("opens");
            let memory = [c"memory".as_ptr().addr(), 0, 0, 0];
            let jail = Jail::new().snapshots().rename_beneath(format!("{directory}/inner"));
            jail.enter().expect("enters");
            assert_eq!(rename("inner/new", "inner/old"), 0);
            assert_eq!(unlink("inner/old"), 0);
            assert_eq!(rename("file", "other"), libc::EACCES);
            assert_eq!(unlink("file"), libc::EACCES);
            open.sync_all().expect("still open");
            assert_eq!(call(libc::SYS_memfd_create, memory), 0);
            // Nothing is opened for it.
            let opened = File::open(format!("{directory}/file")).expect_err("refused");
            assert_eq!(opened.raw_os_error(), Some(libc::EPERM));
        },
    );
}

#[test]
fn without_snapshots_there_is_nothing_of_theirs() {
    in_another_process("without_snapshots_there_is_nothing_of_theirs", |directory| {
        let name = CString::new(format!("{directory}/file")).expect("no NUL");
        let (name, at) = (name.as_ptr().addr(), libc::AT_FDCWD as usize);
        Jail::new().rename_beneath(directory).enter().expect("enters");
        for (number, words) in [
            (libc::SYS_renameat, [at, name, at, name]),
            (libc::SYS_unlink, [name, 0, 0, 0]),
            (libc::SYS_fsync, [0; 4]),
            (libc::SYS_memfd_create, [name, 0, 0, 0]),
            (libc::SYS_fcntl, [0, libc::F_ADD_SEALS as usize, 0, 0]),
            // KVM_SET_MSRS, of what is no vCPU.
            (libc::SYS_ioctl, [0, 0x4008_ae89, 0, 0]),
        ] {
            assert_eq!(call(number, words), libc::EPERM, "{number}");
        }
    });
}

#[test]
fn vms_that_stand_are_restored_and_none_is_made() {
    in_another_process("vms_that_stand_are_restored_and_none_is_made", |_| {
        // inc eax; hlt; jmp to the first
        let code = [0xff, 0xc0, 0xf4, 0xeb, 0xfb];
        let (kvm, image) = (Kvm::open().expect("KVM"), Image::flat(&code).expect("an image"));
        let make = || Vm::builder(&kvm, &image).build();
        let (mut first, mut other) = (make().expect("a VM"), make().expect("a VM"));
        let pagemap = Pagemap::open();
        Jail::new().snapshots().restores().enter().expect("enters");
        let once = first.run().expect("runs").registers.rax;
        let snapshot = first.snapshot_with(&pagemap).expect("taken");
        // The sure way, and the fast one.
        for _ in 0..3 {
            other.restore(&snapshot).expect("restored");
            assert_eq!(other.run().expect("runs").registers.rax, once + 1);
        }
        assert!(make().is_err());
        assert!(Kvm::open().is_err());
        // As in any jail with snapshots, whose names Landlock keeps.
        let refused = forbidden().into_iter().filter(|(what, _)| *what != "unlink").collect();
        assert_refused(refused);
    });
}
