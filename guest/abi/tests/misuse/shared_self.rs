//! A call that borrows its server shared.

abi::hypercalls! {
    trait Misused {
        fn shared(&self, value: u64);
    }
}

fn main() {}
