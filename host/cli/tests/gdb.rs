//! `--gdb`, with a real gdb by script, and with clients that no gdb is.

#[path = "../../tests/common/elf.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod elf;
mod debugged;
mod refused;
#[expect(dead_code, reason = "the ioctls are counted in other tests")]
mod tracer;

use debugged::{Place, Ran};
use elf::Elf;
use inspect::KvmKind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const RINGS: [&str; 2] = ["--ring=0", "--ring=3"];

/// Each of these, in this order.
#[track_caller]
fn assert_in_order(said: &str, expected: &[&str]) {
    let mut rest = said;
    for part in expected {
        let at = rest.find(part);
        assert!(at.is_some(), "no {part:?} where it should be in:\n{said}");
        rest = &rest[at.unwrap_or_default() + part.len()..];
    }
}

/// A run of the guest under gdb, and what both said.
fn session(options: &[&str], commands: &[&str]) -> (String, Ran) {
    let place = Place::new();
    let image = place.guest();
    let run = place.start(&["run", &image.display().to_string()], options);
    let said = place.gdb(&image, commands);
    (said, run.end())
}

#[test]
fn a_function_by_its_name_a_local_a_line_a_change_and_the_guest_finishes_alone() {
    for ring in RINGS {
        let (said, ran) = session(
            &[ring],
            &[
                "break guest::add",
                "continue",
                "info args",
                "next",
                "next",
                "print sum",
                "set var sum = 36",
                "backtrace",
                "set var guest::GO = 1",
                "delete",
                "detach",
            ],
        );
        assert_in_order(
            &said,
            &[
                "_start",
                "Breakpoint 1, guest::add (one=0, other=1)",
                "one = 0",
                "other = 1",
                "$1 = 1",
                "#0  guest::add (one=0, other=1)",
                "#1  ",
                "guest::_start",
                "detached",
            ],
        );
        // 36, 36 + 2, 38 + 3.
        assert_eq!(ran.code, Some(41), "{ring}: {said}\n{}", ran.stderr);
    }
}

#[test]
fn time_in_which_gdb_holds_the_guest_is_nobodys() {
    for ring in RINGS {
        let hold = ["break guest::add", "continue", "shell sleep 3", "set var guest::GO = 1"];
        let (said, ran) = session(
            &[ring, "--stats", "--emit=trace"],
            &[&hold[..], &["delete", "continue"]].concat(),
        );
        assert_eq!(ran.code, Some(6), "{ring}: {said}\n{}", ran.stderr);
        let line = ran.stderr.lines().find(|it| it.contains("time in the host")).expect("said");
        let micros = line.split_whitespace().rev().nth(1).and_then(|it| it.parse::<u64>().ok());
        assert!(micros.expect("a number") < 2_500_000, "{ring}: {line}");
        // When, how long in the guest, and in the host.
        let columns = |line: &str| -> Option<f64> { line.split_whitespace().nth(2)?.parse().ok() };
        let longest = ran.stdout.lines().filter_map(columns).fold(0.0, f64::max);
        assert!(longest < 2_500_000.0, "{ring}: {}", ran.stdout);
    }
}

#[test]
fn an_image_that_can_be_anywhere_is_found_where_it_is() {
    let place = Place::new();
    let image = place.guest_that_is("pic");
    let run = place.start(&["run", &image.display().to_string()], &[]);
    let commands = ["break guest::add", "continue", "set var guest::GO = 1", "delete", "continue"];
    let said = place.gdb(&image, &commands);
    assert_in_order(&said, &["Breakpoint 1, guest::add (one=0, other=1)", "exited with code 06"]);
    assert_eq!(run.end().code, Some(6), "{said}");
}

#[test]
fn ctrl_c_holds_a_guest_that_makes_no_exit() {
    for ring in RINGS {
        let (said, ran) = session(
            &[ring, "--timeout=60s"],
            &[
                "shell (sleep 0.5; kill -INT $PPID) &",
                "continue",
                "print guest::TOTAL",
                "set var guest::GO = 1",
                "continue",
            ],
        );
        assert_in_order(&said, &["SIGINT", "$1 = 6", "exited with code 06"]);
        assert_eq!(ran.code, Some(6), "{ring}: {said}");
    }
}

