//! An implementation without one of the calls.

abi::hypercalls! {
    trait Misused {
        fn there(&mut self);
        fn lacking(&mut self, value: u64) -> u64;
    }
}

struct Host;

impl Misused for Host {
    fn there(&mut self) {}
}

fn main() {}
