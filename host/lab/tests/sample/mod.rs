//! Made-up reports, the same in every run: as a machine with kvm_pvm would give one, and as
//! somebody who wants to break out of a page would write one.

#![allow(dead_code, reason = "each test and example uses a part")]

use lab::report::{
    Absence, Absent, Clock, FORMAT, Finding, Machine, Measured, Report, Row, Shares,
};
use measures::machine::Machine as Load;

/// Rounds a row, and samples a round.
pub(crate) const ROUNDS: usize = 8;
pub(crate) const SAMPLES: usize = 200;

/// A generator of numbers that look random (SplitMix64, Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((z ^ (z >> 31)) >> 32).expect("32 bits")) / f64::from(u32::MAX)
    }

    /// About normal, of deviation 1.
    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }

    /// Times about a median, with the tail that interrupts and neighbours make.
    fn round(&mut self, median: f64, spread: f64) -> Vec<f64> {
        let center = median * (1.0 + 0.01 * self.bell());
        let one = |random: &mut Self| {
            let tail = match random.next() {
                it if it > 0.985 => 1.6 + 2.0 * random.next(),
                it if it > 0.90 => 1.0 + 2.0 * spread,
                _ => 1.0,
            };
            let time = center * tail * (1.0 + spread * 0.35 * random.bell().abs());
            (time * 100.0).round() / 100.0
        };
        (0..SAMPLES).map(|_| one(self)).collect()
    }
}

/// A measured row of these samples.
pub(crate) fn row(name: &str, ring: u8, rounds: Vec<Vec<f64>>) -> Row {
    let measured = Measured {
        rounds,
        operations: 1,
        warm_up: 20,
        jailed: true,
        clock: Clock::Guest,
        timer: 24.5,
        timers: vec![24.5; ROUNDS],
        instructions: Some(4.0),
        shares: None,
        late: None,
    };
    let what = format!("what {name} does, in a sentence");
    Row { name: name.to_owned(), what, ring, image: None, finding: Finding::Measured(measured) }
}

/// A row without figures.
pub(crate) fn absent(name: &str, ring: u8, kind: Absence, why: &str) -> Row {
    let finding = Finding::Absent(Absent { kind, why: why.to_owned() });
    Row { finding, ..row(name, ring, vec![]) }
}

/// Name, what it does, nanoseconds in rings 0 and 3, exits an operation, clock.
const ROWS: [(&str, &str, [f64; 2], f64, Clock); 29] = [
    ("out8", "OUT of one byte", [9_050.0, 34_800.0], 1.0, Clock::Guest),
    ("out16", "OUT of two bytes", [9_080.0, 35_100.0], 1.0, Clock::Guest),
    ("out32", "OUT of four bytes", [9_110.0, 34_950.0], 1.0, Clock::Guest),
    ("in8", "IN of one byte", [9_640.0, 35_900.0], 1.0, Clock::Guest),
    ("in16", "IN of two bytes", [9_610.0, 36_100.0], 1.0, Clock::Guest),
    ("in32", "IN of four bytes", [9_650.0, 36_000.0], 1.0, Clock::Guest),
    ("rep-outsb", "OUTSB of 64 bytes, a byte", [9_400.0, 36_800.0], 1.0, Clock::Guest),
    ("rep-insb", "INSB of 64 bytes, a byte", [2_150.0, 2_300.0], 0.06, Clock::Guest),
    (
        "mmio-read",
        "a read of four bytes where no memory is",
        [11_900.0, 38_200.0],
        1.0,
        Clock::Guest,
    ),
    (
        "mmio-write",
        "a write of four bytes where no memory is",
        [11_200.0, 37_700.0],
        1.0,
        Clock::Guest,
    ),
    ("cpuid", "CPUID, answered by KVM", [1_180.0, 112.0], 0.0, Clock::Guest),
    (
        "ioeventfd",
        "OUT to a port that KVM turns into an eventfd",
        [6_020.0, 29_800.0],
        0.0,
        Clock::Guest,
    ),
    ("coalesced-pio", "OUT to a port that KVM queues", [5_400.0, 28_900.0], 0.0, Clock::Guest),
    ("call-scalars", "a typed call with two numbers", [10_300.0, 35_600.0], 1.0, Clock::Guest),
    (
        "call-in",
        "a typed call with a buffer of 64 bytes in",
        [11_400.0, 36_900.0],
        1.0,
        Clock::Guest,
    ),
    (
        "call-out",
        "a typed call with a buffer of 64 bytes out",
        [12_050.0, 37_300.0],
        1.0,
        Clock::Guest,
    ),
    ("host-to-guest", "a call of the host's, and back", [13_300.0, 41_900.0], 1.0, Clock::Host),
    ("ring-1", "the shared ring, an operation a doorbell", [17_800.0, 35_900.0], 1.0, Clock::Guest),
    ("ring-8", "the shared ring, 8 operations a doorbell", [9_300.0, 4_600.0], 0.125, Clock::Guest),
    ("ring-64", "the shared ring, 64 operations a doorbell", [8_250.0, 590.0], 0.016, Clock::Guest),
    (
        "ring-512",
        "the shared ring, 512 operations a doorbell",
        [8_100.0, 98.0],
        0.002,
        Clock::Guest,
    ),
    (
        "ring-polled",
        "the shared ring, polled by a thread of the host's",
        [8_900.0, 410.0],
        0.0,
        Clock::Guest,
    ),
    ("stop", "a stop by signal until KVM_RUN is back", [45_200.0, 47_900.0], 1.0, Clock::Host),
    (
        "first-touch",
        "the first write to a page of guest memory",
        [4_050.0, 3_890.0],
        0.0,
        Clock::Guest,
    ),
    ("rdtsc", "RDTSC, which is no way out: the floor", [1_010.0, 11.2], 0.0, Clock::Guest),
    ("trap", "INT3 from ring 3 to ring 0 and back", [0.0, 7_040.0], 0.0, Clock::Guest),
    ("hlt", "HLT and on by the host", [14_600.0, 0.0], 1.0, Clock::Host),
    ("rdmsr-user", "RDMSR that KVM hands to user space", [10_900.0, 0.0], 1.0, Clock::Guest),
    ("wrmsr-user", "WRMSR that KVM hands to user space", [10_700.0, 0.0], 1.0, Clock::Guest),
];

