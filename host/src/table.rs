//! Who answers what: handlers by range, for ports, memory-mapped I/O and MSRs alike.

use std::fmt;
use std::ops::RangeInclusive;

/// Handlers by range, sorted, none overlapping.
pub(crate) struct Table<A, H: ?Sized>(Vec<(RangeInclusive<A>, Box<H>)>);

impl<A, H: ?Sized> Default for Table<A, H> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A: Copy + Ord, H: ?Sized> Table<A, H> {
    /// Adds a handler; `false`, and it is not there, where another has a part of its range. The
    /// range is not empty.
    pub(crate) fn insert(&mut self, range: RangeInclusive<A>, handler: Box<H>) -> bool {
        let (start, end) = (*range.start(), *range.end());
        let at = self.0.partition_point(|(other, _)| *other.end() < start);
        if self.0.get(at).is_some_and(|(other, _)| *other.start() <= end) {
            return false;
        }
        self.0.insert(at, (range, handler));
        true
    }

    /// Whose range it is in.
    pub(crate) fn find(&mut self, address: A) -> Option<&mut H> {
        let at = self.place(address)?;
        self.0.get_mut(at).map(|(_, handler)| &mut **handler)
    }

    /// Whether it is in somebody's range.
    pub(crate) fn has(&self, address: A) -> bool {
        self.place(address).is_some()
    }

    fn place(&self, address: A) -> Option<usize> {
        let at = self.0.partition_point(|(range, _)| *range.end() < address);
        self.0.get(at).filter(|(range, _)| range.contains(&address)).map(|_| at)
    }

    /// The ranges, in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = &RangeInclusive<A>> {
        self.0.iter().map(|(range, _)| range)
    }
}

impl<A: fmt::Debug, H: ?Sized> fmt::Debug for Table<A, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(range, _)| range)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn an_address_finds_its_handler_at_both_edges_and_nobody_beside_them() {
        let mut table: Table<u16, str> = Table::default();
        for range in [0x400..=0x400, 0x100..=0x107, 0x300..=0x3ff, 0xffff..=0xffff, 0..=0] {
            let name = format!("{:x}", range.start());
            assert!(table.insert(range, name.into()));
        }
        for (at, name) in [
            (0, "0"),
            (0x100, "100"),
            (0x107, "100"),
            (0x3ff, "300"),
            (0x400, "400"),
            (0xffff, "ffff"),
        ] {
            assert_eq!(table.find(at).as_deref(), Some(name), "{at:#x}");
        }
        for at in [1, 0xff, 0x108, 0x2ff, 0x401, 0xfffe] {
            assert!(!table.has(at), "{at:#x}");
        }
    }

    #[test]
    fn a_taken_range_is_refused_and_changes_nothing() {
        let mut table: Table<u32, str> = Table::default();
        assert!(table.insert(100..=107, "first".into()));
        for range in [107..=107, 0..=u32::MAX, 106..=108, 90..=100, 101..=102, 100..=107] {
            assert!(!table.insert(range.clone(), "other".into()), "{range:?}");
        }
        assert!(table.insert(108..=u32::MAX, "above".into()));
        assert!(table.insert(0..=99, "below".into()));
        let ranges: Vec<_> = table.ranges().cloned().collect();
        assert_eq!(ranges, [0..=99, 100..=107, 108..=u32::MAX]);
    }
}
