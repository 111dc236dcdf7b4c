//! A caller's data is not there for the next: the guest looks for it, and so does the host.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "common/keeper.rs"]
mod keeper;
#[path = "common/lent.rs"]
mod lent;

use keeper::{Client, EVERYWHERE, EVERYWHERE_WIDE};
use lent::pool_with;
use pool::{Size, Wait};
use portcall::{Capture, Gpa, Ring, Vm};
use std::io::Read;
use std::sync::{Arc, Mutex};

const SECRET: u64 = u64::from_le_bytes(*b"SeCrEt!\x01");

/// Where in all of the guest's memory a word stands.
fn found(vm: &Vm, word: u64) -> Vec<u64> {
    let mut places = Vec::new();
    let mut page = [0; 4096];
    for ram in &vm.layout().ram {
        for gpa in ram.clone().step_by(4096) {
            vm.memory().read(Gpa(gpa), &mut page).expect("RAM");
            let words = page.as_chunks::<8>().0.iter().zip((gpa..).step_by(8));
            places.extend(words.filter(|(it, _)| u64::from_le_bytes(**it) == word).map(|it| it.1));
        }
    }
    places
}

#[test]
fn a_callers_data_is_not_there_for_the_next() {
    // SSE and x87 take a processor of the guest's own; ring 0 is emulated on some.
    for (ring, wide, everywhere) in [(Ring::Zero, 0, EVERYWHERE), (Ring::Three, 1, EVERYWHERE_WIDE)]
    {
        let text = Capture::new();
        let sink = text.clone();
        let pool = pool_with(ring, Size { ready: 1, most: 1 }, move |vm| vm.console(sink.clone()));
        let mut at_first = None;
        for round in 0..4 {
            let mut vm = pool.take(Wait::Never).expect("it is ready");
            assert_eq!(found(&vm, SECRET), [0; 0], "round {round} in {ring:?}");
            let registers = vm.registers().expect("registers");
            assert_eq!(*at_first.get_or_insert(registers), registers);
            assert_eq!((vm.stats().exits(), vm.fault()), (0, None));
            let mut guest = Client(vm.door());
            assert_eq!(guest.look(wide).expect("answers"), 0, "round {round} in {ring:?}");
            guest.leave(SECRET, wide).expect("answers");
            // Where it is, both find it.
            assert_eq!(guest.look(wide).expect("answers"), everywhere, "{ring:?}");
            assert!(found(&vm, SECRET).len() >= 7, "{ring:?}");
            // The host's own writes, too.
            vm.memory().write(Gpa(0x50_0000), &SECRET.to_le_bytes()).expect("RAM");
        }
        assert_eq!(pool.counts().made, 1, "it was the same VM, in {ring:?}");
        assert_eq!(text.text(), "");
    }
}

/// A source that gives all that it has at once, as a file does.
struct Line(Arc<Mutex<Vec<u8>>>);

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut line = self.0.lock().expect("whole");
        let size = line.len().min(buffer.len());
        buffer[..size].copy_from_slice(&line[..size]);
        line.drain(..size);
        Ok(size)
    }
}

#[test]
fn input_that_was_read_ahead_for_one_caller_is_not_the_nexts() {
    let line = Arc::new(Mutex::new(Vec::new()));
    let source = Arc::clone(&line);
    let size = Size { ready: 1, most: 1 };
    let pool = pool_with(Ring::Zero, size, move |vm| vm.input(Line(Arc::clone(&source))));
    for byte in [b'a', b'b'] {
        line.lock().expect("whole").extend([byte, b'!', b'?']);
        let mut vm = pool.take(Wait::Never).expect("it is ready");
        assert_eq!(Client(vm.door()).input().expect("answers"), u64::from(byte));
    }
}
