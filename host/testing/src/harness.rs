//! All tests, by several threads, each with a VM of its own.

use crate::choice::Chosen;
use crate::list::Test;
use crate::machine::Ready;
use crate::show::Show;
use crate::worker::{Report, Worker};
use inspect::drive::Driver;
use portcall::Error;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

/// Why not all of them ran.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The host failed.
    #[error(transparent)]
    Host(#[from] Error),
    /// What came of them cannot be written.
    #[error("cannot write what came of the tests: {0}")]
    Show(#[from] io::Error),
}

/// Who runs them.
pub enum By<'d> {
    /// So many threads.
    Threads(usize),
    /// This one, with a driver that goes along.
    Driver(&'d mut (dyn Driver + 'static)),
}

/// Runs what was chosen, and shows it; whether all passed.
///
/// # Errors
/// The host failed, or the results cannot be written.
pub fn run(
    ready: &Ready<'_>,
    chosen: &Chosen,
    by: By<'_>,
    show: &mut Show,
) -> Result<bool, RunError> {
    let start = Instant::now();
    show.begin(chosen.tests.len())?;
    let (ignored, wanted): (Vec<&Test>, Vec<&Test>) =
        chosen.tests.iter().partition(|it| it.ignored.is_some());
    let worker = Worker::new(ready, show.explained());
    match by {
        // In the order of the list, where one thread comes to all of them.
        By::Threads(threads) if threads.min(wanted.len()) < 2 => one_by_one(worker, chosen, show)?,
        By::Driver(driver) => {
            one_by_one(worker.driven_by(driver), chosen, show)?;
        }
        By::Threads(threads) => {
            ignored.into_iter().try_for_each(|test| show.ignored(test))?;
            in_parallel(ready, &wanted, threads, show)?;
        }
    }
    Ok(show.conclude(chosen.filtered_out, start.elapsed())?)
}

fn one_by_one(mut worker: Worker<'_>, chosen: &Chosen, show: &mut Show) -> Result<(), RunError> {
    for test in &chosen.tests {
        if test.ignored.is_some() {
            show.ignored(test)?;
            continue;
        }
        show.starts(test)?;
        let report = worker.run(test)?;
        show.ended(test, report)?;
    }
    Ok(())
}

fn in_parallel(
    ready: &Ready<'_>,
    tests: &[&Test],
    threads: usize,
    show: &mut Show,
) -> Result<(), RunError> {
    let next = AtomicUsize::new(0);
    let style = show.explained();
    thread::scope(|scope| {
        let (results, received) = mpsc::channel::<Result<(&Test, Report), Error>>();
        for _ in 0..threads.min(tests.len()) {
            let (results, next) = (results.clone(), &next);
            scope.spawn(move || {
                let mut worker = Worker::new(ready, style);
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = worker.run(test).map(|report| (*test, report));
                    let failed = result.is_err();
                    // Nobody listens any more where another has failed.
                    if results.send(result).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(results);
        let shown = received.into_iter().try_for_each(|result| {
            let (test, report) = result?;
            Ok(show.ended(test, report)?)
        });
        // Those that are at work finish what they are at.
        next.store(tests.len(), Ordering::Relaxed);
        shown
    })
}
