//! A case's bytes as a list of choices.

/// Takes numbers and pieces off the front. At the end there are zeros and nothing, so that every
/// input is a whole case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'d>(pub(crate) &'d [u8]);

impl<'d> Input<'d> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next bytes, as many as there are.
    pub(crate) fn take(&mut self, bytes: usize) -> &'d [u8] {
        let (now, later) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = later;
        now
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let there = self.take(N);
        bytes[..there.len()].copy_from_slice(there);
        bytes
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}
