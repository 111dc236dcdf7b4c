//! How far a run is, on a terminal.

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A line on stderr, where that is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3}%  {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many processes have ended of all, this one is next, and so long it takes from here on.
    pub(crate) fn at(&self, done: usize, all: usize, name: &str, left: Duration) {
        self.0.set_length(all as u64);
        self.0.set_position(done as u64);
        self.0.set_message(format!("{name}, {} left", HumanDuration(left)));
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
