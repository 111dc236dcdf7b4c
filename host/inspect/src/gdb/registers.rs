//! All that gdb calls a register, as KVM has it; and the description that tells gdb so.

use gdbstub::arch::{Arch, RegId, Registers};
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use portcall::Exception;
use portcall::kvm_bindings::{kvm_fpu, kvm_regs, kvm_sregs};
use std::num::NonZeroUsize;

/// x86-64 with x87 and SSE, and the bases of FS and GS: gdb's features `core`, `sse` and `segments`
/// (its manual, "i386 Features"), each register by name, so that a gdb which was given no image
/// knows what it talks to.
#[derive(Debug)]
pub(super) enum X86_64 {}

impl Arch for X86_64 {
    type Usize = u64;
    type Registers = All;
    type RegId = Id;
    type BreakpointKind = usize;

    fn target_description_xml() -> Option<&'static str> {
        Some(DESCRIPTION)
    }
}

const DESCRIPTION: &str = r#"<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">
<target version="1.0"><architecture>i386:x86-64</architecture>
<feature name="org.gnu.gdb.i386.core">
<flags id="i386_eflags" size="4"><field name="" start="22" end="31"/>
<field name="CF" start="0" end="0"/><field name="" start="1" end="1"/>
<field name="PF" start="2" end="2"/><field name="AF" start="4" end="4"/>
<field name="ZF" start="6" end="6"/><field name="SF" start="7" end="7"/>
<field name="TF" start="8" end="8"/><field name="IF" start="9" end="9"/>
<field name="DF" start="10" end="10"/><field name="OF" start="11" end="11"/>
<field name="NT" start="14" end="14"/><field name="RF" start="16" end="16"/>
<field name="VM" start="17" end="17"/><field name="AC" start="18" end="18"/>
<field name="VIF" start="19" end="19"/><field name="VIP" start="20" end="20"/>
<field name="ID" start="21" end="21"/></flags>
<reg name="rax" bitsize="64" type="int64"/><reg name="rbx" bitsize="64" type="int64"/>
<reg name="rcx" bitsize="64" type="int64"/><reg name="rdx" bitsize="64" type="int64"/>
<reg name="rsi" bitsize="64" type="int64"/><reg name="rdi" bitsize="64" type="int64"/>
<reg name="rbp" bitsize="64" type="data_ptr"/><reg name="rsp" bitsize="64" type="data_ptr"/>
<reg name="r8" bitsize="64" type="int64"/><reg name="r9" bitsize="64" type="int64"/>
<reg name="r10" bitsize="64" type="int64"/><reg name="r11" bitsize="64" type="int64"/>
<reg name="r12" bitsize="64" type="int64"/><reg name="r13" bitsize="64" type="int64"/>
<reg name="r14" bitsize="64" type="int64"/><reg name="r15" bitsize="64" type="int64"/>
<reg name="rip" bitsize="64" type="code_ptr"/><reg name="eflags" bitsize="32" type="i386_eflags"/>
<reg name="cs" bitsize="32" type="int32"/><reg name="ss" bitsize="32" type="int32"/>
<reg name="ds" bitsize="32" type="int32"/><reg name="es" bitsize="32" type="int32"/>
<reg name="fs" bitsize="32" type="int32"/><reg name="gs" bitsize="32" type="int32"/>
<reg name="st0" bitsize="80" type="i387_ext"/><reg name="st1" bitsize="80" type="i387_ext"/>
<reg name="st2" bitsize="80" type="i387_ext"/><reg name="st3" bitsize="80" type="i387_ext"/>
<reg name="st4" bitsize="80" type="i387_ext"/><reg name="st5" bitsize="80" type="i387_ext"/>
<reg name="st6" bitsize="80" type="i387_ext"/><reg name="st7" bitsize="80" type="i387_ext"/>
<reg name="fctrl" bitsize="32" type="int" group="float"/>
<reg name="fstat" bitsize="32" type="int" group="float"/>
<reg name="ftag" bitsize="32" type="int" group="float"/>
<reg name="fiseg" bitsize="32" type="int" group="float"/>
<reg name="fioff" bitsize="32" type="int" group="float"/>
<reg name="foseg" bitsize="32" type="int" group="float"/>
<reg name="fooff" bitsize="32" type="int" group="float"/>
<reg name="fop" bitsize="32" type="int" group="float"/></feature>
<feature name="org.gnu.gdb.i386.sse">
<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>
<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>
<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>
<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>
<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>
<field name="uint128" type="uint128"/></union>
<reg name="xmm0" bitsize="128" type="vec128"/><reg name="xmm1" bitsize="128" type="vec128"/>
<reg name="xmm2" bitsize="128" type="vec128"/><reg name="xmm3" bitsize="128" type="vec128"/>
<reg name="xmm4" bitsize="128" type="vec128"/><reg name="xmm5" bitsize="128" type="vec128"/>
<reg name="xmm6" bitsize="128" type="vec128"/><reg name="xmm7" bitsize="128" type="vec128"/>
<reg name="xmm8" bitsize="128" type="vec128"/><reg name="xmm9" bitsize="128" type="vec128"/>
<reg name="xmm10" bitsize="128" type="vec128"/><reg name="xmm11" bitsize="128" type="vec128"/>
<reg name="xmm12" bitsize="128" type="vec128"/><reg name="xmm13" bitsize="128" type="vec128"/>
<reg name="xmm14" bitsize="128" type="vec128"/><reg name="xmm15" bitsize="128" type="vec128"/>
<reg name="mxcsr" bitsize="32" type="int" group="vector"/></feature>
<feature name="org.gnu.gdb.i386.segments"><reg name="fs_base" bitsize="64" type="int"/>
<reg name="gs_base" bitsize="64" type="int"/></feature></target>"#;

