//! A guest that is set up says so: the moment that a snapshot keeps.

use crate::Out;
use abi::host::Client;

/// Says to the host that the guest is set up, and fills `seed` with bytes that no one can foresee:
/// one exit. `portcall run --emit snapshot=FILE` keeps the guest as it is now; each run of that
/// file goes on behind this call, with other bytes in `seed`.
///
/// ```ignore
/// let table = prepare();
/// let mut seed = [0; 32];
/// guest::ready(&mut seed);
/// let mut generator = Generator::from_seed(seed);
/// ```
///
/// It is a call of [`abi::host`]: name it among the `calls` of [`entry!`](crate::entry). More than
/// [`SEED_MAX`](abi::host::SEED_MAX) bytes are refused, and a host that does not allow that
/// interface ends the run.
pub fn ready(seed: &mut [u8]) {
    Client(Out).ready(seed);
    crate::span::ask_again();
}
