//! Step 11: the seam for those who answer the guest's port accesses.

use crate::claims::Claims;
use crate::console::Console;
use crate::error::{ConfigError, KvmError};
use crate::layout::Gva;
use crate::memory::Memory;
use crate::outcome::{Annotations, End, Stats};
use crate::ready::Kept;
use crate::table::Table;
use crate::tape::Effect;
use crate::vcpu::Vcpu;
use crate::walk::{self, Translation, read_virtual_with};
use abi::host::Level;
use abi::port;
use kvm_bindings::kvm_regs;
use std::fmt;
use std::ops::RangeInclusive;

/// Answers port accesses of the guest. Register it with [`Builder::ports`](crate::Builder::ports).
///
/// A string instruction (INS, OUTS) comes as one call an element, in order. `Err` ends the run
/// with that [`End`]; for a failure of the handler's own that is [`End::HandlerFailed`].
///
/// ```
/// use portcall::{End, Guest, Image, Kvm, Ports, Vm};
///
/// struct Dice;
///
/// impl Ports for Dice {
///     fn read(&mut self, _: &mut Guest<'_>, _port: u16, _width: u8) -> Result<u32, End> {
///         Ok(4)
///     }
/// }
///
/// // xor eax, eax; mov edx, 0x300; in al, dx; hlt
/// let code = [0x31, 0xc0, 0xba, 0x00, 0x03, 0, 0, 0xec, 0xf4];
/// let (kvm, image) = (Kvm::open()?, Image::flat(&code)?);
/// let mut vm = Vm::builder(&kvm, &image).ports(0x300..=0x300, Dice).build()?;
/// assert_eq!(vm.run()?.registers.rax, 4);
/// # Ok::<(), portcall::Error>(())
/// ```
pub trait Ports: Send {
    /// The guest reads `width` bytes (1, 2 or 4) from `port`; the value's low bytes are what it
    /// gets. All ones, like a port that nobody answers, unless it is overridden.
    ///
    /// # Errors
    /// The run is to end.
    fn read(&mut self, guest: &mut Guest<'_>, port: u16, width: u8) -> Result<u32, End> {
        let _ = (guest, port, width);
        Ok(u32::MAX)
    }

    /// The guest writes the low `width` bytes (1, 2 or 4) of `value` to `port`. Dropped unless
    /// it is overridden.
    ///
    /// # Errors
    /// The run is to end.
    fn write(
        &mut self,
        guest: &mut Guest<'_>,
        port: u16,
        width: u8,
        value: u32,
    ) -> Result<(), End> {
        let _ = (guest, port, width, value);
        Ok(())
    }
}

/// Where the lines go that a guest logs.
pub(crate) struct Log(pub(crate) Box<LogSink>);

type LogSink = dyn FnMut(Level, &str) + Send;

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

/// What a handler sees of the guest while it waits for the answer.
///
/// ```
/// use portcall::{End, Guest, Gva, Ports};
///
/// /// Prints the four bytes at an address that the guest names: a claim, which is checked.
/// struct Peek;
///
/// impl Ports for Peek {
///     fn write(&mut self, guest: &mut Guest<'_>, _: u16, _: u8, value: u32) -> Result<(), End> {
///         let mut bytes = [0; 4];
///         if guest.read_virtual(Gva(value.into()), &mut bytes)? {
///             guest.print(format!("{bytes:x?} after {} exits\n", guest.stats().exits()));
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Guest<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) vcpu: &'a Vcpu,
    pub(crate) arguments: &'a [String],
    pub(crate) stats: &'a mut Stats,
    pub(crate) annotations: &'a mut Annotations,
    pub(crate) log: &'a mut Log,
    pub(crate) console: &'a mut Console,
    pub(crate) kept: &'a mut Kept,
}

