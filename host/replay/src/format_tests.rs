//! The format against whatever may have happened to a file.

use crate::entry::{ARGUMENTS_MAX, Asked, Done, EFFECTS_MAX, Ends, Entry, Gave, Machine, Mark};
use crate::error::LogError;
use crate::frame::{ENTRY_MAX, FrameWriter, IMAGE_MAX, LOG};
use crate::log::{Log, State};
use frame::FRAME_HEAD;
use portcall::exception::Exception;
use portcall::{End, Gpa, Gva, Image, Limit, Place};
use std::io::Cursor;
use std::time::Duration;

/// One of each.
fn ends() -> Vec<End> {
    let text = || "words".to_owned();
    let exception = Exception {
        vector: 14,
        error_code: Some(3),
        rip: Gva(0x10_0000),
        cs: 0x10,
        rflags: 2,
        rsp: Gva(u64::MAX),
        ss: 0x18,
        cr2: Some(Gva(0x1234)),
    };
    vec![
        End::Exited(7),
        End::Halted,
        End::Panicked { message: text(), at: Some(Place { file: text(), line: 1, column: 2 }) },
        End::Exception(exception),
        End::TripleFault,
        End::UnmappedAccess { gpa: Gpa(0xfee0_0000), write: true },
        End::CallRefused { call: text(), why: text() },
        End::Serving,
        End::HandlerFailed { message: text() },
        End::LimitReached(Limit::Time(Duration::from_millis(1500))),
        End::LimitReached(Limit::Exits(1)),
        End::LimitReached(Limit::Console(u64::MAX)),
        End::LimitReached(Limit::Calls(0)),
        End::Stopped,
        End::Diverged { expected: text(), actual: text() },
        End::EmulationFailed { bytes: vec![0xcc] },
        End::InternalError { suberror: 3, data: vec![1, 2] },
        End::EntryFailed { reason: 33 },
        End::UnexpectedExit { reason: 99 },
    ]
}

fn entries() -> Vec<Entry> {
    let read = Done::Read { at: Gpa(0x1000), size: 3, sum: 9, start: b"abc".to_vec() };
    let write = Done::Write { at: Gpa(0x2000), bytes: vec![0; 300] };
    let said = vec![Done::Print(b"text".to_vec()), Done::Annotate("k".into(), "v".into())];
    let call = Asked::Call { number: 0x1234_5678, words: vec![1, u64::MAX] };
    let out = Asked::Out { port: 0x300, width: 4, count: 1, by_host: true, written: vec![1; 4] };
    let input = Asked::In { port: 0xea, width: 1, count: 2, by_host: true };
    let mut all = vec![
        Entry::Between(vec![write.clone()]),
        Entry::Exit(call, Mark::Now(4, 99), vec![read, write], Gave::Words(vec![5]), Ends(false)),
        Entry::Exit(out, Mark::Same, said, Gave::Nothing, Ends(false)),
        Entry::Exit(input, Mark::Unknown, Vec::new(), Gave::Bytes(vec![65, 66]), Ends(false)),
        Entry::Exit(
            Asked::Mmio(Gpa(0xd000_0ff8), 8, None),
            Mark::Same,
            Vec::new(),
            Gave::Bytes(vec![7; 8]),
            Ends(false),
        ),
        Entry::Exit(
            Asked::Msr(0x1234, Some(u64::MAX)),
            Mark::Same,
            Vec::new(),
            Gave::Msr(None),
            Ends(false),
        ),
        Entry::Exit(Asked::Other("hlt".into()), Mark::Same, Vec::new(), Gave::Nothing, Ends(true)),
    ];
    all.extend(ends().into_iter().map(|end| Entry::End(end, Mark::Now(5, 1))));
    all.push(Entry::Close(Some(2)));
    all
}

const IMAGE: &[u8] = b"not an image, but bytes all the same";

fn machine() -> Machine {
    let window = 0xd000_0000..0xd000_1000;
    Machine {
        memory: 2 << 20,
        user: true,
        arguments: vec!["one".to_owned()],
        windows: vec![window],
        msrs: vec![0x1234..=0x1234, 0x4b56_4d00..=0x4b56_4dff],
    }
}

/// The contents of the frames.
fn frames() -> Vec<Vec<u8>> {
    let machine = postcard::to_allocvec(&machine()).expect("encodes");
    let entries = entries();
    let entries = entries.iter().map(|entry| postcard::to_allocvec(entry).expect("encodes"));
    [IMAGE.to_vec(), machine].into_iter().chain(entries).collect()
}

/// The log that they make, and where each of them ends.
fn sealed(frames: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    let mut writer = FrameWriter::new(&mut bytes, &LOG).expect("a Vec takes it");
    frames.iter().for_each(|frame| writer.put(frame, IMAGE_MAX).expect("a Vec takes it"));
    let mut at = 16;
    let ends = frames.iter().map(|frame| {
        at += FRAME_HEAD + frame.len();
        at
    });
    let ends = ends.collect();
    (bytes, ends)
}

