//! LibAFL: which input is next, and what it becomes.

use crate::machine::MachineError;
use crate::session::Run;
use libafl::corpus::{Corpus, InMemoryCorpus};
use libafl::events::NopEventManager;
use libafl::executors::{Executor, ExitKind, HasObservers};
use libafl::feedbacks::{Feedback, StateInitializer};
use libafl::inputs::{BytesInput, HasTargetBytes};
use libafl::mutators::{HavocScheduledMutator, Tokens, havoc_mutations, tokens_mutations};
use libafl::schedulers::QueueScheduler;
use libafl::stages::{RetryCountRestartHelper, StdMutationalStage};
use libafl::state::{HasCorpus, HasMaxSize, StdState};
use libafl::{Error, Evaluator, Fuzzer, HasMetadata, StdFuzzer};
use libafl_bolts::rands::StdRand;
use libafl_bolts::serdeany::RegistryBuilder;
use libafl_bolts::tuples::{Merge, RefIndexable, tuple_list};
use libafl_bolts::{AsSlice, Named};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Once;
use std::time::SystemTime;

/// What is run before anything is mutated, besides what was given: something of each length that a
/// parser may begin with.
const FIRST: [&[u8]; 4] = [b"", b"\0", b"00000000", &[0; 64]];

/// Runs inputs up to the end of the run.
pub(crate) fn fuzz(
    run: Run<'_, '_>,
    inputs: Vec<Vec<u8>>,
    words: BTreeSet<Vec<u8>>,
) -> Result<(), MachineError> {
    let is_new = Rc::new(Cell::new(false));
    let (seed, max_len) = (run.settings().seed, run.settings().max_len);
    let mut executor =
        Snapshots { run, is_new: Rc::clone(&is_new), came_back: None, failed: None, none: () };
    let result = turn(&mut executor, IsNew(is_new), seed, max_len, inputs, words);
    match (executor.failed, result) {
        (Some(error), _) => Err(error),
        (None, Err(error)) if !executor.run.is_over() => Err(MachineError::Call(error.to_string())),
        _ => Ok(()),
    }
}

/// All of it, up to an error: the end of a run is one as well.
fn turn(
    executor: &mut Snapshots<'_, '_>,
    mut feedback: IsNew,
    seed: u64,
    max_len: usize,
    inputs: Vec<Vec<u8>>,
    words: BTreeSet<Vec<u8>>,
) -> Result<(), Error> {
    let (corpus, none) = (InMemoryCorpus::<BytesInput>::new(), InMemoryCorpus::new());
    let mut state = StdState::new(StdRand::with_seed(seed), corpus, none, &mut feedback, &mut ())?;
    state.set_max_size(max_len);
    register();
    let mut tokens = Tokens::new();
    for word in &words {
        tokens.add_token(word);
    }
    state.add_metadata(tokens);
    let mut fuzzer = StdFuzzer::new(QueueScheduler::new(), feedback, ());
    let mut manager = NopEventManager::new();
    let mutator = HavocScheduledMutator::new(havoc_mutations().merge(tokens_mutations()));
    let mut stages = tuple_list!(StdMutationalStage::new(mutator));
    // The empty one first: where it ends the guest, that is said at once.
    let first = FIRST.into_iter().map(<[u8]>::to_vec).filter(|it| it.len() <= max_len);
    for input in first.chain(inputs) {
        let input = BytesInput::new(input);
        fuzzer.evaluate_input(&mut state, executor, &mut manager, &input)?;
    }
    if executor.run.nothing_comes_back() {
        return Ok(());
    }
    // It may be that all that was new was reached by inputs that end the guest.
    if state.corpus().count() == 0
        && let Some(input) = executor.came_back.take()
    {
        fuzzer.add_input(&mut state, executor, &mut manager, BytesInput::new(input))?;
    }
    loop {
        fuzzer.fuzz_one(&mut stages, executor, &mut state, &mut manager)?;
    }
}

/// Tells LibAFL of the types that are kept with its state: they could be read from a file.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: nothing else registers a type, and types are looked up only behind this, which one
        // thread does and the others wait for.
        unsafe { RegistryBuilder::register::<Tokens>() };
        // SAFETY: as above.
        unsafe { RegistryBuilder::register::<RetryCountRestartHelper>() };
    });
}

/// Has inputs run from a snapshot.
struct Snapshots<'r, 'a> {
    run: Run<'r, 'a>,
    is_new: Rc<Cell<bool>>,
    /// The first input that came back.
    came_back: Option<Vec<u8>>,
    failed: Option<MachineError>,
    /// What observes: nothing.
    none: (),
}

impl HasObservers for Snapshots<'_, '_> {
    type Observers = ();

    fn observers(&self) -> RefIndexable<&(), ()> {
        RefIndexable::from(&self.none)
    }

    fn observers_mut(&mut self) -> RefIndexable<&mut (), ()> {
        RefIndexable::from(&mut self.none)
    }
}

impl<EM, S, Z> Executor<EM, BytesInput, S, Z> for Snapshots<'_, '_> {
    fn run_target(
        &mut self,
        _: &mut Z,
        _: &mut S,
        _: &mut EM,
        input: &BytesInput,
    ) -> Result<ExitKind, Error> {
        let bytes = input.target_bytes();
        let ended = self.run.ended();
        match self.run.execute(bytes.as_slice()) {
            Ok(Some(is_new)) => {
                self.is_new.set(is_new);
                if self.came_back.is_none() && self.run.ended() == ended {
                    self.came_back = Some(bytes.as_slice().to_vec());
                }
                // What ends the guest is dealt with by then, and is nothing to mutate.
                Ok(ExitKind::Ok)
            }
            Ok(None) => Err(Error::shutting_down()),
            Err(error) => {
                self.failed = Some(error);
                Err(Error::shutting_down())
            }
        }
    }
}

/// Whether the last input reached a block that none before it did.
struct IsNew(Rc<Cell<bool>>);

impl Named for IsNew {
    fn name(&self) -> &Cow<'static, str> {
        const NAME: &Cow<'static, str> = &Cow::Borrowed("new blocks");
        NAME
    }
}

impl<S> StateInitializer<S> for IsNew {}

impl<EM, I, OT, S> Feedback<EM, I, OT, S> for IsNew {
    fn is_interesting(
        &mut self,
        _: &mut S,
        _: &mut EM,
        _: &I,
        _: &OT,
        _: &ExitKind,
    ) -> Result<bool, Error> {
        Ok(self.0.get())
    }
}

/// The clock that LibAFL asks for where it has none of its own: milliseconds since 1970. It notes
/// there when inputs were found, and nothing follows from that.
// SAFETY: the name is LibAFL's for this function, which it declares just so, and nobody else's.
#[unsafe(no_mangle)]
extern "C" fn external_current_millis() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
