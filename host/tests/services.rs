//! The host's side of typed calls: who answers, what an answer may do, and how it may fail.

mod common;

use abi::calls::{Interface, Refusal, id_of};
use abi::note::TYPE_CALLS;
use common::calls::{ROOM, TABLE, call, image, note, set, vm};
use common::elf::{Elf, data};
use common::kvm;
use portcall::error::ConfigError;
use portcall::layout::MIB;
use portcall::service::{Call, NoAnswer, Service};
use portcall::{End, Error, Guest, Image, Limit, Ports, Ring, Vm};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};

mod probe {
    use abi::calls::Refusal;

    abi::hypercalls! {
        /// What is tried.
        pub(crate) trait Probe {
            fn add(&mut self, a: u64, b: u64) -> u64;
            fn text(&mut self, text: &str) -> Result<bool, Refusal>;
            fn panics(&mut self);
            fn guest(&mut self, size: u64) -> u64;
        }
    }
}

const ADD: u32 = probe::INTERFACE.number(0);
const TEXT: u32 = probe::INTERFACE.number(1);
const PANICS: u32 = probe::INTERFACE.number(2);
const GUEST: u32 = probe::INTERFACE.number(3);

struct Host;

impl probe::Probe for Host {
    fn add(&mut self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    fn text(&mut self, _: &str) -> Result<bool, Refusal> {
        Ok(false)
    }

    #[expect(clippy::panic, reason = "it is what is tried")]
    fn panics(&mut self) {
        panic!("out of {}", "luck");
    }

    /// Runs a guest of its own, which spins until its limit.
    fn guest(&mut self, _: u64) -> u64 {
        let limit = Limit::Time(Duration::from_millis(30));
        let (kvm, spins) = (kvm(), Image::flat(b"\xeb\xfe").expect("code"));
        let mut inner = Vm::builder(&kvm, &spins).limit(limit).build().expect("builds");
        let end = inner.run().expect("runs").end;
        assert_eq!(end, End::LimitReached(limit));
        // And one that makes calls, answered like its host's own.
        let mut inner = vm(&kvm, Ring::Zero, 4 * MIB, probe::Server(Host));
        call(&mut inner, ADD, &[20, 3]).registers.rax
    }
}

/// A VM whose host is the one above.
fn probed() -> Vm {
    vm(&kvm(), Ring::Zero, 4 * MIB, probe::Server(Host))
}

#[test]
fn a_handler_that_panics_ends_the_run_and_not_the_process() {
    let mut vm = probed();
    let message = "Probe::panics panicked: out of luck".to_owned();
    let end = End::HandlerFailed { message };
    assert_eq!(call(&mut vm, PANICS, &[]).end, end);
    // It is not asked again.
    assert_eq!(call(&mut vm, ADD, &[1, 2]).end, end);

    struct Broken;
    impl Ports for Broken {
        fn write(&mut self, _: &mut Guest<'_>, _: u16, _: u8, _: u32) -> Result<(), End> {
            panic!("no more");
        }
    }
    let image = Image::flat(code!(to_broken: "mov dx, 0x300" "out dx, al" "hlt")).expect("code");
    let mut vm = Vm::builder(&kvm(), &image).ports(0x300..=0x300, Broken).build().expect("builds");
    let message = "the handler of port 0x300 panicked: no more".to_owned();
    assert_eq!(vm.run().expect("runs").end, End::HandlerFailed { message });
}

#[test]
fn a_handler_may_run_another_guest() {
    let outcome = call(&mut probed(), GUEST, &[0]);
    assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 23));
}

