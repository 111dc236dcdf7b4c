//! Where an operation's time goes: a bar a row, whole, with what its parts are in words.

use super::plot::percent;
use super::time;
use crate::figures::{Line, total};
use crate::report::Shares;
use crate::units;
use maud::{Markup, html};

/// From which share on a label fits into its part on a telephone.
const ROOM: f64 = 0.3;

pub(super) fn all(lines: &[Line<'_>]) -> Markup {
    let with = lines.iter().filter_map(|line| Some((line, line.figures()?.shares?)));
    let with: Vec<_> = with.filter(|(_, shares)| shares.exits > 0.0).collect();
    if with.is_empty() {
        return html! { p { "No row that comes to this process has shares: no observer's rounds were run, or none came to an end." } };
    }
    html! {
        p {
            "Each bar is its row's p50. Kernel and ours are measured at each exit, in rounds of their \
             own; KVM is the rest. Rows that never come to this process have no bar."
        }
        p.legend {
            span.key { span.patch.kvm {} " KVM, with guest and processor" }
            span.key { span.patch.kernel {} " kernel: the system call alone" }
            span.key { span.patch.ours {} " ours: this process, between two KVM_RUN" }
        }
        div.shares { @for (line, shares) in &with { (bar(line, shares)) } }
    }
}

fn bar(line: &Line<'_>, shares: &Shares) -> Markup {
    let all = total(shares);
    let parts = [
        ("KVM", "kvm", shares.kvm),
        ("kernel", "kernel", shares.kernel),
        ("ours", "ours", shares.ours),
    ];
    let words: Vec<String> = parts
        .iter()
        .filter(|(_, _, part)| *part > 0.0)
        .map(|(name, _, part)| {
            format!("{name}\u{a0}{}\u{a0}({})", time(*part), units::percent(part / all))
        })
        .collect();
    let mut at = 0.0;
    let placed = parts.map(|(name, class, part)| {
        let (from, share) = (at, part / all);
        at += share;
        (name, class, from, share)
    });
    html! {
        div.share {
            div.name { bdi { (line.name) } " " small { "ring " (line.row.ring) } }
            div.parts {
                svg width="100%" height="18" role="img" {
                    title { (line.title()) ": " (words.join(", ")) }
                    @for (name, class, from, share) in placed {
                        rect class=(class) x=(percent(from * 100.0)) width=(percent(share * 100.0)) y="0" height="18" {}
                        @if share >= ROOM {
                            text class={ "on-" (class) } x=(percent(from * 100.0)) dx="6" y="13" {
                                (name) " " (units::percent(share))
                            }
                        }
                    }
                }
                p.note { (words.join(" \u{b7} ")) " \u{b7} " (exits(shares.exits)) }
            }
        }
    }
}

fn exits(count: f64) -> String {
    if count > 0.0 { format!("{}\u{a0}exits", units::digits(count)) } else { "no exit".to_owned() }
}
