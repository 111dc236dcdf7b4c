//! A call with a type parameter.

abi::hypercalls! {
    trait Misused {
        fn generic<T>(&mut self, value: T);
    }
}

fn main() {}
