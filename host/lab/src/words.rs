//! What is said of a run in words, on a terminal and on a page alike.

use crate::figures::{Figures, Line};
use crate::report::{Clock, Finding, Machine, Report};
use crate::text::{self, count, list, shown};
use crate::units::{digits, is_sane, percent};
use measures::machine::Stretch;

/// How a time is written.
pub(crate) type Time = fn(f64) -> String;

/// What a reader has to know before they believe the figures.
pub(crate) fn warnings(report: &Report, lines: &[Line<'_>]) -> Vec<String> {
    let mut said = Vec::new();
    if report.interrupted {
        said.push(
            "INTERRUPTED: the run was stopped before it had all of its rounds; what it had is here."
                .to_owned(),
        );
    }
    if report.quick {
        said.push(
            "QUICK: a short run, all rounds of a row in one process; intervals say too little of \
             what differs from process to process."
                .to_owned(),
        );
    }
    let is_left = |line: &&Line<'_>| line.row.finding == Finding::NotReached;
    let left: Vec<String> = lines.iter().filter(is_left).map(Line::title).collect();
    if !left.is_empty() && !report.interrupted {
        let remedy =
            if report.quick { "measure without --quick, or fewer rows" } else { "measure fewer" };
        let (rows, names) = (count(left.len(), "row"), list(&left));
        said.push(format!("OUT OF TIME: {rows} not reached ({names}); {remedy}."));
    }
    if report.machine.load.is_busy() {
        said.push(format!(
            "BUSY: {}. Times are longer and wider than this machine's own; measure again when it \
             is quiet.",
            load(&report.machine),
        ));
    }
    if let Some(worst) = report.machine.load.busy_stretch() {
        said.push(format!(
            "BUSY FOR A PART: {}. Rounds of that part are longer than others.",
            part(worst)
        ));
    }
    let late =
        |line: &Line<'_>| Some(format!("{}, {}", line.title(), line.figures()?.late.as_ref()?));
    let late: Vec<String> = lines.iter().filter_map(late).collect();
    if !late.is_empty() {
        said.push(format!("FEWER ROUNDS: {} ({}).", count(late.len(), "row"), list(&late)));
    }
    let noisy: Vec<String> = lines.iter().filter(|it| it.is_noisy()).map(Line::title).collect();
    if !noisy.is_empty() {
        said.push(format!("NOISY: {} ({}).", count(noisy.len(), "row"), list(&noisy)));
    }
    let short = |line: &&Line<'_>| line.figures().is_some_and(|it| it.summary.interval.is_none());
    let short: Vec<String> = lines.iter().filter(short).map(Line::title).collect();
    if !short.is_empty() {
        said.push(format!(
            "WITHOUT AN INTERVAL: {} with fewer than 6 rounds ({}).",
            count(short.len(), "row"),
            list(&short),
        ));
    }
    said
}

/// How it was measured, in sentences.
pub(crate) fn measurement(report: &Report, lines: &[Line<'_>], time: Time) -> Vec<String> {
    let all: Vec<&Figures<'_>> = lines.iter().filter_map(Line::figures).collect();
    if all.is_empty() {
        return vec!["Nothing was measured.".to_owned()];
    }
    let mut said = vec![rounds(report, &all)];
    said.push(
        "A figure is what a way out costs in a Portcall VM, with its page tables, handlers and jail; a \
         bare loop of ioctls takes some percent less."
            .to_owned(),
    );
    let warm_up = range(all.iter().map(|it| f64::from(it.measured.warm_up)), |it| it.to_string());
    said.push(format!(
        "Warm-up: the first {warm_up} samples of each round were taken and left out."
    ));
    said.extend([Clock::Guest, Clock::Host].iter().filter_map(|it| clock(*it, &all, time)));
    if let Some(step) = report.machine.clock_step.filter(|it| is_sane(*it)) {
        said.push(format!(
            "Clock's step: two readings of the time stamp counter are {} apart or the same. Rows \
             of less than 4 of these steps a sample are marked; their digits are the steps'.",
            time(step),
        ));
    }
    let operations =
        range(all.iter().map(|it| f64::from(it.measured.operations)), |it| it.to_string());
    said.push(format!(
        "Operations a sample: {operations}; a sample is their mean. p50, p90 and p99 are of all \
         samples; the 95% interval of p50 is that of the rounds' medians (sign test); spread is \
         p90 over p10."
    ));
    if all.iter().any(|it| it.shares.is_some()) {
        said.push(
            "Shares are p50 in parts. What each exit takes of this process (ours), and a system call \
             by itself (the kernel's, in the jail where the row ran in it), are medians of rounds of \
             their own, in which times are taken at each exit; the rest is KVM's, with the guest and \
             the processor."
                .to_owned(),
        );
    }
    said
}

/// Who took the time of some rows, and what was subtracted for that.
fn clock(clock: Clock, all: &[&Figures<'_>], time: Time) -> Option<String> {
    let those = || all.iter().filter(|it| it.measured.clock == clock);
    those().next()?;
    let (who, when) = match clock {
        Clock::Guest => (
            "the guest, by RDTSC",
            "From each block of samples is subtracted what it took right before and right behind it",
        ),
        Clock::Host => (
            "the host, by CLOCK_MONOTONIC",
            "That is found once in each round, behind the warm-up, and subtracted from all of the \
             round's samples",
        ),
    };
    Some(format!(
        "Clock of {}: {who}. It takes {} itself. {when}; within a row it moved by up to {}.",
        count(those().count(), "row"),
        range(those().map(|it| it.measured.timer), time),
        time(those().map(|it| apart(&it.measured.timers)).fold(0.0, f64::max)),
    ))
}

/// From the least to the most.
fn apart(values: &[f64]) -> f64 {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if is_sane(most - least) { most - least } else { 0.0 }
}

/// Which rows ran in the jail.
fn jail(all: &[&Figures<'_>]) -> String {
    let jailed = all.iter().filter(|it| it.measured.jailed).count();
    match all.len() - jailed {
        0 => "in the jail, as under portcall run".to_owned(),
        rest if jailed == 0 => format!("in no jail ({rest} rows)"),
        rest => format!("in the jail but for {rest} of {} rows", all.len()),
    }
}

fn rounds(report: &Report, all: &[&Figures<'_>]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of samples, far below 2^52")]
    let range_of = |values: Vec<usize>| range(values.into_iter().map(|it| it as f64), whole);
    let rounds = range_of(all.iter().map(|it| it.rounds.len()).collect());
    let samples = range_of(all.iter().map(|it| it.samples_a_round()).collect());
    let process = if report.quick { "" } else { " in a process of its own" };
    let pinned = report.pinned.map_or_else(
        || "vCPUs were not pinned".to_owned(),
        |cpu| format!("vCPUs were pinned to processor {cpu}"),
    );
    format!(
        "Rounds: {rounds} a row, of {samples} samples, each with a VM of its own{process}, {}; {pinned}.",
        jail(all)
    )
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// From the least to the most, or the one that all have.
fn range(values: impl Iterator<Item = f64>, show: fn(f64) -> String) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else {
        return "none".to_owned();
    };
    let (least, most) = (show(*least), show(*most));
    if least == most { least } else { format!("{least} to {most}") }
}

/// The load beside the laboratory.
fn load(machine: &Machine) -> String {
    let load = &machine.load;
    let share = |it: Option<f64>| it.map_or_else(|| "an unknown share".to_owned(), percent);
    format!(
        "other processes took {} of the processors' time and the hypervisor {}",
        share(load.others),
        share(load.stolen),
    )
}

/// The load of the worst part.
fn part(worst: &Stretch) -> String {
    format!(
        "worst from second {} to {}, when other processes took {} and the hypervisor {}",
        digits(worst.from),
        digits(worst.to),
        percent(worst.others),
        percent(worst.stolen),
    )
}

/// The machine: what is said, and of what.
pub(crate) fn machine(report: &Report) -> Vec<(&'static str, String)> {
    let machine = &report.machine;
    let short = |it: &str| shown(it, text::SENTENCE);
    let nested = machine.hypervisor.as_deref().map_or_else(
        || "none: this is the machine itself".to_owned(),
        |it| format!("{}: this is a virtual machine", short(it)),
    );
    let tsc = machine.tsc_khz.map_or_else(
        || "not told by KVM".to_owned(),
        |khz| format!("{:.3} MHz", f64::from(khz) / 1e3),
    );
    let beside = match &machine.load.worst {
        Some(worst) => format!("{}; {}", load(machine), part(worst)),
        None => load(machine),
    };
    let governor = machine.governor.as_deref().map_or_else(|| "none".to_owned(), short);
    vec![
        ("Processor", short(&machine.cpu)),
        ("Processors", machine.processors.to_string()),
        ("Memory", format!("{} MiB", machine.memory)),
        ("Kernel", format!("Linux {}", short(&machine.kernel))),
        ("KVM", short(&machine.kvm)),
        ("Hypervisor below", nested),
        ("Time stamp counter", tsc),
        ("Frequency governor", governor),
        (
            "Load averages",
            format!(
                "{} before, {} after",
                short(&machine.load.load_before),
                short(&machine.load.load_after)
            ),
        ),
        ("Beside the laboratory", beside),
    ]
}

/// Vulnerabilities and what the kernel does about them, as many as a kernel may have.
pub(crate) fn mitigations(machine: &Machine) -> Vec<(String, String)> {
    const MOST: usize = 64;
    let all = machine.mitigations.iter().take(MOST);
    all.map(|(name, words)| (shown(name, text::NAME), shown(words, text::SENTENCE))).collect()
}