#[test]
fn a_limit_holds_after_a_handler_has_run_another_guest() {
    let code = code!(calls_and_spins:
        "mov eax, [0x200000]" "out 0xf7, eax" "2: jmp 2b"
    );
    let file = Elf::new(code).with(data(TABLE, 8), &u64::from(GUEST).to_le_bytes()).bytes();
    let image = Image::parse(&file).expect("an image");
    let limit = Limit::Time(Duration::from_millis(300));
    let start = Instant::now();
    let mut vm = Vm::builder(&kvm(), &image)
        .serve(probe::Server(Host))
        .limit(limit)
        .build()
        .expect("builds");
    assert_eq!(vm.run().expect("runs").end, End::LimitReached(limit));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn what_is_written_to_the_call_port_is_4_bytes() {
    let refused = |end: &End| matches!(end, End::CallRefused { why, .. } if why == "a call is one OUT of 4 bytes");
    let bytes = code!(bytes: "mov al, 1" "out 0xf7, al" "hlt");
    let halves = code!(halves: "mov ax, 1" "out 0xf7, ax" "hlt");
    let both = code!(string_of_bytes:
        "mov esi, 0x200000" "mov edx, 0xf7" "mov ecx, 8" "rep outsb" "hlt"
    );
    for code in [bytes, halves, both] {
        let file = Elf::new(code).with(data(TABLE, 8), &u64::from(ADD).to_le_bytes()).bytes();
        let image = Image::parse(&file).expect("an image");
        let mut vm =
            Vm::builder(&kvm(), &image).serve(probe::Server(Host)).build().expect("builds");
        let end = vm.run().expect("runs").end;
        assert!(refused(&end), "{end}");
    }
}

#[test]
fn a_string_of_calls_is_refused_or_answered_one_by_one() {
    // KVM may hand the elements over one at a time, or all at once; the first is an addition.
    let code = code!(string:
        "mov esi, 0x200000" "mov edx, 0xf7" "mov ecx, 4" "mov edi, 5" "rep outsd" "hlt"
    );
    let table: Vec<u8> = (0..4).flat_map(|_| ADD.to_le_bytes()).collect();
    let file = Elf::new(code).with(data(TABLE, 16), &table).bytes();
    let image = Image::parse(&file).expect("an image");
    let limit = Limit::Time(Duration::from_secs(5));
    let mut vm = Vm::builder(&kvm(), &image)
        .serve(probe::Server(Host))
        .limit(limit)
        .build()
        .expect("builds");
    let outcome = vm.run().expect("runs");
    let why = "a call is one OUT of 4 bytes".to_owned();
    let refused = End::CallRefused { call: "Probe::add".to_owned(), why };
    assert!(outcome.end == End::Halted || outcome.end == refused, "{}", outcome.end);
}

/// Answers like another, and counts what was refused.
struct Counting {
    server: probe::Server<Validating>,
    refused: Arc<AtomicU64>,
}

impl Service for Counting {
    fn interface(&self) -> &'static Interface {
        &probe::INTERFACE
    }

    fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer> {
        let Call { method, words } = call;
        let count = self.server.answer(guest, Call { method, words: &mut *words })?;
        if words[0] == 1 {
            assert_eq!(words[1], Refusal::Text.code());
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        Ok(count)
    }
}

/// Looks at its text twice, and again later.
struct Validating {
    refused: Arc<AtomicU64>,
    answered: u64,
}

impl probe::Probe for Validating {
    fn add(&mut self, a: u64, _: u64) -> u64 {
        a
    }

    /// Whether it has seen enough.
    fn text(&mut self, text: &str) -> Result<bool, Refusal> {
        let first = text.as_bytes().to_vec();
        std::thread::yield_now();
        assert_eq!(text.as_bytes(), first, "a copy is not the guest's any more");
        assert!(str::from_utf8(text.as_bytes()).is_ok(), "text stays UTF-8");
        self.answered += 1;
        Ok(self.answered > 100 && self.refused.load(Ordering::Relaxed) > 100)
    }

    fn panics(&mut self) {}

    fn guest(&mut self, size: u64) -> u64 {
        size
    }
}

#[test]
fn arguments_are_copied_once_whatever_writes_to_them_meanwhile() {
    // Until text was taken and refused often enough: RAX is 0 for Ok, then RDI is the answer.
    let code = code!(hammered:
        "3: mov eax, [0x200000]" "mov edi, 0x201000" "mov esi, 512" "out 0xf7, eax"
        "cmp rax, 0" "jne 3b" "cmp rdi, 0" "je 3b" "hlt"
    );
    let table = u64::from(TEXT).to_le_bytes();
    let file = Elf::new(code).with(data(TABLE, 0x2000), &[&table[..], &[0; 0x1ff8]].concat());
    let file = file.bytes();
    let image = Image::parse(&file).expect("an image");
    let refused = Arc::new(AtomicU64::new(0));
    let server = probe::Server(Validating { refused: refused.clone(), answered: 0 });
    let mut vm = Vm::builder(&kvm(), &image)
        .serve(Counting { server, refused: refused.clone() })
        .limit(Limit::Time(Duration::from_secs(60)))
        .build()
        .expect("builds");
    // SAFETY: the thread that has it is joined before the VM ends.
    let memory = unsafe { vm.memory().as_mmap() }.clone();
    let done = Arc::new(AtomicBool::new(false));
    let hammer = std::thread::spawn({
        let done = done.clone();
        move || {
            let texts = [[b'a'; 512], [0xff; 512]];
            while !done.load(Ordering::Relaxed) {
                for text in &texts {
                    memory.write_slice(text, GuestAddress(ROOM)).expect("RAM");
                    // For as long as some calls take.
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        }
    });
    let outcome = vm.run().expect("runs");
    done.store(true, Ordering::Relaxed);
    hammer.join().expect("joins");
    assert_eq!(outcome.end, End::Halted);
    assert!(refused.load(Ordering::Relaxed) > 100);
}

/// The descriptor of a note for the probe, with its calls changed.
fn noted(change: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
    let mut calls = probe::INTERFACE.methods.iter().map(ToString::to_string).collect();
    change(&mut calls);
    let names = ["Probe".to_owned()].into_iter().chain(calls);
    names.flat_map(|text| (text + "\0").into_bytes()).collect()
}

#[test]
fn an_image_with_another_definition_is_refused_and_told_what_differs() {
    let kvm = kvm();
    let differences = |notes: &[u8]| {
        let file = image(notes);
        let image = Image::parse(&file).expect("an image");
        match Vm::builder(&kvm, &image).serve(probe::Server(Host)).build() {
            Err(Error::Interface(error)) => Some(error.to_string()),
            other => {
                other.expect("nothing else is wrong");
                None
            }
        }
    };
    let calls = |descriptor: &[u8]| note(TYPE_CALLS, descriptor);
    assert_eq!(differences(&calls(&noted(|_| {}))), None);
    // More here, or an interface that nobody answers, is no matter before it is called.
    assert_eq!(differences(&calls(&noted(|it| it.truncate(2)))), None);
    assert_eq!(differences(&calls(b"Other\0put()\0")), None);
    let other = "add(a: u64, b: u32) -> u64";
    let text = differences(&calls(&noted(|it| {
        it[0] = other.to_owned();
        it.push("more()".to_owned());
    })));
    assert_eq!(
        text.as_deref(),
        Some(
            "the image and this host define the interface `Probe` differently: call 0 is add(a: u64, \
             b: u32) -> u64 in the image, add(a: u64, b: u64) -> u64 here; call 4, more(), is only \
             in the image. Build both from the same definition"
        )
    );
    // The same calls in another order are others.
    let text = differences(&calls(&noted(|it| it.swap(1, 2)))).expect("differs");
    assert!(text.contains("call 1 is panics() in the image, text(text: &str)"), "{text}");
    // Of two notes of one interface, each counts.
    let two = [calls(&noted(|_| {})), calls(&noted(|it| it.swap(1, 2)))].concat();
    assert!(differences(&two).is_some());
}

#[test]
fn a_call_that_only_the_image_knows_is_refused_by_the_images_name() {
    let notes = note(TYPE_CALLS, b"Other\0put(a: u64)\0get(a: u64) -> Result<u64, Refusal>\0");
    let file = image(&notes);
    let image = Image::parse(&file).expect("an image");
    let try_one = |method: u32| {
        // With a service for others, and with none at all.
        let outcomes = [true, false].map(|served| {
            let (kvm, probe) = (kvm(), probe::Server(Host));
            let builder = Vm::builder(&kvm, &image);
            let builder = if served { builder.serve(probe) } else { builder };
            let mut vm = builder.build().expect("builds");
            let outcome = call(&mut vm, id_of("Other") << 8 | method, &[7]);
            (outcome.end, outcome.registers.rax, outcome.registers.rdi)
        });
        let [first, second] = outcomes;
        assert_eq!(first, second);
        first
    };
    let refused = |call: &str| {
        let why = "this VM was not given the interface".to_owned();
        End::CallRefused { call: call.to_owned(), why }
    };
    assert_eq!(try_one(0).0, refused("Other::put"));
    assert_eq!(try_one(1), (End::Halted, 1, Refusal::NotServed.code()));
    assert_eq!(try_one(2).0, refused("Other::2"));
}

/// An interface that is only a name.
struct Named(&'static Interface);

impl Service for Named {
    fn interface(&self) -> &'static Interface {
        self.0
    }

    fn answer(&mut self, _: &mut Guest<'_>, _: Call<'_>) -> Result<usize, NoAnswer> {
        Ok(0)
    }
}

#[test]
fn two_services_of_one_number_are_refused() {
    let kvm = kvm();
    let build = |first: Interface, second: Interface| {
        let image = Image::flat(b"\xf4").expect("code");
        let named = |interface| Named(Box::leak(Box::new(interface)));
        let vm = Vm::builder(&kvm, &image).serve(named(first)).serve(named(second)).build();
        match vm {
            Err(Error::Config(ConfigError::InterfaceTaken { first, second })) => {
                Some((first, second))
            }
            other => {
                other.expect("nothing else is wrong");
                None
            }
        }
    };
    assert_eq!(build(probe::INTERFACE, probe::INTERFACE), Some(("Probe", "Probe")));
    assert_eq!(build(probe::INTERFACE, Interface { name: "Other", methods: &[] }), None);
    // Other names with the same number: among some thousands there are two.
    let mut names = HashMap::new();
    let (first, second) = (0..100_000)
        .find_map(|i| {
            let name = format!("Name{i}");
            Some((names.insert(id_of(&name), name.clone())?, name))
        })
        .expect("24 bits are not many");
    let interface = |name: String| Interface { name: name.leak(), methods: &[] };
    let taken = build(interface(first.clone()), interface(second.clone()));
    assert_eq!(taken, Some((first.leak() as &str, second.leak() as &str)));
}

#[test]
fn a_call_of_numbers_is_one_exit() {
    let mut vm = probed();
    set(&vm, ADD, &[20, 3]);
    let outcome = vm.run().expect("runs");
    assert_eq!((outcome.end, outcome.registers.rax), (End::Halted, 23));
    // The call and the halt.
    assert_eq!(outcome.stats.exits(), 2);
}
