//! A VM in the making: steps 1 to 9, in a straight line.

use crate::address_space::address_space;
use crate::bounds::Bounds;
use crate::console::Console;
use crate::elf::Image;
use crate::error::{Error, SnapshotError};
use crate::input::Input;
use crate::kvm::Kvm;
use crate::layout::{Gpa, MEMORY_DEFAULT, TSS_ADDRESS};
use crate::limit::{Limit, Limits};
use crate::memory::{self, Memory};
use crate::mmio::{Mmio, Windows};
use crate::msrs::Msrs;
use crate::observe::{Observer, Observers};
use crate::outcome::{Annotations, Stats};
use crate::ports::{Log, Ports};
use crate::ready::Kept;
use crate::registers::Ring;
use crate::service::{Calls, Service};
use crate::snapshot::{Origin, Snapshot};
use crate::state::Clock;
use crate::tape::Tape;
use crate::trap::Traps;
use crate::vcpu::{Synced, Vcpu};
use crate::vm::Vm;
use crate::{exception, load, mmio, msrs, paging, ports, registers, stop};
use abi::host::Level;
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A VM in the making.
///
/// ```
/// use portcall::{Capture, End, Image, Kvm, Limit, Ring, Vm};
/// use std::time::Duration;
///
/// // mov al, 'A'; out 0xe9, al; hlt
/// let image = Image::flat(&[0xb0, b'A', 0xe6, 0xe9, 0xf4])?;
/// let (kvm, text) = (Kvm::open()?, Capture::new());
/// let mut vm = Vm::builder(&kvm, &image)
///     .memory(2 << 20)
///     .ring(Ring::Three)
///     .limit(Limit::Time(Duration::from_secs(10)))
///     .console(text.clone())
///     .build()?;
/// assert_eq!(vm.run()?.end, End::Halted);
/// assert_eq!(text.text(), "A");
/// # Ok::<(), portcall::Error>(())
/// ```
pub struct Builder<'a> {
    kvm: &'a Kvm,
    source: Source<'a>,
    memory: Option<u64>,
    ring: Option<Ring>,
    arguments: Option<Vec<String>>,
    ports: Vec<(RangeInclusive<u16>, Box<dyn Ports>)>,
    mmio: Windows,
    msrs: Vec<(RangeInclusive<u32>, Box<dyn Msrs>)>,
    services: Vec<Box<dyn Service>>,
    log: Log,
    console: Box<dyn Write + Send>,
    input: Box<dyn Read + Send>,
    observers: Observers,
    limits: Limits,
    tick: Option<Duration>,
    tape: Option<Box<dyn Tape>>,
}

/// The next VM's id.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What the VM begins with.
enum Source<'a> {
    Image(&'a Image<'a>),
    Snapshot(&'a Snapshot),
}

impl<'a> Builder<'a> {
    pub(crate) fn new(kvm: &'a Kvm, image: &'a Image<'a>) -> Self {
        Self::of(kvm, Source::Image(image))
    }

    pub(crate) fn from_snapshot(kvm: &'a Kvm, snapshot: &'a Snapshot) -> Self {
        Self::of(kvm, Source::Snapshot(snapshot))
    }

    fn of(kvm: &'a Kvm, source: Source<'a>) -> Self {
        Self {
            kvm,
            source,
            memory: None,
            ring: None,
            arguments: None,
            ports: Vec::new(),
            mmio: Vec::new(),
            msrs: Vec::new(),
            services: Vec::new(),
            log: Log(Box::new(|_, _| {})),
            console: Box::new(std::io::sink()),
            input: Box::new(std::io::empty()),
            observers: Observers::default(),
            limits: Limits::default(),
            tick: None,
            tape: None,
        }
    }

    /// Bytes of RAM: whole pages, at least 1 MiB, at most 63 GiB. 16 MiB if not said.
    #[must_use]
    pub const fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// The ring that the guest starts in; ring 0 if not said.
    #[must_use]
    pub const fn ring(mut self, ring: Ring) -> Self {
        self.ring = Some(ring);
        self
    }

