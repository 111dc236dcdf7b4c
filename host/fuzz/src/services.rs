//! Who answers the calls of the shipped interfaces, each beginning again with every case.

use crate::machine::CASE;
use calls::batch::Ring;
use calls::calc::{Calc, Point};
use calls::tally::Counts;
use calls::{batch, calc, counter, kinds, store, tally};
use encoded::Encoded;
use portcall::abi::calls::{Interface, Serve};
use portcall::service::{Call, NoAnswer, Service};
use portcall::stock::{Stock, StockAddress};
use portcall::{Builder, Guest, abi};
use std::collections::BTreeMap;

/// All interfaces, the host's own among them.
pub const ALL: [&Interface; 8] = [
    &kinds::INTERFACE,
    &store::INTERFACE,
    &calc::INTERFACE,
    &counter::INTERFACE,
    &tally::INTERFACE,
    &batch::INTERFACE,
    &abi::host::INTERFACE,
    &abi::host_address::INTERFACE,
];

/// Serves all of them.
pub fn serve(builder: Builder<'_>) -> Builder<'_> {
    builder
        .serve(Fresh::of(|| kinds::Server(kinds::Echo::default())))
        .serve(Fresh::of(|| store::Server(Values::default())))
        .serve(Fresh::of(|| calc::Server(Calculator::default())))
        .serve(Fresh::of(|| counter::Server(Count(0))))
        .serve(Fresh::of(|| tally::Server(All::default())))
        .serve(Fresh::of(|| batch::Server(Squares)))
        .serve(Stock::new())
        .serve(StockAddress)
}

/// A server that is made anew for every case.
struct Fresh<S> {
    make: fn() -> S,
    server: S,
    case: u64,
}

impl<S: Serve> Fresh<S> {
    fn of(make: fn() -> S) -> Self {
        Self { make, server: make(), case: 0 }
    }
}

impl<S: Serve + Send> Service for Fresh<S> {
    fn interface(&self) -> &'static Interface {
        S::INTERFACE
    }

    fn answer(&mut self, guest: &mut Guest<'_>, call: Call<'_>) -> Result<usize, NoAnswer> {
        if self.case != CASE.get() {
            self.server = (self.make)();
            self.case = CASE.get();
        }
        Ok(self.server.serve(call.method, call.words, &mut guest.claims())?)
    }
}

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

#[derive(Default)]
struct Calculator(u64, String);

impl Calc for Calculator {
    fn add(&mut self, a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    fn divide(&mut self, a: i64, b: i64) -> Option<i64> {
        a.checked_div(b)
    }

    fn accumulate(&mut self, value: u64) -> u64 {
        self.0 = self.0.wrapping_add(value);
        self.0
    }

    fn turn(&mut self, point: Point) -> Point {
        Point { x: point.y.wrapping_neg(), y: point.x }
    }

    fn echo(&mut self, text: &str) -> &str {
        text.clone_into(&mut self.1);
        &self.1
    }

    fn sort(&mut self, bytes: &mut [u8]) -> u64 {
        bytes.sort_unstable();
        let least = bytes.first().copied();
        bytes.iter().take_while(|byte| Some(**byte) == least).count() as u64
    }
}

struct Count(u64);

impl counter::Counter for Count {
    fn add(&mut self, amount: u64) -> u64 {
        self.0 = self.0.wrapping_add(amount);
        self.0
    }
}

#[derive(Default)]
struct All(Counts);

impl tally::Tally for All {
    fn add(&mut self, counts: Encoded<Counts>) -> Encoded<Counts> {
        for (word, count) in counts.into_inner() {
            let all = self.0.entry(word).or_default();
            *all = all.saturating_add(count);
        }
        self.0.clone().into()
    }
}

struct Squares;

impl batch::Batch for Squares {
    fn square(&mut self, value: u64) -> u64 {
        value.wrapping_mul(value)
    }

    fn doorbell(&mut self, ring: &mut [u8]) -> u64 {
        let square = |value: u64| value.wrapping_mul(value);
        Ring::of(ring).map_or(0, |mut ring| ring.answer(square))
    }
}
