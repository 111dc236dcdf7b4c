//! Writes the seeds below fuzz/seeds/ anew: `cargo run -p portcall-fuzz --example seeds`. It needs
//! /dev/kvm for the logs and the snapshots.

mod parts;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let mut bytes = 0;
    let all = [
        ("calls", parts::calls::seeds()),
        ("dwarf", parts::dwarf::seeds()?),
        ("elf", parts::elf::seeds()),
        ("exits", parts::exits::seeds()),
        ("logs", parts::logs::seeds()?),
        ("snapshots", parts::snapshots::seeds()?),
    ];
    for (target, seeds) in all {
        let directory = root.join(target);
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        for (name, seed) in seeds {
            bytes += seed.len();
            std::fs::write(directory.join(name), seed)?;
        }
    }
    println!("{bytes} bytes of seeds");
    Ok(())
}
