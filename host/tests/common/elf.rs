//! Writes ELF files, right ones and wrong ones.

/// One program header, each field as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ph {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) vaddr: u64,
    pub(crate) paddr: u64,
    pub(crate) filesz: u64,
    pub(crate) memsz: u64,
    pub(crate) align: u64,
}

pub(crate) const LOAD: u32 = 1;
pub(crate) const DYNAMIC: u32 = 2;
pub(crate) const INTERP: u32 = 3;
pub(crate) const NOTE: u32 = 4;
pub(crate) const RX: u32 = 5;
pub(crate) const RW: u32 = 6;
pub(crate) const R: u32 = 4;

/// An ELF file in the making: header fields, program headers, and what comes behind them.
#[derive(Clone, Debug)]
pub(crate) struct Elf {
    pub(crate) class: u8,
    pub(crate) data: u8,
    pub(crate) kind: u16,
    pub(crate) machine: u16,
    pub(crate) entry: u64,
    pub(crate) phoff: u64,
    pub(crate) phentsize: u16,
    pub(crate) phnum: Option<u16>,
    pub(crate) headers: Vec<Ph>,
    pub(crate) body: Vec<u8>,
}

/// Where `body` begins in the file, whatever the headers: room for many of them.
pub(crate) const BODY: u64 = 0x1000;

impl Elf {
    /// A right one: `code` in one executable segment at 1 MiB.
    pub(crate) fn new(code: &[u8]) -> Self {
        let size = code.len() as u64;
        Self {
            class: 2,
            data: 1,
            kind: 2,
            machine: 62,
            entry: 0x10_0000,
            phoff: 64,
            phentsize: 56,
            phnum: None,
            headers: vec![Ph {
                kind: LOAD,
                flags: RX,
                offset: BODY,
                vaddr: 0x10_0000,
                paddr: 0x10_0000,
                filesz: size,
                memsz: size,
                align: 0x1000,
            }],
            body: code.to_vec(),
        }
    }

    /// Adds a header whose bytes are appended to the body, at a page's start.
    pub(crate) fn with(mut self, mut header: Ph, bytes: &[u8]) -> Self {
        self.body.resize(self.body.len().next_multiple_of(0x1000), 0);
        header.offset = BODY + self.body.len() as u64;
        self.body.extend_from_slice(bytes);
        self.headers.push(header);
        self
    }

    /// Changes the one segment of [`Elf::new`].
    pub(crate) fn first(mut self, change: impl FnOnce(&mut Ph)) -> Self {
        change(&mut self.headers[0]);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = b"\x7fELF".to_vec();
        file.extend([self.class, self.data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(self.kind.to_le_bytes());
        file.extend(self.machine.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        for word in [self.entry, self.phoff, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0u32.to_le_bytes());
        let phnum = self.phnum.unwrap_or(u16::try_from(self.headers.len()).expect("few"));
        for half in [64, self.phentsize, phnum, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for h in &self.headers {
            file.extend(h.kind.to_le_bytes());
            file.extend(h.flags.to_le_bytes());
            for word in [h.offset, h.vaddr, h.paddr, h.filesz, h.memsz, h.align] {
                file.extend(word.to_le_bytes());
            }
        }
        assert!(file.len() as u64 <= BODY, "too many program headers");
        file.resize(usize::try_from(BODY).expect("small"), 0);
        file.extend(&self.body);
        file
    }
}

/// A data segment at `vaddr`.
pub(crate) fn data(vaddr: u64, size: u64) -> Ph {
    Ph {
        kind: LOAD,
        flags: RW,
        offset: 0,
        vaddr,
        paddr: vaddr,
        filesz: size,
        memsz: size,
        align: 0x1000,
    }
}