fn shares(total: f64, exits: f64) -> Option<Shares> {
    let (kernel, ours) = (310.0 * exits, 560.0 * exits);
    (total > 1000.0).then_some(Shares { exits, kvm: total - kernel - ours, kernel, ours })
}

/// A report as of kvm_pvm; another seed is another run.
pub(crate) fn report(seed: u64) -> Report {
    let mut random = Random(seed);
    let mut rows = Vec::new();
    for (name, what, medians, exits, clock) in ROWS {
        for (ring, median) in [0_u8, 3].into_iter().zip(medians) {
            if median == 0.0 {
                let why = match name {
                    "trap" => "there is no ring below 0 to trap into",
                    _ => "the instruction is #GP in ring 3, where it never reaches KVM as such",
                };
                rows.push(Row {
                    what: what.to_owned(),
                    ..absent(name, ring, Absence::Meaningless, why)
                });
                continue;
            }
            let spread = if name.starts_with("ring-polled") { 1.2 } else { 0.08 };
            let rounds = (0..ROUNDS).map(|_| random.round(median, spread)).collect();
            let mut row = Row { what: what.to_owned(), ..row(name, ring, rounds) };
            if let Finding::Measured(measured) = &mut row.finding {
                measured.clock = clock;
                measured.timer = if clock == Clock::Guest { 1_020.0 } else { 48.0 };
                measured.shares = shares(median * 1.04, exits);
                measured.instructions = (ring == 0).then_some(median / 1000.0).map(f64::round);
                measured.operations = if exits > 0.0 && exits < 1.0 { 64 } else { 1 };
            }
            rows.push(row);
        }
    }
    let wedged = "the guest did not come back within 2 s: this KVM answers VMCALL by itself";
    for (name, kind, why) in [
        ("vmcall", Absence::Wedged, wedged),
        ("coalesced-mmio", Absence::Lacking, "KVM_CAP_COALESCED_MMIO is 0 here"),
    ] {
        rows.extend([0, 3].map(|ring| absent(name, ring, kind, why)));
    }
    Report {
        format: FORMAT,
        version: "0.1.0".to_owned(),
        began: "2026-03-02T09:41:07Z".to_owned(),
        seconds: 104.2,
        quick: false,
        pinned: Some(1),
        interrupted: false,
        machine: machine(),
        rows,
    }
}

fn machine() -> Machine {
    let words = [
        ("gather_data_sampling", "Unknown: Dependent on hypervisor status"),
        ("meltdown", "Not affected"),
        (
            "mmio_stale_data",
            "Vulnerable: Clear CPU buffers attempted, no microcode; SMT Host state unknown",
        ),
        ("retbleed", "Mitigation: Enhanced IBRS"),
        ("spectre_v1", "Mitigation: usercopy/swapgs barriers and __user pointer sanitization"),
        (
            "spectre_v2",
            "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; PBRSB-eIBRS: SW sequence; BHI: SW loop, KVM: SW loop",
        ),
    ];
    Machine {
        cpu: "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz".to_owned(),
        processors: 2,
        memory: 7_941,
        kernel: "6.18.44-fc-v657".to_owned(),
        kvm: "kvm_pvm".to_owned(),
        hypervisor: Some("Firecracker (KVM)".to_owned()),
        tsc_khz: Some(2_700_000),
        mitigations: words.map(|(name, words)| (name.to_owned(), words.to_owned())).into(),
        governor: None,
        clock_step: Some(9.6),
        load: Load {
            kernel: "6.18.44-fc-v657".to_owned(),
            processors: 2,
            load_before: "0.21 0.34 0.40".to_owned(),
            load_after: "1.02 0.61 0.48".to_owned(),
            others: Some(0.013),
            stolen: Some(0.002),
            worst: None,
        },
    }
}

