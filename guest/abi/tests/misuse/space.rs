//! A result of bytes through a transport that has no space for them, as `guest::Out`.

use abi::calls::{Request, Returned, Transport};

abi::hypercalls! {
    trait Misused {
        fn bytes(&mut self) -> Option<&[u8]>;
    }
}

struct Out;

impl Transport for Out {
    type Reply<R> = Option<R>;
    const HAS_SPACE: bool = false;

    fn lend(&mut self, _: &[u8]) -> u64 {
        0
    }

    fn lend_mut(&mut self, _: &mut [u8]) -> u64 {
        0
    }

    fn take_back(&mut self, _: &mut [u8]) {}

    fn space(&mut self) -> (u64, u64) {
        (0, 0)
    }

    fn call<const A: usize, const R: usize>(&mut self, _: Request<A, Self>) -> [u64; R] {
        [0; R]
    }

    fn reply<'r, R: Returned<'r>>(&'r mut self, _: &[u64]) -> Option<R> {
        None
    }
}

fn main() {
    Client(Out).bytes();
}