#[test]
fn a_variable_is_watched_in_both_rings() {
    for ring in RINGS {
        let (said, ran) = session(
            &[ring],
            &[
                "watch guest::TOTAL",
                "continue",
                "continue",
                "continue",
                "delete",
                "set var guest::GO = 1",
                "continue",
            ],
        );
        let expected =
            ["New value = 1", "Old value = 1", "New value = 3", "New value = 6", "code 06"];
        assert_in_order(&said, &expected);
        assert_eq!(ran.code, Some(6), "{ring}: {said}");
    }
}

#[test]
fn a_hardware_breakpoint_holds_or_is_refused_at_once() {
    for ring in RINGS {
        let commands = ["hbreak guest::load", "continue", "backtrace 1", "kill"];
        let (said, ran) = session(&[ring], &commands);
        if said.contains("Could not insert hardware breakpoint") {
            assert!(ran.stderr.contains("does no hardware breakpoints in this ring"), "{said}");
            assert!(KvmKind::detect() != KvmKind::Pvm || ring == "--ring=3", "{said}");
        } else {
            assert_in_order(&said, &["Breakpoint 1, guest::load", "#0  guest::load"]);
        }
        assert_eq!(ran.code, Some(137), "{ring}: killed\n{said}\n{}", ran.stderr);
    }
}

#[test]
fn an_end_is_a_signal_where_the_guest_can_be_looked_at() {
    for ring in RINGS {
        for (go, signal, words) in
            [("2", "SIGSEGV", "page fault (#PF)"), ("3", "SIGILL", "invalid opcode (#UD)")]
        {
            let set = format!("set var guest::GO = {go}");
            let commands =
                ["continue", "backtrace", "print guest::TOTAL", "set var $rax = 1", "continue"];
            let (said, ran) = session(&[ring], &[&[&*set], &commands[..]].concat());
            let function = if go == "2" { "guest::load (at=0x8)" } else { "guest::_start" };
            assert_in_order(&said, &[signal, "#0  ", function, "$1 = 6", signal]);
            // What gdb says of the target, and of its own errors, is the other stream's.
            assert_in_order(&said, &[words, "Could not write register"]);
            assert_eq!(ran.code, Some(139), "{ring}: {said}");
            assert!(ran.stderr.contains(words), "{}", ran.stderr);
        }
    }
}

#[test]
fn registers_are_read_and_set_and_monitor_tells_the_rest() {
    for ring in RINGS {
        let (said, ran) = session(
            &[ring],
            &[
                "set var $xmm3.v2_int64[1] = 77",
                "print $xmm3.v2_int64[1]",
                "set var $gs_base = 0x123000",
                "print $gs_base",
                "print $cs & 3",
                "set var $r12 = 0x1122334455667788",
                "print/x $r12",
                "x/2xb $rip",
                "monitor exits",
                "monitor calls",
                "monitor walk 0",
                "monitor walk $pc",
                "monitor registers",
                "monitor what",
                "set var guest::GO = 1",
                "detach",
            ],
        );
        let ring_is = format!("$3 = {}", ring.strip_prefix("--ring=").expect("a ring"));
        assert_in_order(
            &said,
            &["$1 = 77", "$2 = 1191936", &ring_is, "$4 = 0x1122334455667788", "_start>:"],
        );
        assert_in_order(
            &said,
            &[
                "all but interruptions",
                "0 calls",
                "CR3 0x",
                "PT[0] not present",
                "CR3 0x",
                "r12 0x1122334455667788",
                "efer 0x",
                "there is no `monitor what`",
                "monitor walk ADDRESS",
            ],
        );
        assert_eq!(ran.code, Some(6), "{ring}: {said}");
    }
}

#[test]
fn time_in_which_the_guest_is_held_does_not_count() {
    let commands = ["stepi", "shell sleep 3", "stepi", "set var guest::GO = 1", "continue"];
    let (said, ran) = session(&["--timeout=2s"], &commands);
    assert_eq!(ran.code, Some(6), "{said}\n{}", ran.stderr);
    // Nor where gdb goes, with a word or without.
    for last in ["detach", "shell kill -9 $PPID"] {
        let commands = ["stepi", "set var guest::GO = 1", "shell sleep 3", last];
        let (said, ran) = session(&["--timeout=2s"], &commands);
        assert_eq!(ran.code, Some(6), "{last}: {said}\n{}", ran.stderr);
    }
    let (said, ran) = session(&["--timeout=1s"], &["continue", "continue"]);
    assert!(said.contains("SIGXCPU"), "{said}");
    assert_eq!(ran.code, Some(124), "{said}");
}

