//! A flame graph, the outermost function on top, of a profile's folded stacks.

use super::{Report, guests, percent, time};
use crate::profile::Profile;
use ::page::text;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// The most boxes, the deepest row, and the least width of a box in percent.
const BOXES: usize = 800;
const DEEPEST: usize = 60;
const LEAST: f64 = 0.08;
/// A row's height in pixels.
const ROW: usize = 18;
/// The longest name in a box.
const WIDE: usize = 80;
/// The most functions in the table.
const TOP: usize = 15;

/// A function on a way, with all that it called.
#[derive(Default)]
struct Node<'n> {
    micros: u64,
    below: BTreeMap<&'n str, Node<'n>>,
}

/// A box of the picture, in percent of its width.
struct Box<'n> {
    name: &'n str,
    at: f64,
    width: f64,
    row: usize,
    micros: u64,
}

pub(super) fn graph(report: &Report<'_, '_>, profile: &Profile) -> Markup {
    let none = crate::Symbols::new(&[], 0);
    let folded = profile.folded(report.symbols.unwrap_or(&none));
    let all: u64 = folded.values().sum();
    if all == 0 {
        return html! { p.note {
            "There is no sample: the guest had ended before the first was due. \
             --profile-rate takes them more often."
        } };
    }
    let mut root = Node::default();
    for (stack, micros) in &folded {
        let mut node = &mut root;
        node.micros += micros;
        for name in stack.split(';').take(DEEPEST) {
            node = node.below.entry(name).or_default();
            node.micros += micros;
        }
    }
    let mut boxes = vec![Box { name: "all", at: 0.0, width: 100.0, row: 0, micros: all }];
    collect(&root, 0.0, 1, all, &mut boxes);
    // Where there are too many, the narrow ones go.
    boxes.sort_by(|a, b| b.width.total_cmp(&a.width).then(a.row.cmp(&b.row)));
    boxes.truncate(BOXES);
    boxes.sort_by(|a, b| a.row.cmp(&b.row).then(a.at.total_cmp(&b.at)));
    let samples = usize::try_from(profile.samples()).unwrap_or(usize::MAX);
    let height = (boxes.iter().map(|it| it.row).max().unwrap_or(0) + 1) * ROW;
    html! {
        p {
            b { (text::count(samples, "sample")) } ", which " (if samples == 1 { "stands" } else { "stand" }) " for "
            b { (time(all.saturating_mul(1000))) } " of the processor's time. A box is a function, as wide \
            as it took long with all that it called; below it are those that it called."
        }
        p.note {
            "Samples count the time that the guest has had of a processor; the time in KVM_RUN above is by the \
             clock. Where other processes had the processor meanwhile it is longer. The host's share here is by the clock as well."
        }
        p.controls hidden { button type="button" id="flame-all" { "all" } " "
            span.note { "click a box to see it alone" } }
        div.frame {
            svg #flame-graph.flame width="100%" height=(height) role="img" aria-labelledby="flame-graph-title" {
                title #flame-graph-title { "Flame graph; the table below has the longest in words" }
                @for it in &boxes { (drawn(it, all)) }
            }
        }
        (top(&folded, all))
    }
}

fn collect<'n>(node: &Node<'n>, at: f64, row: usize, all: u64, boxes: &mut Vec<Box<'n>>) {
    let mut at = at;
    for (name, below) in &node.below {
        let width = percent(below.micros, all);
        if width >= LEAST {
            boxes.push(Box { name, at, width, row, micros: below.micros });
            collect(below, at, row + 1, all, boxes);
        }
        at += width;
    }
}

/// A picture in the picture, which cuts the name where the box ends.
fn drawn(it: &Box<'_>, all: u64) -> Markup {
    let name = text::shown(it.name, WIDE);
    // Colours only tell neighbours apart.
    let hue =
        it.name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let class =
        if it.name == crate::profile::HOST { "host".to_owned() } else { format!("f{}", hue % 5) };
    let place = |value: f64| format!("{value:.3}%");
    html! {
        svg.box x=(place(it.at)) width=(place(it.width)) y=(it.row * ROW) height=(ROW) {
            title { (name) ", " (time(it.micros.saturating_mul(1000))) ", " (format!("{:.1}%", percent(it.micros, all))) }
            rect class=(class) width="100%" height=(ROW - 1) {}
            @if it.width > 0.6 { text x="4" y="13" { (name) } }
        }
    }
}

/// The functions that took longest by themselves.
fn top(folded: &BTreeMap<String, u64>, all: u64) -> Markup {
    let mut own: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (stack, micros) in folded {
        let mut names: Vec<&str> = stack.split(';').collect();
        own.entry(names.last().copied().unwrap_or_default()).or_default().0 += micros;
        names.sort_unstable();
        names.dedup();
        names.iter().for_each(|name| own.entry(name).or_default().1 += micros);
    }
    let mut own: Vec<_> = own.into_iter().collect();
    own.sort_by_key(|(name, (own, with))| (std::cmp::Reverse((*own, *with)), *name));
    let share = |it: u64| format!("{:.1}%", percent(it, all));
    html! { div.scroll { table {
        caption { "The functions that took longest by themselves" }
        thead { tr { th scope="col" { "function" } th scope="col" { "by itself" } th scope="col" { "with all it called" } } }
        tbody { @for (name, (own, with)) in own.iter().take(TOP) { tr {
            th scope="row" { (guests(name, 100)) } td { (share(*own)) } td { (share(*with)) }
        } } }
    } } }
}
