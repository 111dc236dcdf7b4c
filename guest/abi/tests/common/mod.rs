//! Both sides of a call in one process: a client over a server, through a memory of the test's.
#![allow(dead_code, reason = "each test file uses its part")]

use abi::calls::{
    BUFFER_MAX, Malformed, Memory, Reader, Refusal, Request, Returned, Serve, Space, Transport,
    WORDS_MAX, method_of,
};
use std::collections::VecDeque;

/// Where the caller's memory begins, so that a word that is 0 by mistake leads nowhere.
pub(crate) const START: u64 = 0x1000;

/// A caller's memory: bytes from [`START`] on.
#[derive(Debug, Default)]
pub(crate) struct Ram(pub(crate) Vec<u8>);

impl Ram {
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        let address = START + self.0.len() as u64;
        self.0.extend_from_slice(bytes);
        address
    }

    pub(crate) fn at(&mut self, address: u64, size: u64) -> Result<&mut [u8], Malformed> {
        Malformed::check_size(size)?;
        let place = || {
            let start = usize::try_from(address.checked_sub(START)?).ok()?;
            Some(start..start.checked_add(usize::try_from(size).ok()?)?)
        };
        if size == 0 {
            return Ok(&mut []);
        }
        let bytes = place().and_then(|place| self.0.get_mut(place));
        bytes.ok_or(Malformed::pointer(address, size))
    }
}

impl Memory for Ram {
    type Bytes = Vec<u8>;
    type Text = String;

    fn read(&mut self, address: u64, size: u64) -> Result<Vec<u8>, Malformed> {
        Ok(self.at(address, size)?.to_vec())
    }

    fn text(&mut self, address: u64, size: u64) -> Result<String, Malformed> {
        let bytes = self.at(address, size)?.to_vec();
        String::from_utf8(bytes).map_err(|_| Malformed::text(address, size))
    }

    fn borrow(&mut self, address: u64, size: u64) -> Result<Vec<u8>, Malformed> {
        self.read(address, size)
    }

    fn give_back(&mut self, address: u64, bytes: Vec<u8>) -> Result<(), Malformed> {
        self.at(address, bytes.len() as u64)?.copy_from_slice(&bytes);
        Ok(())
    }

    fn give(&mut self, bytes: &[u8], (address, room): (u64, u64)) -> Result<u64, Malformed> {
        let size = bytes.len() as u64;
        if size > room {
            return Err(Malformed::too_large(size, room));
        }
        self.at(address, size)?.copy_from_slice(bytes);
        Ok(address)
    }
}

/// Makes of the words that a client sends those that the server sees.
type Meddle = fn(&mut [u64; WORDS_MAX]);

/// A way from a client to a server in the same process.
#[derive(Debug)]
pub(crate) struct Loopback<S> {
    server: S,
    ram: Ram,
    lent: VecDeque<u64>,
    room: u64,
    /// What is done to the words on the way there, and on the way back.
    pub(crate) there: Meddle,
    pub(crate) back: Meddle,
    refused: Option<Malformed>,
    result: Vec<u8>,
    /// The words as they went out.
    pub(crate) sent: Vec<u64>,
}

impl<S> Loopback<S> {
    pub(crate) fn new(server: S) -> Self {
        Self {
            server,
            ram: Ram::default(),
            lent: VecDeque::new(),
            room: 64,
            there: |_| {},
            back: |_| {},
            refused: None,
            result: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// With so much space for a result of bytes.
    pub(crate) const fn room(mut self, room: u64) -> Self {
        self.room = room;
        self
    }
}

impl<S: Serve> Transport for Loopback<S> {
    type Reply<R> = Result<R, Malformed>;
    const HAS_SPACE: bool = true;

    fn lend(&mut self, bytes: &[u8]) -> u64 {
        self.ram.put(bytes)
    }

    fn lend_mut(&mut self, bytes: &mut [u8]) -> u64 {
        let address = self.ram.put(bytes);
        self.lent.push_back(address);
        address
    }

    fn take_back(&mut self, bytes: &mut [u8]) {
        let address = self.lent.pop_front().expect("was lent");
        bytes.copy_from_slice(self.ram.at(address, bytes.len() as u64).expect("is there"));
    }

    fn space(&mut self) -> (u64, u64) {
        let space = vec![0; usize::try_from(self.room).expect("little")];
        (self.ram.put(&space), self.room)
    }

    fn call<const A: usize, const R: usize>(&mut self, request: Request<A, Self>) -> [u64; R] {
        assert_eq!(request.interface(), S::INTERFACE);
        // What is left of earlier words must not matter.
        let mut words = [u64::MAX; WORDS_MAX];
        words[..A].copy_from_slice(request.words());
        self.sent = request.words().to_vec();
        (self.there)(&mut words);
        match self.server.serve(method_of(request.number()), &mut words, &mut self.ram) {
            Ok(count) => assert_eq!(count, R),
            Err(malformed) => self.refused = Some(malformed),
        }
        (self.back)(&mut words);
        let mut result = [0; R];
        result.copy_from_slice(&words[..R]);
        result
    }

    fn reply<'r, R: Returned<'r>>(&'r mut self, words: &[u64]) -> Result<R, Malformed> {
        assert!(self.lent.is_empty(), "all that was lent is taken back");
        if let Some(malformed) = self.refused.take() {
            return Err(malformed);
        }
        let mut found = Found { ram: &mut self.ram, result: Some(&mut self.result) };
        R::take(&mut Reader::new(words), &mut found)
    }
}

struct Found<'r> {
    ram: &'r mut Ram,
    result: Option<&'r mut Vec<u8>>,
}

impl<'r> Space<'r> for Found<'r> {
    fn bytes(&mut self, address: u64, size: u64) -> Result<&'r [u8], Malformed> {
        let result = self.result.take().ok_or(Malformed::pointer(address, size))?;
        *result = self.ram.read(address, size)?;
        Ok(result)
    }
}

/// The refusal, for those who ask no more.
pub(crate) fn refusal<T>(result: Result<T, Malformed>) -> Option<Refusal> {
    result.err().map(|malformed| malformed.refusal)
}

/// A size that no buffer may have.
pub(crate) const TOO_LARGE: u64 = BUFFER_MAX + 1;