#[test]
fn a_recorded_run_is_debugged_and_stays_the_recorded_one() {
    // In: one byte; it is the code. in al, 0x30; nop; nop; movzx eax, al; out 0xf4, eax
    let code = [0xe4, 0x30, 0x90, 0x90, 0x0f, 0xb6, 0xc0, 0xe7, 0xf4];
    for ring in RINGS {
        let place = Place::new();
        let (image, log) = (place.path("guest"), place.path("log"));
        std::fs::write(&image, Elf::new(&code).bytes()).expect("written");
        // Recorded under gdb as well: its breakpoints are no part of the run.
        let emit = format!("--emit=log={}", log.display());
        let run = place.start(&["run", &image.display().to_string()], &[ring, &emit]);
        let commands = ["stepi", "break *($pc + 1)", "continue", "continue"];
        let said = place.gdb(&image, &commands);
        let ran = run.end();
        assert_eq!(ran.code, Some(120), "{said}\n{}", ran.stderr);
        // Memory that the guest does not look at; and what it makes its code of, behind the IN.
        let elsewhere = &["set var *(char*)0x200000 = 1"][..];
        let in_its_way = &["stepi", "set var $rax = 7"][..];
        for (change, same) in [(&[][..], true), (elsewhere, true), (in_its_way, false)] {
            let run = place.start(&["replay", &log.display().to_string()], &[]);
            let commands = [change, &commands].concat();
            let said = place.gdb(&image, &commands);
            let ran = run.end();
            assert_in_order(&said, &["Breakpoint 1, "]);
            assert_eq!(said.contains("exited with code"), same, "{ring}: {said}");
            assert_eq!(ran.code == Some(120), same, "{ring}: {said}\n{}", ran.stderr);
            assert_eq!(ran.stderr.contains("the same as recorded"), same, "{}", ran.stderr);
            let is_said = ran.stderr.contains("the debugger has changed the guest");
            assert_eq!(is_said, !change.is_empty(), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_snapshot_that_is_taken_under_gdb_has_no_breakpoint_in_it() {
    let interface = portcall::abi::host::INTERFACE;
    let number = interface.number(interface.place("ready")).to_le_bytes();
    // mov eax, NUMBER; xor esi, esi; out 0xf7, eax; nop; xor eax, eax; out 0xf4, eax
    let code = [&[0xb8], &number[..], &[0x31, 0xf6, 0xe7, 0xf7, 0x90, 0x31, 0xc0, 0xe7, 0xf4]];
    let place = Place::new();
    let (image, file) = (place.path("guest"), place.path("snapshot"));
    std::fs::write(&image, Elf::new(&code.concat()).bytes()).expect("written");
    let emit = format!("--emit=snapshot={}", file.display());
    let run = place.start(&["run", &image.display().to_string()], &[&emit]);
    let commands = ["break *($pc + 9)", "continue", "info registers rip", "delete", "continue"];
    let said = place.gdb(&image, &commands);
    let ran = run.end();
    assert_in_order(&said, &["Breakpoint 1, ", "exited normally"]);
    assert_eq!(ran.code, Some(0), "{said}\n{}", ran.stderr);
    // It goes on from there, by itself and under gdb.
    let mut plain = Command::new(env!("CARGO_BIN_EXE_portcall"));
    let plain = plain.arg("run").arg(&file).stderr(Stdio::piped()).output().expect("starts");
    assert_eq!(plain.status.code(), Some(0), "{}", String::from_utf8_lossy(&plain.stderr));
    let run = place.start(&["run", &file.display().to_string()], &[]);
    let said = place.gdb(&image, &["stepi", "x/i $pc", "continue"]);
    assert_in_order(&said, &["xor", "exited normally"]);
    assert_eq!(run.end().code, Some(0), "{said}");
}

#[test]
fn places_that_are_not_to_be_had_are_errors_before_the_guest_runs() {
    let place = Place::new();
    let image = place.path("guest");
    // mov al, 'H'; out 0xe9, al; hlt
    std::fs::write(&image, Elf::new(&[0xb0, b'H', 0xe6, 0xe9, 0xf4]).bytes()).expect("written");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    std::fs::write(place.path("file"), "mine").expect("written");
    let at = |name: &str| format!("--gdb=unix:{}", place.path(name).display());
    for (option, word) in [
        (format!("--gdb={port}"), "name another place"),
        (format!("--gdb=127.0.0.1:{port}"), "name another place"),
        ("--gdb=192.0.2.1:1".to_owned(), "cannot wait for gdb at 192.0.2.1:1"),
        (at("file"), "there is a file of that name"),
        (at("no/such"), "No such file"),
        ("--gdb=here".to_owned(), "here is no port"),
        ("--gdb=here:1".to_owned(), "no address in numbers"),
    ] {
        let mut portcall = Command::new(env!("CARGO_BIN_EXE_portcall"));
        let output = portcall.arg("run").arg(&image).arg(&option).output().expect("starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(word), "{option}: {said}");
        assert!(output.stdout.is_empty(), "{option}: it ran");
        assert_eq!(output.status.code(), Some(125), "{option}: {said}");
    }
    assert_eq!(std::fs::read(place.path("file")).expect("there"), b"mine");
}

#[test]
fn a_second_run_at_the_same_place_does_not_take_the_firsts_client() {
    let place = Place::new();
    let image = counts(&place);
    let run = place.start(&["run", &image.display().to_string()], &[]);
    let second = place.portcall(&["run", &image.display().to_string()], &[]).output();
    let second = second.expect("starts");
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(125), "{said}");
    assert!(said.contains("name another place"), "{said}");
    // Nor does one that looks whether anybody is there.
    drop(std::os::unix::net::UnixStream::connect(place.path("socket")).expect("it listens"));
    let mut client = place.client();
    assert!(client.ask("g").is_some_and(|it| !it.starts_with('E')));
    client.send(b"k");
    assert_eq!(run.end().code, Some(137));
}

#[test]
fn a_signal_ends_the_wait_for_a_client_and_the_hold_by_one() {
    for attached in [false, true] {
        let place = Place::new();
        let image = place.path("guest");
        std::fs::write(&image, Elf::new(&[0xeb, 0xfe]).bytes()).expect("written");
        let run = place.start(&["run", &image.display().to_string()], &[]);
        let mut client = attached.then(|| place.client());
        if let Some(client) = &mut client {
            assert!(client.ask("g").is_some());
        }
        let pid = nix::unistd::Pid::from_raw(run.id().cast_signed());
        // The handler is there once it listens and a little.
        std::thread::sleep(Duration::from_millis(500));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("sent");
        let ran = run.end();
        assert_eq!(ran.code, Some(143), "{}", ran.stderr);
    }
}

/// A guest that counts for a while, and ends with 7: a client that is gone is not missed.
fn counts(place: &Place) -> std::path::PathBuf {
    let image = place.path("guest");
    // mov ecx, 100; [5] dec ecx; jnz 5; [9] mov eax, 7; out 0xf4, eax
    let code = [0xb9, 100, 0, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xb8, 7, 0, 0, 0, 0xe7, 0xf4];
    std::fs::write(&image, Elf::new(&code).bytes()).expect("written");
    image
}

/// Whatever a client does, the guest ends as it does without one, or as the client has made it.
#[track_caller]
fn survives(
    what: &str,
    image: &Path,
    place: &Place,
    codes: &[i32],
    talk: impl FnOnce(debugged::Client),
) {
    let run = place.start(&["run", &image.display().to_string()], &["--timeout=20s"]);
    talk(place.client());
    let ran = run.end();
    assert!(
        ran.code.is_some_and(|it| codes.contains(&it)),
        "{what}: {:?} {}",
        ran.code,
        ran.stderr
    );
    assert!(!ran.stderr.contains("panicked at"), "{what}: {}", ran.stderr);
    assert!(ran.stdout.is_empty());
}

#[test]
fn rubbish_and_half_packets_do_not_hurt() {
    let place = Place::new();
    let image = counts(&place);
    let big = [b"$m", &vec![b'0'; 1 << 20][..], b"#00"].concat();
    let rubbish: Vec<u8> =
        (0..100_000u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let pieces: [&[u8]; 12] = [
        b"",
        b"+++---\x03\x03",
        b"$",
        b"$g",
        b"$g#",
        b"$g#6",
        b"$g#00",
        b"$#00$#00$#00",
        b"$vCont;c",
        b"GET / HTTP/1.1\r\n\r\n",
        &big,
        &rubbish,
    ];
    for piece in pieces {
        // One that says nothing at all is not the client that is waited for.
        if !piece.is_empty() {
            survives("a piece, and gone", &image, &place, &[7], |mut client| _ = client.raw(piece));
        }
        survives("a piece, and on", &image, &place, &[7], |mut client| {
            client.raw(piece);
            // What it answers, if it does, ends with the answer to this, or the connection.
            client.raw(b"#00");
            client.send(b"D");
        });
    }
}

#[test]
fn malformed_commands_end_the_session_and_not_the_run() {
    let place = Place::new();
    let image = counts(&place);
    for body in [
        "m",
        "m,",
        "mzz,1",
        "m0",
        "m0,",
        "M0,4:zz",
        "M0,ffffffff:00",
        "G",
        "G00",
        "P",
        "Pffff=0",
        "P0=",
        "P10=00",
        "p",
        "pffffffffffffffffff",
        "Z",
        "Z0",
        "Z0,",
        "Z9,0,0",
        "Z2,0,0",
        "Z0,ffffffffffffffffffffffff,1",
        "vCont",
        "vCont;",
        "vCont;x",
        "vCont;s:zz",
        "vCont;r0,0",
        "vCont;c;c;c",
        "qRcmd,",
        "qRcmd,z",
        "qRcmd,6",
        "qXfer:features:read:target.xml:ffffffffff,1",
        "qXfer:features:read:target.xml:0,ffffffffffffffff",
        "qXfer:",
        "H",
        "Hg",
        "Hcp-1.-1",
        "T",
        "T99",
        "X0,1:",
        "X0,ffff:x",
        "qSupported:",
        "qSupported:multiprocess",
        "\u{7f}",
        "R00",
        "!",
        "vRun;",
        "vAttach;1",
        "vFile:open:",
        "qOffsets",
        "qC",
        "?",
        "vKill;zz",
        "bc",
        "bs",
        "QTinit",
    ] {
        survives(body, &image, &place, &[7, 137], |mut client| {
            client.send(body.as_bytes());
            client.send(b"D");
            while client.answer().is_some() {}
        });
    }
}

#[test]
fn wild_reads_and_thousands_of_breakpoints_are_answered() {
    let place = Place::new();
    let image = counts(&place);
    survives("wild", &image, &place, &[7], |mut client| {
        for at in [0, 0xfff, 0x10_0000, 0xff_fff8, 1 << 32, 1 << 47, u64::MAX - 7, u64::MAX] {
            for size in [0, 1, 8, 0x1000, 0x10_0000, u64::MAX] {
                let answer = client.ask(&format!("m{at:x},{size:x}")).expect("answered");
                assert!(answer.len() <= 0x2000, "{at:x},{size:x}: {}", answer.len());
            }
            // What is not memory, and what runs out of it, is refused.
            if at != 0x10_0000 {
                let write = client.ask(&format!("M{at:x},10:{}", "41".repeat(16)));
                assert_eq!(write.as_deref(), Some("E0e"), "{at:x}");
            }
            let kinds = [2, 3, 4].map(|kind| client.ask(&format!("Z{kind},{at:x},ffffffff")));
            assert!(kinds.iter().all(|it| it.as_ref().is_some_and(|it| it.starts_with('E'))));
        }
        for i in 0..5000 {
            let set = client.ask(&format!("Z0,{:x},1", 0x20_0000 + i)).expect("answered");
            assert_eq!(set, "OK", "{i}");
        }
        // 0, and seven more of it.
        assert_eq!(client.ask("m200000,4").as_deref(), Some("000*\""), "they are not seen");
        assert_eq!(client.ask("Z0,0,1").as_deref(), Some("E0e"));
        client.send(b"D");
    });
}

#[test]
fn breakpoints_in_what_the_host_has_made_for_the_processor_are_refused() {
    for ring in RINGS {
        let place = Place::new();
        let image = counts(&place);
        let start = || place.start(&["run", &image.display().to_string()], &[ring]);
        let run = start();
        let said = place.gdb(&image, &["monitor registers", "kill"]);
        assert_eq!(run.end().code, Some(137), "{said}");
        let number = |name: &str| {
            let (_, rest) = said.split_once(name).expect(name);
            let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
            u64::from_str_radix(digits, 16).expect(name)
        };
        let (tables, idt) = (number("cr3 0x"), number("idt base 0x"));
        let run = start();
        let mut client = place.client();
        for at in [tables, tables + 0xfff, idt, idt + 0xff] {
            assert_eq!(
                client.ask(&format!("Z0,{at:x},1")).as_deref(),
                Some("E16"),
                "{ring} {at:x}"
            );
        }
        client.send(b"D");
        let ran = run.end();
        assert_eq!(ran.code, Some(7), "{ring}: {}", ran.stderr);
        for what in ["is in the page tables", "is in the descriptor tables"] {
            assert!(ran.stderr.contains(what), "{ring}: {}", ran.stderr);
        }
    }
}

#[test]
fn registers_that_no_processor_takes_are_an_end_of_the_run() {
    for ring in RINGS {
        let place = Place::new();
        let image = counts(&place);
        // rip, rsp, eflags, fs_base, mxcsr.
        for (number, size) in [(16, 8), (7, 8), (17, 4), (57, 8), (56, 4)] {
            for byte in ["ff", "55", "80"] {
                let image = image.display().to_string();
                let run = place.start(&["run", &image], &[ring, "--timeout=5s"]);
                let mut client = place.client();
                let set = client.ask(&format!("P{number:x}={}", byte.repeat(size)));
                assert!(set.is_some_and(|it| it == "OK" || it.starts_with('E')), "{number}");
                client.send(b"vCont;c");
                while client.answer().is_some_and(|it| !it.starts_with(['W', 'X', 'T', 'S'])) {}
                drop(client);
                let ran = run.end();
                let told = [7, 124, 125, 126, 139];
                let is_told = ran.code.is_some_and(|it| told.contains(&it));
                assert!(is_told, "{ring} {number} {byte}: {:?} {}", ran.code, ran.stderr);
                assert!(!ran.stderr.contains("panicked at"), "{}", ran.stderr);
            }
        }
    }
}

/// A client in a thread of its own, which does all that needs a call: registers of each kind,
/// memory, breakpoints, steps, text.
fn does_everything(place: &Place) -> std::thread::JoinHandle<Vec<String>> {
    let socket = place.path("socket");
    std::thread::spawn(move || {
        let mut client = debugged::Client::of(&socket);
        let asked =
            ["?", "g", "m100000,8", "P0=0500000000000000", "P3a=0000010000000000", "P38=801f0000"];
        let set = [
            "Z0,100000,1",
            "z0,100000,1",
            "Z1,100004,1",
            "z1,100004,1",
            "Z2,8000,4",
            "qRcmd,726567697374657273",
            "vCont;s",
        ];
        let words = asked.into_iter().chain(set).chain(["vCont;s", "vCont;c"]);
        let is_text = |it: &String| it.starts_with('O') && it != "OK";
        let whole = |word: &str| {
            let mut answer = client.ask(word);
            let mut text = String::new();
            while let Some(more) = answer.take_if(|it| is_text(it)) {
                text.push_str(&more);
                answer = client.answer();
            }
            text + &answer.unwrap_or_default()
        };
        words.map(whole).collect()
    })
}

#[test]
fn in_the_jail_no_call_of_a_debugged_run_is_refused() {
    let interface = portcall::abi::host::INTERFACE;
    let number = interface.number(interface.place("ready")).to_le_bytes();
    // mov al, 'H'; out 0xe9, al; mov eax, NUMBER; xor esi, esi; out 0xf7, eax; xor eax, eax;
    // out 0xf4, eax
    let code = [
        &[0xb0, b'H', 0xe6, 0xe9, 0xb8][..],
        &number,
        &[0x31, 0xf6, 0xe7, 0xf7, 0x31, 0xc0, 0xe7, 0xf4],
    ];
    for options in [&["--ring=0"][..], &["--ring=3"], &["--emit=snapshot"], &["--emit=core"]] {
        let place = Place::new();
        let image = place.path("guest");
        std::fs::write(&image, Elf::new(&code.concat()).bytes()).expect("written");
        let options = options.iter().map(|it| match it.strip_prefix("--emit=") {
            Some(kind) => format!("{it}={}", place.path(kind).display()),
            None => (*it).to_owned(),
        });
        let options: Vec<String> = options.collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let client = does_everything(&place);
        let command = place.portcall(&["run", &image.display().to_string()], &options);
        refused::assert_nothing_refused(&format!("{options:?}"), command, 0);
        let said = client.join().expect("the client is well");
        // Why it is held, the registers, the code, nothing but OK, the text of `monitor`; two steps,
        // and the end.
        assert_eq!(said[0], "T05thread:01;", "{said:?}");
        assert_eq!(said[2], "b048e6e9b809bff1", "{said:?}");
        assert!(said[3..8].iter().all(|it| it == "OK"), "{said:?}");
        assert!(said[11].starts_with('O') && said[11].len() > 1000, "{said:?}");
        assert_eq!(said[12..14], ["S05", "S05"], "{said:?}");
        assert!(said[14].ends_with("W00"), "{said:?}");
    }
}
