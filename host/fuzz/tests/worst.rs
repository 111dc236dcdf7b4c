//! Every method of every interface that there is, called with the worst words there are, in both
//! rings: it is answered, or the run ends as refused.

#[path = "../../tests/common/mod.rs"]
mod common;

use abi::calls::{BUFFER_MAX, Interface};
use common::calls::{ROOM, image, set};
use common::kvm;
use fuzz_targets::services;
use portcall::layout::{Layout, MIB};
use portcall::{End, Image, Kvm, Ring, Vm};

const MEMORY: u64 = 4 * MIB;

fn built(kvm: &Kvm, file: &[u8], ring: Ring) -> Vm {
    let image = Image::parse(file).expect("an image");
    services::serve(Vm::builder(kvm, &image).ring(ring).memory(MEMORY)).build().expect("builds")
}

/// Addresses at the edges of what a guest may use, and beyond.
fn addresses(layout: &Layout) -> [u64; 9] {
    [
        0,
        ROOM,
        layout.tables.start,
        layout.descriptors.end - 1,
        layout.guard.start - 1,
        MEMORY - 1,
        MEMORY,
        1 << 47,
        u64::MAX,
    ]
}

const SIZES: [u64; 6] = [0, 1, BUFFER_MAX, BUFFER_MAX + 1, 1 << 63, u64::MAX];

/// Words for one call: the same in all of them, or addresses and sizes by turns, from the first
/// word or from the second on.
fn worst(layout: &Layout) -> Vec<[u64; 12]> {
    let mut all = Vec::from([1, 2, u64::MAX, 1 << 63, 0x7f, 0xff80].map(|word| [word; 12]));
    for address in addresses(layout) {
        for size in SIZES {
            for first in [0, 1] {
                let word = |i| if i % 2 == first { address } else { size };
                all.push(std::array::from_fn(word));
            }
            // A tag in front, as of an Option or a Result.
            let mut tagged = std::array::from_fn(|i| if i % 2 == 0 { size } else { address });
            tagged[0] = 1;
            all.push(tagged);
        }
    }
    all
}

/// Calls all methods, and one that there is not, with each `step`th of the worst words: whether it
/// was answered. Without `afresh`, a guest whose call was goes on, with what calls have written.
fn call_all(interface: &Interface, ring: Ring, step: usize, afresh: bool) -> Vec<bool> {
    let (kvm, file) = (kvm(), image(&[]));
    let mut vm = built(&kvm, &file, ring);
    let words = worst(vm.layout());
    let methods = 0..=u32::try_from(interface.methods.len()).expect("few methods");
    let calls = methods.flat_map(|method| words.iter().map(move |words| (method, words)));
    let mut answered = Vec::new();
    for (method, words) in calls.step_by(step) {
        set(&vm, interface.number(method), words);
        let outcome = vm.run().expect("the host does not fail");
        let halted = outcome.end == End::Halted;
        let refused = matches!(outcome.end, End::CallRefused { .. });
        assert!(halted || refused, "method {method} with {words:x?}: {}", outcome.end);
        answered.push(halted);
        if afresh || refused {
            vm = built(&kvm, &file, ring);
        }
    }
    answered
}

/// Behind HLT a guest goes on in ring 0 alone.
#[test]
fn each_call_is_answered_or_refused() {
    const STEP: usize = 11;
    let (mut answered, mut refused) = (0, 0);
    for interface in services::ALL {
        for answer in call_all(interface, Ring::Zero, 1, false) {
            *(if answer { &mut answered } else { &mut refused }) += 1;
        }
        let [ring_0, ring_3] =
            [Ring::Zero, Ring::Three].map(|ring| call_all(interface, ring, STEP, true));
        // What ring 3 may use, ring 0 may as well; but not the other way round.
        let name = interface.name;
        assert!(ring_0.into_iter().zip(ring_3).all(|(zero, three)| zero || !three), "{name}");
    }
    // Neither is rare among these words.
    assert!(answered > 1000 && refused > 1000, "{answered} answered, {refused} refused");
}