fn read(bytes: &[u8]) -> Result<Log, LogError> {
    Log::read(Cursor::new(bytes.to_vec()))
}

#[test]
fn what_is_written_is_read_back() {
    let mut names: Vec<_> = ends().iter().map(End::name).collect();
    names.dedup();
    assert_eq!(names, End::NAMES);
    let limits = ends().into_iter().filter_map(|end| match end {
        End::LimitReached(limit) => Some(limit.name()),
        _ => None,
    });
    assert_eq!(limits.collect::<Vec<_>>(), Limit::NAMES);
    let log = read(&sealed(&frames()).0).expect("reads");
    assert_eq!((log.image(), log.machine()), (IMAGE, &machine()));
    assert_eq!((log.exits(), log.state()), (6, State::Complete(Some(2))));
    for (entry, bytes) in entries().iter().zip(&frames()[2..]) {
        let back: Entry = postcard::from_bytes(bytes).expect("decodes");
        assert_eq!(format!("{back:?}"), format!("{entry:?}"));
    }
}

#[test]
fn a_log_that_was_cut_anywhere_says_where_or_is_an_error() {
    let (bytes, ends) = sealed(&frames());
    for size in 0..bytes.len() {
        let whole = ends.iter().copied().filter(|end| *end <= size);
        match read(&bytes[..size]) {
            Ok(log) => {
                let last = whole.clone().max().expect("one at least");
                assert_eq!(log.state(), State::Cut(last as u64), "{size}");
                assert!(whole.count() >= 2, "{size}");
            }
            Err(LogError::TooShort { .. }) => assert!(whole.count() < 2, "{size}"),
            Err(LogError::Foreign { .. }) => assert!(size < LOG.magic.len(), "{size}"),
            Err(error) => panic!("{size}: {error}"),
        }
    }
}

#[test]
fn no_changed_bit_goes_unnoticed() {
    let (bytes, ends) = sealed(&frames());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let begins = ends.iter().copied().filter(|end| *end <= at).max().unwrap_or(16) as u64;
            match read(&bytes) {
                Err(LogError::Damaged { at: damaged, .. }) => assert_eq!(damaged, begins, "{at}"),
                Err(LogError::Foreign { .. }) => assert!(at < 8),
                Err(LogError::Format { .. }) => assert!((8..12).contains(&at)),
                Err(LogError::Contract { .. }) => assert!((12..16).contains(&at)),
                other => panic!("{at}: {other:?}"),
            }
        }
    }
}

#[test]
fn nothing_stands_behind_the_end() {
    let (whole, _) = sealed(&frames());
    let at = whole.len() as u64;
    let damaged = |behind: &[u8]| match read(&[&whole, behind].concat()) {
        Err(LogError::Damaged { at: damaged, .. }) => assert_eq!(damaged, at),
        other => panic!("{other:?}"),
    };
    damaged(&whole);
    damaged(&[0]);
    damaged(&[0; 4096]);
}

