//! Text and bytes, which stay in the caller's memory and cross as address and size.

use super::{Argument, Kind, Malformed, Memory, Reader, Returned, Space, Transport, Writer};

impl<'a> Argument<'a> for &'a str {
    const KIND: Kind = Kind::Text;
    type Held<M: Memory> = M::Text;

    #[inline(always)]
    fn send<T: Transport>(&mut self, transport: &mut T, to: &mut Writer<'_>) {
        to.put(transport.lend(self.as_bytes()));
        to.put(self.len() as u64);
    }

    #[inline(always)]
    fn hold<M: Memory>(from: &mut Reader<'_>, memory: &mut M) -> Result<M::Text, Malformed> {
        let (address, size) = (from.take(), from.take());
        memory.text(address, size)
    }

    #[inline(always)]
    fn lend<M: Memory>(held: &'a mut M::Text) -> Self {
        (*held).as_ref()
    }
}

impl<'a> Argument<'a> for &'a [u8] {
    const KIND: Kind = Kind::Bytes;
    type Held<M: Memory> = M::Bytes;

    #[inline(always)]
    fn send<T: Transport>(&mut self, transport: &mut T, to: &mut Writer<'_>) {
        to.put(transport.lend(self));
        to.put(self.len() as u64);
    }

    #[inline(always)]
    fn hold<M: Memory>(from: &mut Reader<'_>, memory: &mut M) -> Result<M::Bytes, Malformed> {
        let (address, size) = (from.take(), from.take());
        memory.read(address, size)
    }

    #[inline(always)]
    fn lend<M: Memory>(held: &'a mut M::Bytes) -> Self {
        (*held).as_ref()
    }
}

impl<'a> Argument<'a> for &'a mut [u8] {
    const KIND: Kind = Kind::BytesMut;
    type Held<M: Memory> = (u64, M::Bytes);

    #[inline(always)]
    fn send<T: Transport>(&mut self, transport: &mut T, to: &mut Writer<'_>) {
        to.put(transport.lend_mut(self));
        to.put(self.len() as u64);
    }

    #[inline(always)]
    fn sent<T: Transport>(self, transport: &mut T) {
        transport.take_back(self);
    }

    #[inline(always)]
    fn hold<M: Memory>(
        from: &mut Reader<'_>,
        memory: &mut M,
    ) -> Result<(u64, M::Bytes), Malformed> {
        let (address, size) = (from.take(), from.take());
        Ok((address, memory.borrow(address, size)?))
    }

    #[inline(always)]
    fn lend<M: Memory>((_, bytes): &'a mut (u64, M::Bytes)) -> Self {
        bytes.as_mut()
    }

    #[inline(always)]
    fn release<M: Memory>(
        (address, bytes): (u64, M::Bytes),
        memory: &mut M,
    ) -> Result<(), Malformed> {
        memory.give_back(address, bytes)
    }
}

impl<'r> Returned<'r> for &'r [u8] {
    const KIND: Kind = Kind::Bytes;

    #[inline(always)]
    fn give<M: Memory>(
        self,
        memory: &mut M,
        space: (u64, u64),
        to: &mut Writer<'_>,
    ) -> Result<(), Malformed> {
        to.put(memory.give(self, space)?);
        to.put(self.len() as u64);
        Ok(())
    }

    #[inline(always)]
    fn take<S: Space<'r>>(from: &mut Reader<'_>, space: &mut S) -> Result<Self, Malformed> {
        let (address, size) = (from.take(), from.take());
        space.bytes(address, size)
    }
}

impl<'r> Returned<'r> for &'r str {
    const KIND: Kind = Kind::Text;

    #[inline(always)]
    fn give<M: Memory>(
        self,
        memory: &mut M,
        space: (u64, u64),
        to: &mut Writer<'_>,
    ) -> Result<(), Malformed> {
        self.as_bytes().give(memory, space, to)
    }

    #[inline(always)]
    fn take<S: Space<'r>>(from: &mut Reader<'_>, space: &mut S) -> Result<Self, Malformed> {
        let (address, size) = (from.take(), from.take());
        space.text(address, size)
    }
}