/// Bytes of the registers, in the order of the description: 16 general ones and RIP, EFLAGS and six
/// segments, ST0 to ST7, the x87's own, XMM0 to XMM15, MXCSR, two bases.
const SIZES: [(usize, usize); 8] =
    [(17, 8), (7, 4), (8, 10), (8, 4), (16, 16), (1, 4), (2, 8), (0, 0)];

/// Bytes of all but the bases.
const CORE: usize = 17 * 8 + 7 * 4 + 8 * 10 + 8 * 4 + 16 * 16 + 4;

/// The register of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    /// Where it stands in all of them, in bytes.
    pub(super) at: usize,
    pub(super) size: usize,
}

impl RegId for Id {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let (mut left, mut at) = (id, 0);
        for (count, size) in SIZES {
            if left < count {
                return Some((Self { at: at + left * size, size }, NonZeroUsize::new(size)));
            }
            left -= count;
            at += count * size;
        }
        None
    }
}

/// Their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct All {
    core: X86_64CoreRegs,
    /// Of FS and GS.
    bases: [u64; 2],
}

impl Registers for All {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.core.rip
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        self.core.gdb_serialize(&mut write_byte);
        self.bases.iter().flat_map(|it| it.to_le_bytes()).for_each(|it| write_byte(Some(it)));
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        let (core, bases) = bytes.split_at_checked(CORE).ok_or(())?;
        self.core.gdb_deserialize(core)?;
        let words = bases.as_chunks::<8>().0;
        for (base, word) in self.bases.iter_mut().zip(words) {
            *base = u64::from_le_bytes(*word);
        }
        if words.len() < 2 { Err(()) } else { Ok(()) }
    }
}

impl All {
    /// As bytes, in the order of the description.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CORE + 16);
        self.gdb_serialize(|byte| bytes.extend(byte));
        bytes
    }

    /// As KVM has them. In an exception's stub CS and SS are those of the instruction that raised it.
    pub(super) fn of(
        regs: &kvm_regs,
        sregs: &kvm_sregs,
        fpu: &kvm_fpu,
        fault: Option<&Exception>,
    ) -> Self {
        let mut core = X86_64CoreRegs {
            regs: [
                regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.rsp,
                regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
            ],
            eflags: low(regs.rflags),
            rip: regs.rip,
            xmm: fpu.xmm.map(u128::from_le_bytes),
            mxcsr: fpu.mxcsr,
            ..X86_64CoreRegs::default()
        };
        let (cs, ss) = fault.map_or((sregs.cs.selector, sregs.ss.selector), |it| (it.cs, it.ss));
        (core.segments.cs, core.segments.ss) = (cs.into(), ss.into());
        (core.segments.ds, core.segments.es) = (sregs.ds.selector.into(), sregs.es.selector.into());
        (core.segments.fs, core.segments.gs) = (sregs.fs.selector.into(), sregs.gs.selector.into());
        for (to, from) in core.st.iter_mut().zip(&fpu.fpr) {
            to.copy_from_slice(&from[..10]);
        }
        (core.fpu.fctrl, core.fpu.fstat) = (fpu.fcw.into(), fpu.fsw.into());
        (core.fpu.ftag, core.fpu.fop) = (tags(fpu.ftwx).into(), fpu.last_opcode.into());
        (core.fpu.fioff, core.fpu.fooff) = (low(fpu.last_ip), low(fpu.last_dp));
        Self { core, bases: [sregs.fs.base, sregs.gs.base] }
    }

    /// The general registers among them.
    pub(super) fn general(&self) -> kvm_regs {
        let [rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15] =
            self.core.regs;
        let (rip, rflags) = (self.core.rip, self.core.eflags.into());
        kvm_regs {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rbp,
            rsp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip,
            rflags,
        }
    }

    /// Whether both have the same selectors, which are not for a debugger to change: what a segment
    /// is stands in descriptors.
    pub(super) fn has_segments_of(&self, other: &Self) -> bool {
        self.core.segments == other.core.segments
    }

    /// The bases of FS and GS.
    pub(super) const fn bases(&self) -> [u64; 2] {
        self.bases
    }

    /// Those of the x87 and of SSE, in place of what is there.
    pub(super) fn put_into(&self, fpu: &mut kvm_fpu) {
        for (to, from) in fpu.fpr.iter_mut().zip(&self.core.st) {
            to[..10].copy_from_slice(from);
        }
        fpu.xmm = self.core.xmm.map(u128::to_le_bytes);
        fpu.mxcsr = self.core.mxcsr;
        let half = |word: u32| u16::try_from(word & 0xffff).unwrap_or_default();
        (fpu.fcw, fpu.fsw) = (half(self.core.fpu.fctrl), half(self.core.fpu.fstat));
        (fpu.ftwx, fpu.last_opcode) = (valid(self.core.fpu.ftag), half(self.core.fpu.fop));
        (fpu.last_ip, fpu.last_dp) = (self.core.fpu.fioff.into(), self.core.fpu.fooff.into());
    }
}