    /// The guest's arguments.
    #[must_use]
    pub fn arguments<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments = Some(arguments.into_iter().map(Into::into).collect());
        self
    }

    /// Answers the guest's accesses to these ports.
    #[must_use]
    pub fn ports(mut self, range: RangeInclusive<u16>, handler: impl Ports + 'static) -> Self {
        self.ports.push((range, Box::new(handler)));
        self
    }

    /// Makes a window for memory-mapped I/O, and answers the guest's accesses there: whole pages of
    /// guest-physical addresses from 3 to 4 GiB, which the guest sees at the same addresses. Clear of
    /// what KVM, the LAPIC and the I/O APIC have ([`layout`](crate::layout)); at most 64.
    ///
    /// For a VM of a snapshot: one of its [windows](Snapshot::windows), which it has in any case.
    #[must_use]
    pub fn mmio(mut self, window: Range<u64>, handler: impl Mmio + 'static) -> Self {
        self.mmio.push((window, Box::new(handler)));
        self
    }

    /// Answers the guest's accesses to these model-specific registers, in place of KVM: at most 16
    /// ranges of at most 0x3000 registers, without those of the x2APIC.
    #[must_use]
    pub fn msrs(mut self, range: RangeInclusive<u32>, handler: impl Msrs + 'static) -> Self {
        self.msrs.push((range, Box::new(handler)));
        self
    }

    /// Answers the guest's calls of an interface: give it the `Server` that
    /// [`hypercalls!`](abi::hypercalls) made. A call of an interface that no one serves is refused.
    #[must_use]
    pub fn serve(mut self, service: impl Service + 'static) -> Self {
        self.services.push(Box::new(service));
        self
    }

    /// Where the lines go that the guest logs ([`abi::host`]); nowhere if not said.
    #[must_use]
    pub fn log(mut self, sink: impl FnMut(Level, &str) + Send + 'static) -> Self {
        self.log = Log(Box::new(sink));
        self
    }

    /// Where the guest's text goes; nowhere if not said. See [`Capture`](crate::Capture).
    ///
    /// A sink that blocks should let a signal through as
    /// [`Interrupted`](std::io::ErrorKind::Interrupted), as a plain file does and `Stdout` does
    /// not: then limits and stops hold while it blocks.
    #[must_use]
    pub fn console(mut self, sink: impl Write + Send + 'static) -> Self {
        self.console = Box::new(sink);
        self
    }

    /// Where the guest's input comes from; it is empty if not said.
    #[must_use]
    pub fn input(mut self, source: impl Read + Send + 'static) -> Self {
        self.input = Box::new(source);
        self
    }

    /// Lets someone watch.
    #[must_use]
    pub fn observe(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.0.push(Box::new(observer));
        self
    }

    /// Bounds what the run may use; one limit of each kind, the last that is said.
    #[must_use]
    pub const fn limit(mut self, limit: Limit) -> Self {
        self.limits.set(limit);
        self
    }

    /// Hands the guest's text on at least this often, also while the guest makes no exit. If
    /// not said, text appears when 64 KiB have come together, when the guest flushes, waits for
    /// input, or ends. Of several the shortest counts.
    #[must_use]
    pub fn tick(mut self, period: Duration) -> Self {
        self.tick = Some(self.tick.map_or(period, |it| it.min(period)));
        self
    }

    /// Records the run, or plays a recorded one.
    #[must_use]
    pub fn tape(mut self, tape: impl Tape + 'static) -> Self {
        self.tape = Some(Box::new(tape));
        self
    }

    /// Steps 1 to 9: everything up to the guest's first instruction. Of a snapshot: steps 1 to 4,
    /// and then all that it has.
    ///
    /// # Errors
    /// The image does not fit, the host or KVM refuse something, or the configuration
    /// contradicts itself.
    pub fn build(mut self) -> Result<Vm, Error> {
        let origin = self.origin()?;
        let layout = &origin.layout;
        let mut steps = std::mem::take(&mut self.observers);
        let ports = ports::table(self.ports)?;
        let mmio = mmio::table(self.mmio);
        let msrs = msrs::table(self.msrs)?;
        let calls = Calls::new(self.services, &origin.notes)?;
        stop::install()?;

        // 1: a VM.
        let kvm = self.kvm.fd();
        let vm = steps.ioctl(1, "KVM_CREATE_VM", || kvm.create_vm(), |_| "type 0".to_owned())?;
        steps.ioctl(
            1,
            "KVM_SET_TSS_ADDR",
            || vm.set_tss_address(usize::try_from(TSS_ADDRESS).unwrap_or(usize::MAX)),
            |()| format!("{TSS_ADDRESS:#x}"),
        )?;
        msrs::filter(&vm, &msrs, &mut steps)?;

        // 2: its memory.
        let start = steps.now();
        let mut ram = Memory::map(layout)?;
        if let Source::Snapshot(snapshot) = self.source {
            ram.show(&snapshot.0.frozen).map_err(SnapshotError::Show)?;
        }
        steps.done(2, "mmap", start, || format!("{} bytes, sparse", origin.memory));
        for slot in ram.slots()? {
            let start = steps.now();
            memory::set_slot(&vm, slot)?;
            steps.done(2, "KVM_SET_USER_MEMORY_REGION", start, || {
                let (gpa, size) = (slot.guest_phys_addr, slot.memory_size);
                format!("slot {}: guest-physical {gpa:#x}, {size:#x} bytes", slot.slot)
            });
        }

        // 3 and 4: a vCPU and its kvm_run.
        let mut vcpu = Vcpu::create(kvm, &vm, &mut steps)?;
        let mut wanted = match () {
            () if !origin.notes.serves.is_empty() => Synced { general: true, system: true },
            () if !origin.notes.calls.is_empty() => calls.needs(),
            () => Synced::default(),
        };
        wanted.general |= self.tape.is_some() || steps.want_registers();
        vcpu.sync(wanted);

        let mut console = Console::new(self.console, layout, self.limits.console);
        let (mut answered, mut kept) = (0, Kept::default());
        match self.source {
            Source::Image(image) => boot(&origin, image, &ram, &vcpu, &mut steps)?,
            Source::Snapshot(snapshot) => {
                let start = steps.now();
                snapshot.0.state.write(&vcpu.fd, Clock::Set)?;
                vcpu.set_task_priority(&snapshot.0.state.sregs);
                steps.done(8, "KVM_SET_*", start, || "all of the snapshot's vCPU".to_owned());
                console.resume_at(snapshot.0.taken);
                answered = snapshot.0.answered;
                kept = snapshot.0.kept.for_another();
            }
        }

        let mut vm = Vm {
            vcpu: ManuallyDrop::new(vcpu),
            vm: ManuallyDrop::new(vm),
            memory: ManuallyDrop::new(ram),
            teardown: self.kvm.teardown(),
            kvm: self.kvm.share(),
            origin,
            console,
            input: Input::new(self.input),
            ports,
            mmio,
            msrs,
            calls,
            checked: None,
            answered,
            steps,
            bounds: Bounds::new(self.limits, self.tick),
            log: self.log,
            stats: Stats::default(),
            annotations: Annotations::default(),
            end: None,
            fault: None,
            traps: Traps::default(),
            tape: None,
            restored: None,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            is_fresh: true,
            kept,
        };
        if let Some(tape) = self.tape {
            vm.put_in(tape);
        }
        Ok(vm)
    }

    /// What the VM is to be made with, checked.
    fn origin(&mut self) -> Result<Origin, Error> {
        let windows: Vec<_> = self.mmio.iter().map(|(window, _)| window.clone()).collect();
        let image = match self.source {
            Source::Image(image) => image,
            Source::Snapshot(snapshot) => {
                let chosen = [
                    ("memory", self.memory.is_some()),
                    ("ring", self.ring.is_some()),
                    ("arguments", self.arguments.is_some()),
                ];
                if let Some((what, _)) = chosen.into_iter().find(|(_, chosen)| *chosen) {
                    return Err(SnapshotError::Chosen { what }.into());
                }
                if self.tape.is_some() {
                    return Err(SnapshotError::Taped.into());
                }
                let origin = snapshot.0.origin.clone();
                mmio::check_given(&windows, &origin.layout.windows)?;
                return Ok(origin);
            }
        };
        let (ring, memory) = (self.ring.unwrap_or_default(), self.memory.unwrap_or(MEMORY_DEFAULT));
        Origin::of(image, memory, ring, self.arguments.take().unwrap_or_default(), &windows)
    }
}

