//! Results of types that cannot cross.

abi::hypercalls! {
    trait Misused {
        fn vector(&mut self) -> Vec<u8>;
        fn float(&mut self, value: u64) -> Option<f64>;
        fn filled(&mut self) -> &mut [u8];
    }
}

fn main() {}
