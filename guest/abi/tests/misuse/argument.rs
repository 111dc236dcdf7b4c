//! Arguments of types that cannot cross.

struct Plain {
    _field: u64,
}

abi::hypercalls! {
    trait Misused {
        fn vector(&mut self, value: Vec<u8>);
        fn string(&mut self, value: String);
        fn float(&mut self, value: f64);
        fn plain(&mut self, first: u64, plain: Plain);
    }
}

fn main() {}