/// Steps 5 to 9: from a processor out of reset to the image's first instruction. One long function,
/// since the straight line is what it is there to show.
fn boot(
    origin: &Origin,
    image: &Image<'_>,
    ram: &Memory,
    vcpu: &Vcpu,
    steps: &mut Observers,
) -> Result<(), Error> {
    let Origin { layout, ring, .. } = origin;
    // 5: its system registers as the processor comes out of reset.
    let mut sregs = steps.ioctl(5, "KVM_GET_SREGS", || vcpu.fd.get_sregs(), registers::describe)?;

    // 6: long mode by hand.
    let start = steps.now();
    let space = address_space(layout, image.segments(), *ring);
    let tables = paging::Tables::build(Gpa(layout.tables.start), &space);
    tables.write(ram, &layout.tables)?;
    steps.done(6, "page tables", start, || tables.to_string());
    exception::place(ram, layout)?;
    registers::long_mode(&mut sregs, layout, *ring);

    // 7: the segments, and all of it into the vCPU.
    steps.ioctl(
        7,
        "KVM_SET_SREGS",
        || vcpu.fd.set_sregs(&sregs),
        |()| registers::describe(&sregs),
    )?;

    // 8: the general registers.
    let entry = registers::at_entry(image.entry(), layout, *ring);
    steps.ioctl(
        8,
        "KVM_SET_REGS",
        || vcpu.fd.set_regs(&entry),
        |()| format!("rip {:#x}, rsp {:#x}, rdi {:#x}", entry.rip, entry.rsp, entry.rdi),
    )?;

    // 9: the image.
    let start = steps.now();
    load::image(ram, image)?;
    let arguments = load::argument_block(&origin.arguments)?;
    let info = load::boot_info(image, layout, arguments.len() as u64);
    load::boot_block(ram, layout, &info, &arguments)?;
    steps.done(9, "load", start, || load::describe(image));
    Ok(())
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("memory", &self.memory)
            .field("ring", &self.ring)
            .field("arguments", &self.arguments)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_ticks_the_shortest_counts() {
        let image = Image::flat(&[0xf4]).expect("right");
        let kvm = Kvm::open().expect("there is KVM");
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(1));
        for (first, second) in [(short, long), (long, short)] {
            assert_eq!(Builder::new(&kvm, &image).tick(first).tick(second).tick, Some(short));
        }
    }
}
