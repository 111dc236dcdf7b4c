//! One layout for every death: what, where, why, how it got there, registers.

use crate::explain::Explanation;
use crate::symbols::{DebugInfo, Frame};
use crate::unwind::WalkEnd;
use portcall::registers;
use std::fmt::Write;

/// The most frames that are shown.
const SHOWN: usize = 24;

/// Terminal colours, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether to write ANSI escapes.
    pub colour: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn margin(self, text: &str) -> String {
        self.paint("1;34", text)
    }
}

impl Explanation {
    /// The whole of it as text, each line ended.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let mut text = String::new();
        // Writing to a String does not fail, here and below.
        let kind = if self.normal { style.margin("end") } else { style.bad("error") };
        let _ = writeln!(text, "{kind}: {}", style.strong(&printable(&self.headline)));
        self.render_place(style, &mut text);
        if let Some(instruction) = &self.instruction {
            let at = format!("at {:#x}: {instruction}", self.registers.rip);
            let _ = writeln!(text, "   {} {at}", style.margin("="));
        }
        for note in &self.notes {
            let _ = writeln!(text, "   {} {}", style.margin("="), printable(note));
        }
        self.render_backtrace(style, &mut text);
        if self.show_registers {
            let _ = writeln!(text, "registers:");
            for row in registers::named(&self.registers).chunks(3) {
                let row: Vec<String> =
                    row.iter().map(|(name, value)| format!("{name:>6} {value:#018x}")).collect();
                let _ = writeln!(text, "  {}", row.join("  "));
            }
            let s = &self.system;
            let rows = [
                [("cr0", s.cr0), ("cr2", s.cr2), ("cr3", s.cr3)],
                [("cr4", s.cr4), ("efer", s.efer), ("cs", s.cs.selector.into())],
                [("ss", s.ss.selector.into()), ("gdt", s.gdt.base), ("idt", s.idt.base)],
            ];
            for row in rows {
                let row = row.map(|(name, value)| format!("{name:>6} {value:#018x}"));
                let _ = writeln!(text, "  {}", row.join("  "));
            }
        }
        text
    }

    fn render_place(&self, style: Style, text: &mut String) {
        let Some(place) = &self.place else { return };
        let _ = writeln!(text, "  {} {}", style.margin("-->"), printable(&place.shown()));
        let Some(line) = &self.line else { return };
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let bar = style.margin("|");
        let _ = writeln!(text, " {margin} {bar}");
        // Tabs as blanks, so that the mark stands under what it means.
        let shown = printable(&line.replace('\t', "    "));
        let _ = writeln!(text, " {} {bar} {shown}", style.margin(&number));
        // Columns are bytes, or characters, as the compiler has it; they differ rarely.
        let column = usize::try_from(place.column).unwrap_or(0);
        let before = column.checked_sub(1).and_then(|before| line.get(..before));
        match before {
            Some(before) => {
                let width: usize = before.chars().map(|c| if c == '\t' { 4 } else { 1 }).sum();
                let blanks = " ".repeat(width);
                let _ = writeln!(text, " {margin} {bar} {blanks}{}", style.bad("^"));
            }
            None => {
                let _ = writeln!(text, " {margin} {bar}");
            }
        }
    }

    fn render_backtrace(&self, style: Style, text: &mut String) {
        match &self.debug_info {
            DebugInfo::Lines => {}
            DebugInfo::Symbols(why) | DebugInfo::Nothing(why) => {
                let _ = writeln!(text, "   {} no source lines: {why}", style.margin("="));
            }
        }
        if self.backtrace.is_empty() {
            return;
        }
        let _ = writeln!(text, "backtrace:");
        let mut frames = self.backtrace.iter().enumerate().peekable();
        let mut shown = 0;
        while let Some((number, frame)) = frames.next() {
            if shown == SHOWN {
                let left = self.backtrace.len() - number;
                let more = if self.backtrace_end == WalkEnd::Cut { " or more" } else { "" };
                let _ = writeln!(text, "      ... and {left}{more} further frames");
                return;
            }
            shown += 1;
            render_frame(number, frame, style, text);
            // A function that called itself again and again is one line.
            let mut again = 0;
            while frames.next_if(|(_, next)| same_call(next, frame)).is_some() {
                again += 1;
            }
            if again > 0 {
                let cut = self.backtrace_end == WalkEnd::Cut && frames.peek().is_none();
                let more = if cut { " or more" } else { "" };
                let _ = writeln!(text, "      ... the same {again} times{more}");
            }
        }
        if self.backtrace_end == WalkEnd::Lost && !matches!(self.debug_info, DebugInfo::Nothing(_))
        {
            let _ = writeln!(
                text,
                "      ... and nothing that leads further: no frame pointer, no unwind table"
            );
        }
    }
}

pub(crate) fn same_call(a: &Frame, b: &Frame) -> bool {
    let line = |frame: &Frame| frame.source.as_ref().map(|at| (at.file.clone(), at.line));
    a.function.is_some() && (&a.function, a.offset, line(a)) == (&b.function, b.offset, line(b))
}

fn render_frame(number: usize, frame: &Frame, style: Style, text: &mut String) {
    let name = match (&frame.function, frame.offset) {
        (Some(name), Some(offset)) => format!("{name} + {offset:#x}"),
        (Some(name), None) => name.clone(),
        (None, _) => format!("{:#x}", frame.address),
    };
    let inlined = if frame.inlined { " (inlined)" } else { "" };
    let _ = writeln!(text, "{number:>4}: {}{inlined}", style.strong(&printable(&name)));
    if let Some(source) = &frame.source {
        let _ = writeln!(text, "        at {}", printable(&source.shown()));
    }
}

/// Names, paths and messages come from the guest: no control characters reach the terminal, and
/// further lines are set in, so that none looks like one of ours. Of a long text, 16 lines of 1000
/// characters are left: a guest may give as much as it has memory for.
#[must_use]
pub fn printable(text: &str) -> String {
    /// The most lines and characters of one text.
    const LINES: usize = 16;
    const WIDTH: usize = 1000;
    let all = text.split('\n').count();
    let mut lines: Vec<String> = text
        .split('\n')
        .take(LINES)
        .map(|line| {
            let cut = if line.chars().nth(WIDTH).is_some() { "..." } else { "" };
            line.chars().take(WIDTH).map(portcall::printable).chain(cut.chars()).collect()
        })
        .collect();
    if all > LINES {
        lines.push(format!("... and {} more lines", all - LINES));
    }
    lines.join("\n       ")
}