#[test]
fn what_no_recording_has_is_damage_and_is_not_written_either() {
    let read_of =
        |size, start: usize| Done::Read { at: Gpa(0x1000), size, sum: 0, start: vec![0; start] };
    let call = |words: usize, given: usize, done: Vec<Done>| {
        let asked = Asked::Call { number: 1, words: vec![0; words] };
        Entry::Exit(asked, Mark::Same, done, Gave::Words(vec![0; given]), Ends(false))
    };
    let print = || Done::Print(Vec::new());
    let most: Vec<Done> = (0..EFFECTS_MAX).map(|_| print()).collect();
    let more = || [most.clone(), vec![print()]].concat();
    let is_read = |entry: &Entry| {
        let content = postcard::to_allocvec(entry).expect("encodes");
        let mut frames = frames();
        frames.insert(2, content);
        match read(&sealed(&frames).0) {
            Ok(_) => true,
            Err(LogError::Damaged { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    };
    let right = [call(12, 12, most.clone()), call(0, 0, vec![read_of(64 * 1024, 32)])];
    let wrong = [
        call(13, 0, Vec::new()),
        call(0, 13, Vec::new()),
        call(0, 0, more()),
        call(0, 0, vec![read_of(64 * 1024 + 1, 0)]),
        call(0, 0, vec![read_of(3, 33)]),
        Entry::Between(more()),
        Entry::Between(vec![read_of(u64::MAX, 0)]),
        Entry::Close(Some(0)),
        Entry::Close(Some(129)),
        Entry::Between(vec![Done::Print(vec![0; 20 << 20])]),
    ];
    for entry in right {
        assert!(is_read(&entry) && entry.excess().is_none());
    }
    let (last, others) = wrong.split_last().expect("some");
    for (i, entry) in others.iter().enumerate() {
        assert!(!is_read(entry) && entry.excess().is_some(), "{i}");
    }
    // Too large a frame is no recorder's either.
    assert!(!is_read(last));
    let bytes = postcard::to_allocvec(last).expect("encodes");
    let mut writer = FrameWriter::new(Vec::new(), &LOG).expect("a Vec takes it");
    assert!(writer.put(&bytes, ENTRY_MAX).is_err());
    let mut machine = machine();
    machine.arguments = vec![String::new(); ARGUMENTS_MAX + 1];
    let machine = postcard::to_allocvec(&machine).expect("encodes");
    let error = read(&sealed(&[IMAGE.to_vec(), machine]).0).expect_err("too many");
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
}

#[test]
fn frames_that_are_lost_doubled_or_moved_are_damage() {
    let frames = frames();
    let (bytes, ends) = sealed(&frames);
    let frame = |i: usize| &bytes[ends[i - 1]..ends[i]];
    let damaged = |order: &[usize]| {
        let mut bytes = bytes[..ends[1]].to_vec();
        order.iter().for_each(|i| bytes.extend_from_slice(frame(*i)));
        let error = read(&bytes).expect_err("damaged");
        assert!(matches!(error, LogError::Damaged { .. }), "{order:?}: {error}");
    };
    damaged(&[3, 4, 5]);
    damaged(&[2, 2, 3]);
    damaged(&[2, 4, 3]);
    damaged(&[2, 3, frames.len() - 1]);
}

#[test]
fn checksums_that_are_right_do_not_make_an_entry() {
    let whole = frames();
    let damaged = |content: Vec<u8>| {
        let mut frames = whole.clone();
        frames.insert(3, content);
        let error = read(&sealed(&frames).0).expect_err("no entry");
        assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    };
    damaged(Vec::new());
    damaged(vec![99]);
    // Claims of what is not there: effects without end, a buffer of 16 EiB.
    damaged(vec![1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    damaged([vec![1, 1, 1, 0], vec![0xff; 9], vec![1]].concat());
    // An entry, and something behind it.
    damaged([&whole[3][..], &[0]].concat());
    // An entry behind the last one.
    damaged(whole.last().expect("one").clone());
    // Every entry, cut and lengthened and changed anywhere: read or refused, and that is all.
    for i in 1..whole.len() {
        for at in 0..whole[i].len() {
            for change in [0, 1, 0x7f, 0x80, 0xff] {
                let mut frames = whole.clone();
                frames[i][at] ^= change;
                let _ = read(&sealed(&frames).0);
                frames[i].truncate(at);
                let _ = read(&sealed(&frames).0);
            }
        }
    }
}

#[test]
fn what_is_no_log_or_another_versions_is_named() {
    let says = |bytes: &[u8], words: &str| {
        let error = read(bytes).expect_err("no log").to_string();
        assert!(error.contains(words), "{error}");
    };
    says(b"", "this is no log of a run (it starts with [])");
    says(b"\x7fELF\x02\x01\x01", "it starts with [7f, 45, 4c, 46, 02, 01, 01]");
    says(&[0; 4096], "this is no log");
    says(&LOG.magic, "the log ends at byte 8, before its first entry");
    let mut bytes = sealed(&frames()).0;
    bytes[8..12].copy_from_slice(&(LOG.version + 1).to_le_bytes());
    says(&bytes, "format version 4, this portcall reads version 3");
    let mut bytes = sealed(&frames()).0;
    bytes[12..16].copy_from_slice(&77u32.to_le_bytes());
    says(&bytes, "version 77 of Portcall's contract");
}

#[test]
fn a_log_is_no_larger_in_memory_than_its_file_is() {
    let (bytes, _) = sealed(&frames()[..2]);
    let claiming = |size: u32| {
        let mut sum = crc32fast::Hasher::new();
        let (header, mut rest) = bytes.split_at(16);
        sum.update(header);
        while let Some((head, behind)) = rest.split_first_chunk::<FRAME_HEAD>() {
            let content = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            sum.update(&head[..4]);
            sum.update(&behind[..content]);
            rest = &behind[content..];
        }
        let size = size.to_le_bytes();
        sum.update(&size);
        [&bytes[..], &size, &sum.finalize().to_le_bytes(), &[0; 4]].concat()
    };
    // A length of 4 GiB, which no frame has, and one of 16 MiB with nothing behind it.
    let error = read(&claiming(u32::MAX)).expect_err("too large");
    assert!(matches!(error, LogError::Damaged { .. }), "{error}");
    let log = read(&claiming(16 << 20)).expect("cut");
    assert_eq!(log.state(), State::Cut(bytes.len() as u64));
    // And one that is played all the same has no more to say.
    let image = Image::flat(&[0xf4]).expect("code");
    assert!(log.play(&image).is_ok());
}