/// Another machine, on which some rows are quicker and others are not there.
pub(crate) fn other(seed: u64) -> Report {
    let mut report = report(seed);
    report.machine.cpu = "AMD EPYC 9B14".to_owned();
    report.machine.kvm = "kvm_amd".to_owned();
    report.machine.mitigations.insert("retbleed".to_owned(), "Not affected".to_owned());
    report.rows.retain(|row| row.name != "stop");
    for row in &mut report.rows {
        let Finding::Measured(measured) = &mut row.finding else { continue };
        let factor = if row.ring == 3 && row.name.starts_with("out") { 0.55 } else { 1.0 };
        measured.rounds.iter_mut().flatten().for_each(|it| *it *= factor);
        if row.name == "ioeventfd" {
            let why = "KVM_IOEVENTFD failed: ENOSYS".to_owned();
            row.finding = Finding::Absent(Absent { kind: Absence::Lacking, why });
        }
    }
    report
}

/// Texts that want out of where they are put.
pub(crate) const HOSTILE: [&str; 14] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'--></style></title></svg></details><h1>out</h1><!--",
    "\u{202e}txet desrever\u{202c}",
    "\0\x01\x1b[2J\x1b[31mred",
    "",
    " \t\r\n ",
    "=HYPERLINK(\"http://example.com\")",
    "&lt;b&gt;&amp;&#60;script&#62;",
    "javascript:alert(1)//",
    "]]><![CDATA[ <x/>",
    "Z\u{351}\u{36b}\u{343}a\u{36a}\u{302}lgo\u{200b}\u{feff}\u{ad}\u{2028}\u{e0041}",
    "{{7*7}} ${7*7} </textarea><base href=//example.com>",
    "\u{6f22}\u{5b57}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{5d0}\u{5d1}\u{5d2}",
];

/// A report with these texts wherever a text can stand.
pub(crate) fn hostile() -> Report {
    dressed(|number| match HOSTILE.get(number % (HOSTILE.len() + 1)) {
        Some(text) => (*text).to_owned(),
        None => "<b>".repeat(33_000) + "100 kB",
    })
}

/// The same report with texts that want nothing: as many rows, of the same kinds.
pub(crate) fn harmless() -> Report {
    dressed(|number| format!("text-{number:02}"))
}

fn dressed(text: impl Fn(usize) -> String) -> Report {
    let mut report = report(7);
    report.rows.truncate(30);
    for (number, row) in report.rows.iter_mut().enumerate() {
        row.name = text(number / 2);
        row.what = text(number / 2 + 1);
        row.image = (number % 3 == 0).then(|| text(number / 2 + 2));
        if number % 10 >= 8 {
            let (kind, why) = (Absence::Wrong, text(number / 2 + 3));
            row.finding = Finding::Absent(Absent { kind, why });
        }
    }
    report.began = text(0);
    report.version = text(1);
    let machine = &mut report.machine;
    machine.cpu = text(0);
    machine.kernel = text(2);
    machine.kvm = text(3);
    machine.hypervisor = Some(text(4));
    machine.governor = Some(text(14));
    machine.mitigations = [(text(2), text(0)), (text(8), text(14))].into();
    machine.load.load_before = text(1);
    machine.load.load_after = text(2);
    report
}

/// A report whose numbers are nonsense of every kind.
pub(crate) fn absurd() -> Report {
    let mut report = report(3);
    let bad =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 0.0, -0.0, -5.0, 5e-324, 1e14];
    for (number, row) in report.rows.iter_mut().enumerate() {
        let Finding::Measured(measured) = &mut row.finding else { continue };
        let value = bad[number % bad.len()];
        measured.rounds = match number / bad.len() {
            0 => vec![vec![value; 7]; 8],
            1 => vec![vec![value], vec![1.0, value], vec![]],
            2 => vec![],
            _ => vec![vec![1.0, 2.0, 3.0]; 8],
        };
        measured.timer = value;
        measured.instructions = Some(value);
        measured.shares = Some(Shares { exits: value, kvm: value, kernel: 1.0, ours: value });
        measured.operations = u32::MAX;
        row.ring = if number % 4 == 0 { 255 } else { row.ring };
    }
    report.seconds = f64::NAN;
    report.pinned = Some(usize::MAX);
    report.machine.memory = u64::MAX;
    report.machine.tsc_khz = Some(0);
    report.machine.load.others = Some(f64::NAN);
    report.machine.load.stolen = Some(f64::INFINITY);
    report
}
