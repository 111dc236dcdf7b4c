//! Who is at the wheel: the client that has the guest held, or the guest that runs.

use super::ends::{Told, told};
use super::hardware::Ability;
use super::monitor::Journal;
use super::place::{Client, LOOK};
use super::target::Target;
use super::wire::{Incoming, Incomings, Outgoings, PACKET_MAX, packet, words};
use crate::drive::{Drive, Turn};
use gdbstub::common::Signal;
use gdbstub::stub::state_machine::GdbStubStateMachine as Machine;
use gdbstub::stub::{DisconnectReason, GdbStub, SingleThreadStopReason};
use portcall::{Error, Image, Outcome};
use std::io;
use std::time::{Duration, Instant};

/// How often a guest that runs is asked whether the client has something to say; less where it makes
/// no exit, up to the VM's tick.
const ASK: Duration = Duration::from_millis(20);

/// What debugging takes.
pub struct Session<'a> {
    /// The one who debugs.
    pub client: Client,
    /// The guest's image.
    pub image: &'a Image<'a>,
    /// What this KVM does.
    pub ability: Ability,
    /// An observer of the VM's.
    pub journal: Journal,
    /// Whether the run is recorded, or a recorded one: it is said then where the client changes it.
    pub is_recorded: bool,
    /// Has something said to whoever started the run.
    pub say: &'a mut dyn FnMut(&str),
}

/// How client and guest parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The guest has ended.
    Ended,
    /// The client has detached, or is lost, and the guest went on.
    Detached,
    /// The client has killed the guest.
    Killed,
    /// Someone else has stopped it.
    Stopped,
}

