//! `thread_local!`, where there is one thread.

use core::cell::LazyCell;
use core::fmt;

/// A value that is made when it is first asked for.
pub struct LocalKey<T: 'static>(LazyCell<T>);

// SAFETY: a guest has one vCPU and no threads, so that nobody shares it; an interrupt's handler of the
// guest's own that uses one makes the mistake that it makes with any of its statics.
unsafe impl<T> Sync for LocalKey<T> {}

impl<T> LocalKey<T> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(make: fn() -> T) -> Self {
        Self(LazyCell::new(make))
    }

    /// Calls a function with it.
    pub fn with<R>(&'static self, function: impl FnOnce(&T) -> R) -> R {
        function(&self.0)
    }
}

impl<T> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// Statics of the one thread that there is.
#[macro_export]
macro_rules! thread_local {
    ($($(#[$attribute:meta])* $visible:vis static $name:ident: $type:ty = $value:expr);* $(;)?) => {
        $(
            $(#[$attribute])*
            $visible static $name: $crate::thread::LocalKey<$type> =
                $crate::thread::LocalKey::new(|| $value);
        )*
    };
}
