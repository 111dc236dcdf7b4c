//! A field of a type that cannot cross.

abi::record! {
    struct Misused {
        pub number: u64,
        pub text: &'static str,
    }
}

fn main() {}
