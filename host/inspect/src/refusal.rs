//! What KVM, or the host, refused, and what to do about it.

use crate::disasm;
use crate::explain::Scene;
use crate::kind::KvmKind;
use crate::words;
use portcall::abi;
use portcall::abi::calls::Refusal;

type Words = (String, Vec<String>);

/// KVM_INTERNAL_ERROR_* (Linux, include/uapi/linux/kvm.h).
fn name(suberror: u32) -> &'static str {
    match suberror {
        1 => "KVM_INTERNAL_ERROR_EMULATION",
        2 => "KVM_INTERNAL_ERROR_SIMUL_EX: an exception while one was delivered",
        3 => "KVM_INTERNAL_ERROR_DELIVERY_EV: an exit while an event was delivered",
        4 => "KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON",
        _ => "of an unknown kind",
    }
}

/// A typed hypercall that was not answered.
pub(crate) fn call_refused(call: &str, why: &str) -> Words {
    let (headline, notes) = (format!("call refused: {call}: {why}"), Vec::new());
    if why != Refusal::NotServed.to_string() {
        return (headline, notes);
    }
    let interface = call.split("::").next().unwrap_or(call);
    let stock = [&abi::host::INTERFACE, &abi::host_address::INTERFACE, &abi::span::INTERFACE];
    let stock = stock.map(|it| it.name);
    let remedy = if stock.contains(&interface) {
        format!(
            "to give it to the guest: --allow {interface}, or Builder::serve in a host of yours"
        )
    } else {
        "an interface of yours is answered by a host of yours (Builder::serve): the stock binary has \
         Host, HostAddress and Span"
            .to_owned()
    };
    (headline, vec![remedy])
}

pub(crate) fn emulation_failed(scene: &Scene<'_>, bytes: &[u8]) -> Words {
    let rip = scene.registers().rip;
    let bits = disasm::code_bits(&scene.sregs);
    let told = disasm::decode(bytes, rip, bits).map(|decoded| decoded.text);
    let instruction = told.or_else(|| scene.decoded.as_ref().map(|decoded| decoded.text.clone()));
    let what = instruction.map_or_else(|| "an instruction".to_owned(), |text| format!("`{text}`"));
    let mut notes = vec![format!("suberror 1, {}", name(1))];
    if !bytes.is_empty() {
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        notes.push(format!("bytes at RIP: {}", bytes.join(" ")));
    }
    let call = words::not_a_call(scene);
    let is_call = call.is_some();
    notes.extend(call);
    match (scene.kind, scene.in_ring_3()) {
        (KvmKind::Pvm, false) => notes.push(
            "this KVM emulates ring 0 and has no SSE, x87, POPCNT, BMI or software interrupts there; \
             build for x86_64-unknown-none (C: -mgeneral-regs-only), or run with --ring 3"
                .to_owned(),
        ),
        // A SYSENTER is left to the emulator by the vendor in CPUID, whatever it touches.
        _ if is_call => {}
        _ => notes.push(
            "this KVM runs guests natively, and emulates an instruction only where it touches what is \
             no RAM: is its address right?"
                .to_owned(),
        ),
    }
    (format!("KVM cannot emulate {what}"), notes)
}

pub(crate) fn internal_error(suberror: u32, data: &[u64]) -> Words {
    let words: Vec<String> = data.iter().map(|word| format!("{word:#x}")).collect();
    let mut notes = vec![format!("suberror {suberror}, {}", name(suberror))];
    if !words.is_empty() {
        notes.push(format!("data: {}", words.join(" ")));
    }
    ("KVM gave up on the guest".to_owned(), notes)
}

pub(crate) fn entry_failed(reason: u64) -> Words {
    // On VMX the low 16 bits are the basic exit reason (SDM vol. 3, appendix C); 33 is a guest
    // state that the processor does not take.
    let note = if reason & 0xffff == 33 {
        "VMX exit reason 33: the guest's registers or segments are not a state that may be entered"
    } else {
        "the number is the hardware's own: VMX's exit reason or SVM's exit code"
    };
    (format!("the processor refused to enter the guest, reason {reason:#x}"), vec![note.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::{entry_failed, internal_error};

    #[test]
    fn an_internal_error_has_its_name_and_its_words() {
        let (headline, notes) = internal_error(3, &[0x10, 0x2a]);
        assert_eq!(headline, "KVM gave up on the guest");
        assert!(notes[0].starts_with("suberror 3, KVM_INTERNAL_ERROR_DELIVERY_EV"), "{notes:?}");
        assert_eq!(notes[1], "data: 0x10 0x2a");
        let (_, notes) = internal_error(99, &[]);
        assert_eq!(notes, ["suberror 99, of an unknown kind"]);
    }

    #[test]
    fn an_invalid_guest_state_is_told_from_other_entry_failures() {
        let (headline, notes) = entry_failed(0x8000_0021);
        assert_eq!(headline, "the processor refused to enter the guest, reason 0x80000021");
        assert!(notes[0].contains("exit reason 33"), "{notes:?}");
        let (_, notes) = entry_failed(u64::MAX);
        assert!(notes[0].contains("hardware's own"), "{notes:?}");
    }
}