impl<'a> Guest<'a> {
    /// Its RAM, by guest-physical address.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        self.memory
    }

    /// The arguments that it was given.
    #[must_use]
    pub const fn arguments(&self) -> &'a [String] {
        self.arguments
    }

    /// What was counted so far, this exit included.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        self.stats
    }

    /// Prints `text` to its console, behind all that it has printed so far.
    pub fn print(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        self.memory.note(|| Effect::Print(text.to_vec()));
        self.console.add(text, self.memory, self.stats);
    }

    /// Its general registers. At an IN, RIP is still that of the instruction; at an OUT it may
    /// be that of the next one (it depends on the KVM).
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn registers(&self) -> Result<kvm_regs, End> {
        self.vcpu.registers().map_err(failed)
    }

    /// Its memory as far as it may use it itself: what a pointer of its may lead to.
    #[must_use]
    pub const fn claims(&self) -> Claims<'a> {
        Claims::new(self.memory, self.vcpu)
    }

    /// Leaves a key and a value in the [outcome](crate::Outcome::annotations), for whoever reads that.
    /// Gives `false`, and leaves nothing, where there are too many already.
    pub fn annotate(&mut self, key: &str, value: &str) -> bool {
        self.memory.note(|| Effect::Annotate { key: key.to_owned(), value: value.to_owned() });
        self.annotations.add(key, value)
    }

    /// Logs a line to where [`Builder::log`](crate::Builder::log) said.
    pub fn log(&mut self, level: Level, text: &str) {
        self.memory.note(|| Effect::Log(level, text.to_owned()));
        (self.log.0)(level, text);
    }

    /// Where a guest-virtual address leads, by the page tables in CR3 now.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn translate(&self, gva: Gva) -> Result<Option<Translation>, End> {
        let sregs = self.vcpu.system_registers().map_err(failed)?;
        Ok(walk::translate(self.memory, sregs.cr3, gva))
    }

    /// Copies guest-virtual memory at `gva` into `bytes`; `Ok(false)` if not all of it is there.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn read_virtual(&self, gva: Gva, bytes: &mut [u8]) -> Result<bool, End> {
        let sregs = self.vcpu.system_registers().map_err(failed)?;
        let seen = |at, bytes: &[u8]| self.memory.note_read(at, bytes);
        Ok(read_virtual_with(self.memory, sregs.cr3, gva, bytes, seen).is_ok())
    }
}

fn failed(error: KvmError) -> End {
    End::HandlerFailed { message: format!("cannot read the guest's registers: {error}") }
}

/// The ports that the contract itself answers.
const CONTRACT: [u16; 8] = [
    port::FLUSH,
    port::CONSOLE,
    port::INPUT,
    port::EXIT,
    port::PANIC,
    port::EXCEPTION,
    port::CALL,
    port::SERVE,
];

/// The handlers of ports.
pub(crate) type PortTable = Table<u16, dyn Ports>;

/// A table of these handlers.
pub(crate) fn table(
    handlers: Vec<(RangeInclusive<u16>, Box<dyn Ports>)>,
) -> Result<PortTable, ConfigError> {
    let mut table = PortTable::default();
    for (range, handler) in handlers {
        let (start, end) = (*range.start(), *range.end());
        let taken = |taken_by| Err(ConfigError::PortsTaken { start, end, taken_by });
        if range.is_empty() {
            return taken("the range is empty");
        }
        if CONTRACT.iter().any(|port| range.contains(port)) {
            return taken("the contract has one of them (0xe8 to 0xea, 0xf4 to 0xf8)");
        }
        if !table.insert(range, handler) {
            return taken("another handler has one of them");
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::{Ports, table};
    use std::ops::RangeInclusive;

    struct Nobody;
    impl Ports for Nobody {}

    #[test]
    fn a_taken_port_is_refused() {
        let insert = |range: RangeInclusive<u16>| {
            table(vec![(0x100..=0x107, Box::new(Nobody)), (range, Box::new(Nobody))])
        };
        insert(0x108..=0x108).expect("free");
        #[expect(clippy::reversed_empty_ranges, reason = "that it is refused is the point")]
        let ranges = [0x107..=0x107, 0..=0xffff, 0x106..=0x108, 0xe9..=0xe9, 0xf0..=0xff, 9..=8];
        for range in ranges {
            assert!(insert(range.clone()).is_err(), "{range:x?}");
        }
    }
}
