//! Arguments of thirteen words, and a result of as many.

abi::hypercalls! {
    trait Misused {
        fn arguments(&mut self, first: [u64; 8], text: &str, option: Option<&[u8]>);
    }
}

mod results {
    abi::hypercalls! {
        trait Misused {
            fn fits(&mut self) -> [u64; 12];
            fn result(&mut self) -> [u64; 13];
        }
    }
}

fn main() {}
