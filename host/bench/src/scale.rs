//! How figures grow: the same work at one size after the other, ours beside bare ioctls.

use crate::plot;
use crate::process::{Side, Work};
use crate::sides::{Role, Size, Whose};
use measures::statistics::Summary;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::Path;

/// What is measured at which sizes.
struct Curve {
    name: &'static str,
    what: &'static str,
    size: Size,
    /// What the sizes count.
    of: &'static str,
    sizes: &'static [u64],
    unit: &'static str,
}

const CURVES: [Curve; 7] = [
    Curve {
        name: "scale-alive",
        what: "one more VM created, run and dropped, while so many are alive",
        size: Size::Alive,
        of: "VMs alive",
        sizes: &[1, 10, 100, 500, 1000, 2000],
        unit: "us",
    },
    Curve {
        name: "scale-alive-memory",
        what: "memory of the machine that each VM takes, the kernel's with it, while so many are alive",
        size: Size::AliveMemory,
        of: "VMs alive",
        sizes: &[100, 500, 1000, 2000],
        unit: "KiB",
    },
    Curve {
        name: "scale-memory",
        what: "a VM with so much memory (63 GiB is the most there is), created, run and dropped",
        size: Size::Memory,
        of: "MiB of memory",
        sizes: &[2, 16, 128, 1024, 8192, 64512],
        unit: "us",
    },
    Curve {
        name: "scale-image",
        what: "a VM with an image that large, created, run and dropped",
        size: Size::Image,
        of: "KiB of image",
        sizes: &[10, 100, 1024, 8192, 65536],
        unit: "us",
    },
    Curve {
        name: "scale-touched",
        what: "a guest that writes to so many pages in ring 3: restored and run, or another made, run and dropped",
        size: Size::Touched,
        of: "pages written",
        sizes: &[1, 16, 128, 1024, 4096, 16384],
        unit: "us",
    },
    Curve {
        name: "scale-payload",
        what: "a call that hands so many bytes over",
        size: Size::Payload,
        of: "bytes",
        sizes: &[0, 64, 4096, 65536, 262_144, 1_048_576],
        unit: "us",
    },
    Curve {
        name: "scale-threads",
        what: "VMs created, run and dropped a second, by so many threads, each as a plain caller does",
        size: Size::Threads,
        of: "threads",
        sizes: &[1, 2, 3, 4],
        unit: "VMs/s",
    },
];

/// Rounds of each side and size.
const QUICK: usize = 1;
const FULL: usize = 5;

/// A curve, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Grown {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) of: String,
    pub(crate) unit: String,
    pub(crate) points: Vec<Point>,
}

/// Both sides at one size: medians.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) size: u64,
    pub(crate) ours: f64,
    pub(crate) bare: f64,
}

/// The names of all curves.
pub(crate) fn names() -> Vec<(&'static str, &'static str)> {
    CURVES.iter().map(|curve| (curve.name, curve.what)).collect()
}

/// Measures the curves whose names contain one of the words, and says each when it is done.
pub(crate) fn measure(
    words: &[String],
    quick: bool,
    is_stopped: &dyn Fn() -> bool,
    say: &dyn Fn(&str),
) -> Result<Vec<Grown>, String> {
    let wanted =
        |curve: &&Curve| words.is_empty() || words.iter().any(|it| curve.name.contains(it));
    let mut all = Vec::new();
    for curve in CURVES.iter().filter(wanted) {
        let mut grown = Grown {
            name: curve.name.to_owned(),
            what: curve.what.to_owned(),
            of: curve.of.to_owned(),
            unit: curve.unit.to_owned(),
            points: Vec::new(),
        };
        for size in curve.sizes {
            if is_stopped() {
                break;
            }
            crate::err!("{}: {size} {}", curve.name, curve.of);
            match point(curve, *size, if quick { QUICK } else { FULL }) {
                Ok(point) => grown.points.push(point),
                Err(why) => say(&format!("{}: {size}: NOT MEASURED: {why}", curve.name)),
            }
        }
        say(&table(&grown));
        all.push(grown);
    }
    Ok(all)
}

/// Both sides by turns, each round in a process of its own.
fn point(curve: &Curve, size: u64, rounds: usize) -> Result<Point, String> {
    let side = |whose| Side::start(&Work::Role(Role::Scale { size: curve.size, whose, x: size }));
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(side(Whose::Ours)?.round()?.value);
        bare.push(side(Whose::Bare)?.round()?.value);
    }
    let median = |values: &[f64]| Summary::of(values).map_or(0.0, |it| it.median);
    Ok(Point { size, ours: median(&ours), bare: median(&bare) })
}

/// By how many times a side grows from one size to the next, for each time that the size does: 1 is
/// linear. What does not depend on the size makes it less.
fn steepest(grown: &Grown, side: impl Fn(&Point) -> f64) -> Option<f64> {
    let steps = grown.points.windows(2).filter(|pair| pair[0].size > 0);
    let slope = |pair: &[Point]| {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let size = (pair[1].size as f64 / pair[0].size as f64).ln();
        (side(&pair[1]) / side(&pair[0])).ln() / size
    };
    steps.map(slope).max_by(f64::total_cmp)
}

/// The curve in words.
fn table(grown: &Grown) -> String {
    let mut text = format!("{}: {}, {}\n", grown.name, grown.what, grown.unit);
    let _ = writeln!(text, "  {:>14} {:>12} {:>12} {:>8}", grown.of, "ours", "bare", "ratio");
    for Point { size, ours, bare } in &grown.points {
        let _ = writeln!(text, "  {size:>14} {ours:>12.1} {bare:>12.1} {:>8.3}", ours / bare);
    }
    // A rate is not to grow with what it is divided among.
    let ours = steepest(grown, |point| point.ours).filter(|_| !grown.unit.ends_with("/s"));
    if let Some((ours, bare)) = ours.zip(steepest(grown, |point| point.bare)) {
        let _ = writeln!(text, "  steepest: size to the power of {ours:.2}, bare {bare:.2}");
    }
    text
}

/// Writes a picture of each into a directory.
pub(crate) fn plot(curves: &[Grown], directory: &Path) -> Result<(), String> {
    curves.iter().try_for_each(|curve| plot::curve(curve, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown() -> Grown {
        let point = |size: u64, ours, bare| Point { size, ours, bare };
        Grown {
            name: "scale-x".to_owned(),
            what: "x".to_owned(),
            of: "things".to_owned(),
            unit: "us".to_owned(),
            points: vec![point(0, 1.0, 2.0), point(10, 10.0, 2.0), point(100, 1000.0, 4.0)],
        }
    }

    #[test]
    fn the_steepest_step_is_by_orders_of_magnitude() {
        let ours = steepest(&grown(), |point| point.ours).expect("two points");
        assert!((ours - 2.0).abs() < 1e-9, "{ours}");
        let text = table(&grown());
        assert!(text.contains("power of 2.00, bare 0.30"), "{text}");
    }

    #[test]
    fn a_picture_has_both_sides() {
        let folder = tempfile::tempdir().expect("a directory");
        plot(&[grown()], folder.path()).expect("drawn");
        let text = std::fs::read_to_string(folder.path().join("scale-x.svg")).expect("written");
        for word in ["ours", "bare", "things"] {
            assert!(text.contains(word), "{word}");
        }
    }
}
