//! Words, written and read one after the other.

/// Writes words. What does not fit is dropped: whoever makes one has counted before.
#[derive(Debug)]
pub struct Writer<'w> {
    words: &'w mut [u64],
    used: usize,
}

impl<'w> Writer<'w> {
    /// Writes into `words` from their start.
    #[inline(always)]
    pub const fn new(words: &'w mut [u64]) -> Self {
        Self { words, used: 0 }
    }

    /// The next word.
    #[inline(always)]
    pub const fn put(&mut self, word: u64) {
        if self.used < self.words.len() {
            self.words[self.used] = word;
        }
        self.used += 1;
    }

    /// Leaves words out, up to `used` of all: they are zero.
    #[inline(always)]
    pub const fn skip_to(&mut self, used: usize) {
        while self.used < used {
            self.put(0);
        }
    }

    /// How many there are so far.
    #[inline(always)]
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }
}

/// Reads words; behind the last one there are zeros.
#[derive(Clone, Debug)]
pub struct Reader<'w> {
    words: &'w [u64],
    used: usize,
}

impl<'w> Reader<'w> {
    /// Reads `words` from their start.
    #[inline(always)]
    #[must_use]
    pub const fn new(words: &'w [u64]) -> Self {
        Self { words, used: 0 }
    }

    /// The next word.
    #[inline(always)]
    pub const fn take(&mut self) -> u64 {
        let word = if self.used < self.words.len() { self.words[self.used] } else { 0 };
        self.used += 1;
        word
    }

    /// Leaves words out, up to `used` of all.
    #[inline(always)]
    pub const fn skip_to(&mut self, used: usize) {
        if self.used < used {
            self.used = used;
        }
    }

    /// How many were read so far.
    #[inline(always)]
    #[must_use]
    pub const fn used(&self) -> usize {
        self.used
    }
}
