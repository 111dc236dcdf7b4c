//! `--steps`: the twelve steps as they happen, on stderr.

use inspect::printable;
use portcall::{CallEvent, End, ExitEvent, Observer, Step};
use std::fmt::Display;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Steps;

impl Observer for Steps {
    fn step(&mut self, step: &Step<'_>) {
        line(step.number, step.what, &step.detail, step.time);
    }

    fn exit(&mut self, event: &ExitEvent<'_>) {
        let time = event.left.duration_since(event.entered);
        line(10, "KVM_RUN", event.exit, time);
    }

    fn wants_calls(&self) -> bool {
        true
    }

    fn call(&mut self, event: &CallEvent<'_>) {
        let style = anstyle::Style::new().bold();
        let result = if event.result.is_empty() { "" } else { " = " };
        say!(
            "{style}   call{style:#} {:#010x} {}{result}{}",
            event.number,
            printable(event.call),
            printable(event.result)
        );
    }

    fn end(&mut self, end: &End) {
        let style = anstyle::Style::new().bold();
        say!("{style}    end{style:#}  {end}");
    }
}

fn line(number: u8, what: &str, detail: &dyn Display, time: Duration) {
    let detail = detail.to_string();
    let mut lines = detail.lines();
    let time = format!("{:.1} us", time.as_secs_f64() * 1e6);
    let (bold, dim) = (anstyle::Style::new().bold(), anstyle::Style::new().dimmed());
    let first = lines.next().unwrap_or_default();
    say!("{bold}{number:>3}{bold:#} {what:<27} {dim}{time:>11}{dim:#}  {first}");
    for more in lines {
        say!("{:>45}{more}", "");
    }
}
