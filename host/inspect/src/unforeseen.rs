//! A replay that diverged, and what can make one diverge: instructions whose result is another in
//! every run, which no recording of the host's answers has.

use crate::explain::Scene;
use crate::symbols::Symbols;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic};
use portcall::{End, Image};

/// The most places that are named.
const NAMED: usize = 4;

/// Headline and notes of a divergence.
pub(crate) fn diverged(scene: &Scene<'_>) -> (String, Vec<String>) {
    let End::Diverged { expected, actual } = &scene.outcome.end else {
        return (scene.outcome.end.to_string(), Vec::new());
    };
    let exits = scene.outcome.stats.exits();
    let headline = format!("the replay diverged from its recording, at exit {exits}");
    let mut notes = vec![format!("expected: {expected}"), format!("actual:   {actual}")];
    let found = unforeseen(scene.space.image, scene.symbols);
    if found.is_empty() {
        notes.push(
            "the image has no RDTSC, RDTSCP, RDRAND or RDSEED, which can make a run another; \
             memory that was written by way of `Memory::as_mmap` could, a KVM that is another, or \
             a bug of ours"
                .to_owned(),
        );
        return (headline, notes);
    }
    let named: Vec<_> = found.iter().take(NAMED).map(|it| place(it, scene.symbols)).collect();
    let named = named.join(", ");
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    notes.push(format!("what its processor gives a guest is not recorded, here by {named}{more}"));
    (headline, notes)
}

/// Where the image has such instructions, and which. Its code is decoded from symbol to symbol, since data may stand between functions; what a guest writes or copies
/// while it runs is not seen.
fn unforeseen(image: &Image<'_>, symbols: &Symbols<'_>) -> Vec<(Mnemonic, u64)> {
    let mut found = Vec::new();
    for segment in image.segments().iter().filter(|segment| segment.permissions.execute) {
        let (start, bytes) = (segment.virtual_range().start, image.bytes_of(segment));
        let end = start.saturating_add(bytes.len() as u64);
        let mut borders: Vec<u64> =
            symbols.starts().filter(|at| (start..end).contains(at)).collect();
        borders.insert(0, start);
        borders.push(end);
        borders.dedup();
        for piece in borders.windows(2) {
            let offset = |at: u64| usize::try_from(at - start).unwrap_or(bytes.len());
            let Some(code) = bytes.get(offset(piece[0])..offset(piece[1])) else { continue };
            // Each of them begins with 0F, which most pieces of code are without.
            if !code.windows(2).any(|pair| matches!(pair, [0x0f, 0x31 | 0x01 | 0xc7])) {
                continue;
            }
            let decoder = Decoder::with_ip(64, code, piece[0], DecoderOptions::NONE);
            let ours = decoder.into_iter().filter(is_unforeseen);
            found.extend(ours.map(|it| (it.mnemonic(), it.ip())));
        }
    }
    found
}

fn is_unforeseen(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    instruction.code() != Code::INVALID
        && matches!(instruction.mnemonic(), M::Rdtsc | M::Rdtscp | M::Rdrand | M::Rdseed)
}

/// `RDTSC in main + 0x12 (0x101234)`.
fn place((mnemonic, at): &(Mnemonic, u64), symbols: &Symbols<'_>) -> String {
    let name = format!("{mnemonic:?}").to_uppercase();
    match symbols.symbol_at(*at) {
        Some((function, into)) => format!("{name} in {function} + {into:#x} ({at:#x})"),
        None => format!("{name} at {at:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::unforeseen;
    use crate::symbols::Symbols;
    use portcall::Image;

    /// Which there are in flat code, and where from its start.
    fn found(code: &[u8]) -> Vec<(String, u64)> {
        let image = Image::flat(code).expect("code");
        let start = image.entry();
        let found = unforeseen(&image, &Symbols::new(&[], 0));
        found.iter().map(|(name, at)| (format!("{name:?}"), at - start.0)).collect()
    }

    #[test]
    fn all_four_are_found_and_their_bytes_in_others_are_not() {
        // nop; rdtsc; rdtscp; rdrand eax; rdseed rax; hlt
        let code =
            [0x90, 0x0f, 0x31, 0x0f, 0x01, 0xf9, 0x0f, 0xc7, 0xf0, 0x48, 0x0f, 0xc7, 0xf8, 0xf4];
        let all = [("Rdtsc", 1), ("Rdtscp", 3), ("Rdrand", 6), ("Rdseed", 9)];
        assert_eq!(found(&code), all.map(|(name, at)| (name.to_owned(), at)));
        // mov eax, 0x310f; cmpxchg8b [rdi]; lidt [rax]; hlt
        let code = [0xb8, 0x0f, 0x31, 0, 0, 0x0f, 0xc7, 0x0f, 0x0f, 0x01, 0x18, 0xf4];
        assert!(found(&code).is_empty());
    }
}
