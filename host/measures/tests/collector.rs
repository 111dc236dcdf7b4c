//! The collector in a VM: guests that call it by hand, since they keep to nothing.

use measures::collect::{Collector, Sampled};
use portcall::abi::lab::INTERFACE;
use portcall::sys::KvmStats;
use portcall::{End, Image, Kvm, Ring, Vm};

/// Where a flat image lies, and in it the text and the ticks.
const START: u64 = 0x10_0000;
const NAME: u64 = START + 0x800;
const TICKS: u64 = START + 0x900;

/// nop, three times: what each sample consists of besides its operation.
const NOTHING: &[u8] = &[0x90; 3];

/// nop, three times; out 0x30, al
const OPERATION: &[u8] = &[0x90, 0x90, 0x90, 0xe6, 0x30];

/// A call: mov RDI, RSI, RDX, RCX, R8, 64 bits each; mov eax, NUMBER; out 0xf7, eax
fn call(name: &str, words: &[u64]) -> Vec<u8> {
    let registers = [[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x48, 0xb9], [0x49, 0xb8]];
    let moves = registers.iter().zip(words.iter().chain(&[0; 5]));
    let mut code: Vec<u8> =
        moves.flat_map(|(to, word)| [&to[..], &word.to_le_bytes()].concat()).collect();
    let number = INTERFACE.number(INTERFACE.place(name));
    code.extend([&[0xb8][..], &number.to_le_bytes(), &[0xe7, 0xf7]].concat());
    code
}

fn begin(planned: u64) -> Vec<u8> {
    call("begin", &[NAME, 6, 1, planned, 2])
}

/// So many samples behind one that is not timed, and the call that hands them over.
fn block(name: &str, samples: u64, sample: &[u8]) -> Vec<u8> {
    let count = usize::try_from(samples).expect("few") + 1;
    [sample.repeat(count), call(name, &[TICKS, 8 * samples])].concat()
}

/// Runs the parts; what the collector has then, the end, and the instructions that KVM counted.
fn run(parts: &[Vec<u8>], ring: Ring, opened: bool) -> (Vec<Sampled>, End, Option<u64>) {
    // xor eax, eax; out 0xf4, eax
    let mut code = [parts.concat(), vec![0x31, 0xc0, 0xe7, 0xf4]].concat();
    assert!(code.len() <= 0x800, "the text begins there");
    code.resize(0x800, 0);
    code.extend(b"an OUT");
    code.resize(0x900, 0);
    code.extend((1000..1008u64).flat_map(u64::to_le_bytes));
    let (kvm, image) = (Kvm::open().expect("KVM"), Image::flat(&code).expect("flat"));
    let collector = Collector::new();
    let builder = Vm::builder(&kvm, &image).ring(ring);
    let builder = builder.serve(collector.service()).observe(collector.watcher());
    let mut vm = builder.build().expect("builds");
    if opened {
        collector.opened(&vm);
    }
    let end = vm.run().expect("runs").end;
    let counted = KvmStats::open(vm.vcpu_fd()).ok().and_then(|it| it.get("insn_emulation"));
    (collector.sampled(), end, counted)
}

/// A measurement as the contract has it.
fn whole() -> Vec<Vec<u8>> {
    vec![
        begin(7),
        block("timer", 0, NOTHING),
        block("timer", 5, NOTHING),
        block("timer", 2, NOTHING),
        block("samples", 0, OPERATION),
        block("samples", 5, OPERATION),
        block("samples", 2, OPERATION),
        call("end", &[]),
    ]
}

#[test]
fn exits_and_instructions_are_the_operations_own() {
    for ring in [Ring::Zero, Ring::Three] {
        let (sampled, end, counted) = run(&whole(), ring, true);
        assert_eq!(end, End::Exited(0));
        let [out] = &sampled[..] else { panic!("{sampled:?}") };
        assert_eq!((out.name.as_str(), out.planned, out.warm_up), ("an OUT", 7, 2));
        assert_eq!((out.samples.len(), out.is_complete), (7, true));
        // The median of the timer's, 1000 to 1004 and 1000 and 1001, is 1001 ticks.
        assert!(out.timer > 0.0 && out.samples[0] < 0.0 && out.samples[4] > 0.0, "{out:?}");
        let watched = out.watched.expect("an observer");
        assert_eq!(watched.exits.to_bits(), 1f64.to_bits(), "{watched:?}");
        assert!(watched.ours > 0.0, "{watched:?}");
        // The guest does more than a hundred: a KVM that counted fewer does not count all.
        match out.instructions {
            Some(instructions) => assert_eq!(instructions.to_bits(), 1f64.to_bits()),
            None => assert!(counted.is_none_or(|it| it < 100), "{counted:?}"),
        }
    }
}

#[test]
fn a_guest_that_ends_half_way_leaves_what_it_measured() {
    let mut parts = whole();
    parts.truncate(6);
    let (sampled, end, _) = run(&parts, Ring::Zero, true);
    assert_eq!(end, End::Exited(0));
    assert_eq!((sampled[0].samples.len(), sampled[0].is_complete), (5, false));
}

#[test]
fn a_call_out_of_its_place_ends_the_run_in_words() {
    let refused = |parts: &[Vec<u8>], opened| match run(parts, Ring::Zero, opened) {
        (_, End::CallRefused { call, why }, _) => (call, why),
        (_, end, _) => panic!("{end:?}"),
    };
    let of = |call: &str, why: &str| (call.to_owned(), why.to_owned());
    let none = "no measurement has begun";
    assert_eq!(refused(&[block("samples", 1, &[])], true), of("Lab::samples", none));
    assert_eq!(refused(&[call("end", &[])], true), of("Lab::end", none));
    let odd = refused(&[begin(1), call("timer", &[TICKS, 7])], true);
    assert!(odd.0 == "Lab::timer" && odd.1.contains("8 bytes each"), "{odd:?}");
    let many = refused(&[begin(1), block("samples", 2, &[])], true);
    assert!(many.1.contains("more samples than"), "{many:?}");
    let nowhere = refused(&[begin(1), call("samples", &[0, 8])], true);
    assert_eq!(nowhere.0, "Lab::samples");
    // Nobody asked KVM for the clock's rate.
    let unopened = refused(&whole(), false);
    assert!(unopened.0 == "Lab::begin" && unopened.1.contains("no note"), "{unopened:?}");
}
