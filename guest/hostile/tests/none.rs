//! A program of tests that has none.

#![no_std]
#![no_main]

guest::tests!();
