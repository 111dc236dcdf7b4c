//! `Option` and `Result`: a word that says which it is, then the words of that; zeros up to the
//! words of the longer.

use super::value::tag;
use super::{
    Argument, Kind, Malformed, Memory, Reader, Refusal, Returned, Space, Transport, Writer,
};

impl<'a, T: Argument<'a>> Argument<'a> for Option<T> {
    const KIND: Kind = Kind::Option(&T::KIND);
    type Held<M: Memory> = Option<T::Held<M>>;

    #[inline(always)]
    fn send<C: Transport>(&mut self, transport: &mut C, to: &mut Writer<'_>) {
        let end = to.used() + const { Self::KIND.words() };
        to.put(u64::from(self.is_some()));
        if let Some(value) = self {
            value.send(transport, to);
        }
        to.skip_to(end);
    }

    #[inline(always)]
    fn sent<C: Transport>(self, transport: &mut C) {
        if let Some(value) = self {
            value.sent(transport);
        }
    }

    #[inline(always)]
    fn hold<M: Memory>(from: &mut Reader<'_>, memory: &mut M) -> Result<Self::Held<M>, Malformed> {
        let end = from.used() + const { Self::KIND.words() };
        let held = if tag(from)? { Some(T::hold(from, memory)?) } else { None };
        from.skip_to(end);
        Ok(held)
    }

    #[inline(always)]
    fn lend<M: Memory>(held: &'a mut Self::Held<M>) -> Self {
        held.as_mut().map(T::lend::<M>)
    }

    #[inline(always)]
    fn release<M: Memory>(held: Self::Held<M>, memory: &mut M) -> Result<(), Malformed> {
        held.map_or(Ok(()), |held| T::release(held, memory))
    }
}

impl<'r, T: Returned<'r>> Returned<'r> for Option<T> {
    const KIND: Kind = Kind::Option(&T::KIND);

    #[inline(always)]
    fn give<M: Memory>(
        self,
        memory: &mut M,
        space: (u64, u64),
        to: &mut Writer<'_>,
    ) -> Result<(), Malformed> {
        let end = to.used() + const { Self::KIND.words() };
        to.put(u64::from(self.is_some()));
        if let Some(value) = self {
            value.give(memory, space, to)?;
        }
        to.skip_to(end);
        Ok(())
    }

    #[inline(always)]
    fn take<S: Space<'r>>(from: &mut Reader<'_>, space: &mut S) -> Result<Self, Malformed> {
        let end = from.used() + const { Self::KIND.words() };
        let value = if tag(from)? { Some(T::take(from, space)?) } else { None };
        from.skip_to(end);
        Ok(value)
    }
}

impl<'a, T: Argument<'a>, E: Argument<'a>> Argument<'a> for Result<T, E> {
    const KIND: Kind = Kind::Result(&T::KIND, &E::KIND);
    type Held<M: Memory> = Result<T::Held<M>, E::Held<M>>;

    #[inline(always)]
    fn send<C: Transport>(&mut self, transport: &mut C, to: &mut Writer<'_>) {
        let end = to.used() + const { Self::KIND.words() };
        to.put(u64::from(self.is_err()));
        match self {
            Ok(value) => value.send(transport, to),
            Err(error) => error.send(transport, to),
        }
        to.skip_to(end);
    }

    #[inline(always)]
    fn sent<C: Transport>(self, transport: &mut C) {
        match self {
            Ok(value) => value.sent(transport),
            Err(error) => error.sent(transport),
        }
    }

    #[inline(always)]
    fn hold<M: Memory>(from: &mut Reader<'_>, memory: &mut M) -> Result<Self::Held<M>, Malformed> {
        let end = from.used() + const { Self::KIND.words() };
        let held =
            if tag(from)? { Err(E::hold(from, memory)?) } else { Ok(T::hold(from, memory)?) };
        from.skip_to(end);
        Ok(held)
    }

    #[inline(always)]
    fn lend<M: Memory>(held: &'a mut Self::Held<M>) -> Self {
        match held {
            Ok(held) => Ok(T::lend(held)),
            Err(held) => Err(E::lend(held)),
        }
    }

    #[inline(always)]
    fn release<M: Memory>(held: Self::Held<M>, memory: &mut M) -> Result<(), Malformed> {
        match held {
            Ok(held) => T::release(held, memory),
            Err(held) => E::release(held, memory),
        }
    }
}

impl<'r, T: Returned<'r>, E: Returned<'r>> Returned<'r> for Result<T, E> {
    const KIND: Kind = Kind::Result(&T::KIND, &E::KIND);

    #[inline(always)]
    fn give<M: Memory>(
        self,
        memory: &mut M,
        space: (u64, u64),
        to: &mut Writer<'_>,
    ) -> Result<(), Malformed> {
        let end = to.used() + const { Self::KIND.words() };
        to.put(u64::from(self.is_err()));
        match self {
            Ok(value) => value.give(memory, space, to)?,
            Err(error) => error.give(memory, space, to)?,
        }
        to.skip_to(end);
        Ok(())
    }

    #[inline(always)]
    fn take<S: Space<'r>>(from: &mut Reader<'_>, space: &mut S) -> Result<Self, Malformed> {
        let end = from.used() + const { Self::KIND.words() };
        let value = if tag(from)? { Err(E::take(from, space)?) } else { Ok(T::take(from, space)?) };
        from.skip_to(end);
        Ok(value)
    }

    #[inline(always)]
    fn refused(refusal: Refusal) -> Option<Self> {
        E::of_refusal(refusal).map(Err)
    }
}
