//! Guests that try one way out, or one way to wedge their host, each: see `examples`. Every one
//! ends with a named end, in its deadline.

#![no_std]
