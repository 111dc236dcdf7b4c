//! An ELF core file of a guest.
