//! A caller's data is not there for the next: the guest looks for it, and so does the host.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "common/keeper.rs"]
mod keeper;
#[path = "common/lent.rs"]
mod lent;

use keeper::{Client, EVERYWHERE, EVERYWHERE_WIDE};
use lent::pool_with;
use pool::{Pool, Size, Wait};
use portcall::stock::Stock;
use portcall::{Capture, End, Gpa, Image, Ring, Vm};
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

/// A guest that has called `ready` finds other random bytes in each VM that is lent, and in the same
/// VM each time.
#[test]
fn each_caller_has_a_seed_of_his_own() {
    const BUFFER: u64 = 0x18_0000;
    let interface = &abi::host::INTERFACE;
    let ready = interface.methods.iter().position(|it| it.name == "ready").expect("it is there");
    let number = interface.number(u32::try_from(ready).expect("few"));
    // mov edi, BUFFER; mov esi, 32; mov eax, number; out 0xf7, eax; hlt
    let mut code = vec![0xbf, 0, 0, 0x18, 0, 0xbe, 32, 0, 0, 0, 0xb8];
    code.extend(number.to_le_bytes());
    code.extend([0xe7, 0xf7, 0xf4]);
    let kvm = common::kvm();
    let image = Image::flat(&code).expect("code");
    let mut vm = Vm::builder(&kvm, &image).serve(Stock::new()).build().expect("builds");
    assert!(vm.run_to_ready().expect("runs").is_none());
    let snapshot = vm.snapshot().expect("taken");
    let pool = Pool::new(kvm, snapshot, Size { ready: 1, most: 2 }, |vm| vm.serve(Stock::new()));
    let pool = pool.expect("a pool");
    let seed = |vm: &Vm| {
        let mut seed = [0; 32];
        vm.memory().read(Gpa(BUFFER), &mut seed).expect("RAM");
        seed
    };
    let mut seeds = std::collections::BTreeSet::from([seed(&vm)]);
    for _ in 0..5 {
        let (mut one, two) =
            (pool.take(Wait::Never).expect("one"), pool.take(Wait::Never).expect("two"));
        assert!(seeds.insert(seed(&one)) && seeds.insert(seed(&two)), "no seed twice");
        assert_eq!(one.run().expect("runs").end, End::Halted);
    }
    assert_eq!(pool.counts().made, 2);
}