/// The low half.
fn low(word: u64) -> u32 {
    u32::try_from(word & 0xffff_ffff).unwrap_or_default()
}

/// The tag word of the x87 from FXSAVE's, which says only what is in use (SDM vol. 1, 10.5.1.1):
/// 0 for what is, whatever it holds, 3 for what is not.
fn tags(in_use: u8) -> u16 {
    (0..8).filter(|i| in_use >> i & 1 == 0).fold(0, |word, i| word | 3 << (2 * i))
}

/// The other way round.
fn valid(tags: u32) -> u8 {
    (0..8).filter(|i| tags >> (2 * i) & 3 != 3).fold(0, |word, i| word | 1 << i)
}

#[cfg(test)]
mod tests {
    use super::{All, CORE, DESCRIPTION, Id, X86_64, tags, valid};
    use gdbstub::arch::{Arch, RegId, Registers};
    use portcall::kvm_bindings::{kvm_fpu, kvm_regs, kvm_sregs};

    #[test]
    fn numbers_are_places_in_the_order_of_the_description() {
        let sizes: Vec<usize> = DESCRIPTION
            .split("bitsize=\"")
            .skip(1)
            .map(|it| it.split('"').next().expect("a number").parse::<usize>().expect("bits") / 8)
            .collect();
        let mut at = 0;
        for (i, size) in sizes.iter().enumerate() {
            assert_eq!(Id::from_raw_id(i).expect("described").0, Id { at, size: *size }, "{i}");
            at += size;
        }
        assert_eq!(at, CORE + 16);
        assert!(Id::from_raw_id(sizes.len()).is_none() && Id::from_raw_id(usize::MAX).is_none());
        assert!(X86_64::target_description_xml().is_some());
    }

    #[test]
    fn what_is_read_can_be_written_back() {
        let regs =
            kvm_regs { rax: 1, rsp: 2, rbp: 3, r15: 4, rip: 5, rflags: 6, ..kvm_regs::default() };
        let mut fpu = kvm_fpu { ftwx: 0x81, fcw: 0x37f, mxcsr: 0x1f80, ..kvm_fpu::default() };
        fpu.xmm[15] = [7; 16];
        fpu.fpr[7][..10].copy_from_slice(b"0123456789");
        let mut sregs = kvm_sregs::default();
        (sregs.cs.selector, sregs.gs.base) = (0x10, 1 << 40);
        let all = All::of(&regs, &sregs, &fpu, None);
        let mut again = All::default();
        again.gdb_deserialize(&all.bytes()).expect("whole");
        assert_eq!(again, all);
        assert_eq!((again.general(), again.bases()), (regs, [0, 1 << 40]));
        let mut back = kvm_fpu::default();
        again.put_into(&mut back);
        assert_eq!(back, fpu);
        for short in 0..CORE + 16 {
            assert!(All::default().gdb_deserialize(&all.bytes()[..short]).is_err(), "{short}");
        }
    }

    #[test]
    fn tags_go_both_ways() {
        for in_use in 0..=255 {
            assert_eq!(valid(tags(in_use).into()), in_use);
        }
    }
}
