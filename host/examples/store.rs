//! A key-value store for a guest that has no memory to spare.

use calls::store;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The keys and their values.
#[derive(Default)]
struct Values(BTreeMap<String, Vec<u8>>);

impl store::Store for Values {
    fn put(&mut self, key: &str, value: &[u8]) -> u64 {
        self.0.insert(key.to_owned(), value.to_owned());
        self.0.len() as u64
    }

    fn get(&mut self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    fn read(&mut self, key: &str, into: &mut [u8]) -> Option<u64> {
        let value = self.0.get(key)?;
        let now = value.len().min(into.len());
        into[..now].copy_from_slice(&value[..now]);
        Some(value.len() as u64)
    }

    fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }
}

fn main() -> ExitCode {
    cli::Experiment::new().vm(|vm| vm.serve(store::Server(Values::default()))).main()
}
