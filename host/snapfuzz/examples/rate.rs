//! What an execution costs: of the function `nothing` of the guest `fuzzed`, restored from a snapshot
//! in both rings, and in a VM that is made, run to where it waits and dropped for each input.
//!
//! `cargo run --release -p portcall-snapfuzz --example rate -- IMAGE`, after `cargo xtask build fuzzed`.

use abi::tests::Client;
use portcall::stock::Stock;
use portcall::{Image, Kvm, Ring, Vm};
use snapfuzz::{Machine, Options, Session, Settings, Silent};
use std::error::Error;
use std::time::{Duration, Instant};

/// How long each is measured in a round.
const TIME: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name the image of `fuzzed`")?;
    let file = std::fs::read(path)?;
    let image = Image::parse(&file)?;
    for _ in 0..3 {
        for ring in [Ring::Zero, Ring::Three] {
            let restored = restored(&image, &file, ring)?;
            let naive = naive(&image, ring)?;
            println!("{ring:?}: restored {restored:.0}/s, made and dropped {naive:.0}/s");
        }
    }
    Ok(())
}

fn restored(image: &Image<'_>, file: &[u8], ring: Ring) -> Result<f64, Box<dyn Error>> {
    let target = snapfuzz::target(image, Some("nothing"))?;
    let options = Options { ring, ..Options::default() };
    let ready = Machine::new(Kvm::open()?, image, file, target, options)?.set_up()?;
    let settings = Settings { time: Some(TIME), ..Settings::default() };
    Ok(Session::new(ready)?.fuzz(Vec::new(), &settings, &mut Silent)?.status.rate)
}

fn naive(image: &Image<'_>, ring: Ring) -> Result<f64, Box<dyn Error>> {
    let target = snapfuzz::target(image, Some("nothing"))?;
    let kvm = Kvm::open()?;
    let (start, mut executions) = (Instant::now(), 0_u32);
    while start.elapsed() < TIME {
        let mut vm = Vm::builder(&kvm, image).ring(ring).serve(Stock::new()).build()?;
        Client(vm.door()).fuzz(target.entry.0, &[0; 64])??;
        executions += 1;
    }
    Ok(f64::from(executions) / start.elapsed().as_secs_f64())
}