/// Why a session ends before the guest.
enum Trouble {
    /// The client is gone, or speaks another protocol.
    Lost(String),
    /// The host failed.
    Host(Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Lost(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            io::ErrorKind::TimedOut => "it takes nothing any more".to_owned(),
            _ => error.to_string(),
        })
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

type StubError = gdbstub::stub::GdbStubError<Error, io::Error>;

impl From<StubError> for Trouble {
    fn from(error: StubError) -> Self {
        let said = error.to_string();
        match error.into_target_error() {
            Some(error) => Self::Host(error),
            None => Self::Lost(said),
        }
    }
}

/// Debugs a run to its end, with or without the client: one that goes away, in whatever way, has
/// detached.
///
/// # Errors
/// The host failed.
pub fn debug(drive: &mut Drive<'_>, session: Session<'_>) -> Result<(Outcome, Parting), Error> {
    let Session { client, image, ability, journal, is_recorded, say } = session;
    drive.begin()?;
    let mut target = Target::new(drive, image, ability, journal, say);
    target.is_changed = !is_recorded;
    let mut held = Some(Instant::now());
    let talked = talk(&mut target, client, &mut held);
    // Whoever ends the hold, and however.
    if let Some(since) = held {
        target.vm().stood_still(since.elapsed());
    }
    let parting = match talked {
        Ok(parting) => parting,
        Err(Trouble::Host(error)) => return Err(error),
        Err(Trouble::Lost(why)) => {
            target.say(&format!("gdb is gone ({why}); the guest goes on"));
            Parting::Detached
        }
    };
    if target.over.is_none() {
        target.release()?;
        if parting == Parting::Killed {
            target.vm().stopper().stop();
        }
    }
    Ok((drive.run()?, parting))
}

/// Both sides in turn; `held` is since when the client has the guest held, if it has.
fn talk(
    target: &mut Target<'_, '_>,
    client: Client,
    held: &mut Option<Instant>,
) -> Result<Parting, Trouble> {
    let mut incomings = Incomings::new(client.again()?);
    let stub = GdbStub::builder(Outgoings::new(client)).packet_buffer_size(PACKET_MAX).build();
    let stub = stub.map_err(|error| Trouble::Lost(error.to_string()))?;
    let mut machine = stub.run_state_machine(target)?;
    loop {
        machine = match machine {
            Machine::Idle(mut idle) => {
                let since = *held.get_or_insert_with(Instant::now);
                if target.vm().is_stopped() {
                    return Ok(Parting::Stopped);
                }
                let Some(incoming) = incomings.next(LOOK)? else {
                    machine = idle.into();
                    continue;
                };
                match incoming {
                    Incoming::Again => idle.borrow_conn().again()?,
                    Incoming::Broken => idle.borrow_conn().send(b"-")?,
                    _ => {}
                }
                let next = feed(idle.into(), target, &incoming)?;
                if matches!(next, Machine::Running(_)) {
                    target.vm().stood_still(since.elapsed());
                    *held = None;
                }
                next
            }
            Machine::Running(running) => go(running.into(), target, &mut incomings)?,
            Machine::CtrlCInterrupt(interrupted) => {
                let none = None::<SingleThreadStopReason<u64>>;
                interrupted.interrupt_handled(target, none)?
            }
            Machine::Disconnected(mut gone) => {
                return Ok(match gone.get_reason() {
                    DisconnectReason::Kill => {
                        // Newer clients wait for it; those that do not are gone.
                        let _ = gone.borrow_conn().send(&packet(b"OK"));
                        Parting::Killed
                    }
                    DisconnectReason::Disconnect => Parting::Detached,
                    _ => Parting::Ended,
                });
            }
        };
    }
}

type Stub<'d, 'v> = Machine<'static, Target<'d, 'v>, Outgoings>;

/// Gives the stub a packet.
fn feed<'d, 'v>(
    mut machine: Stub<'d, 'v>,
    target: &mut Target<'d, 'v>,
    incoming: &Incoming,
) -> Result<Stub<'d, 'v>, Trouble> {
    let bytes = match incoming {
        Incoming::Packet(bytes) => bytes,
        _ => &Vec::new(),
    };
    for byte in bytes {
        machine = match machine {
            Machine::Idle(idle) => idle.incoming_data(target, *byte)?,
            Machine::Running(running) => running.incoming_data(target, *byte)?,
            other => return Ok(other),
        };
    }
    Ok(machine)
}

/// Lets the guest go until there is something to tell, or the client says something.
fn go<'d, 'v>(
    mut machine: Stub<'d, 'v>,
    target: &mut Target<'d, 'v>,
    incomings: &mut Incomings,
) -> Result<Stub<'d, 'v>, Trouble> {
    if let Some(end) = &target.over {
        // It was held where it ended, and has been looked at.
        let reason = match told(end) {
            Told::Exited(code) => SingleThreadStopReason::Exited(code),
            Told::Held(signal) => SingleThreadStopReason::Terminated(signal),
        };
        return report(machine, target, reason);
    }
    let mut asked = Instant::now();
    loop {
        if let Some(reason) = target.turn()? {
            return report(machine, target, reason);
        }
        if let Some(end) = target.over.clone() {
            let reason = match told(&end) {
                Told::Exited(code) => SingleThreadStopReason::Exited(code),
                Told::Held(signal) => SingleThreadStopReason::Signal(signal),
            };
            if let Machine::Running(running) = &mut machine {
                running.borrow_conn().send(&words(&format!("portcall: {end}\n")))?;
            }
            return report(machine, target, reason);
        }
        if asked.elapsed() < ASK {
            continue;
        }
        asked = Instant::now();
        match incomings.next(Duration::ZERO)? {
            None => {}
            Some(Incoming::Interrupt) => {
                let turn = target.drive.settle()?.unwrap_or(Turn::Interrupted);
                let reason = target.why(turn)?;
                if target.over.is_none() {
                    let interrupted = SingleThreadStopReason::Signal(Signal::SIGINT);
                    return report(machine, target, reason.unwrap_or(interrupted));
                }
            }
            Some(incoming) => {
                machine = feed(machine, target, &incoming)?;
                if !matches!(machine, Machine::Running(_)) {
                    return Ok(machine);
                }
            }
        }
    }
}

/// Tells the client why the guest is held.
fn report<'d, 'v>(
    machine: Stub<'d, 'v>,
    target: &mut Target<'d, 'v>,
    reason: SingleThreadStopReason<u64>,
) -> Result<Stub<'d, 'v>, Trouble> {
    // What the guest has printed up to here is seen here.
    target.vm().show_text()?;
    match machine {
        Machine::Running(running) => Ok(running.report_stop(target, reason)?),
        other => Ok(other),
    }
}
