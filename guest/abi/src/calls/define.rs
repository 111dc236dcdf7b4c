//! The two macros that definitions are written in.

/// Defines an interface: a trait, and what both sides need of it.
///
/// ```
/// abi::hypercalls! {
///     /// A key-value store on the host.
///     pub trait Store {
///         /// Stores `value`; returns the number of keys.
///         fn put(&mut self, key: &str, value: &[u8]) -> u64;
///         /// The value of `key`, if it has one.
///         fn get(&mut self, key: &str) -> Option<&[u8]>;
///     }
/// }
///
/// assert_eq!(INTERFACE.name, "Store");
/// assert_eq!(INTERFACE.methods[0].to_string(), "put(key: &str, value: &[u8]) -> u64");
/// ```
///
/// The trait is emitted as it stands. Beside it there are `Client`, whose functions call the
/// other side through a [`Transport`](crate::calls::Transport); `Server`, which answers by
/// anything that implements the trait; and the table `INTERFACE`. So one module has one interface.
///
/// An argument or a result is an integer, a `bool`, `&str`, `&[u8]`; an argument may be a
/// `&mut [u8]` for the other side to fill. Structs are made by [`record!`](crate::record), and
/// there are arrays of integers, and `Option` and `Result` of all these. All arguments of a call
/// together take at most [`WORDS_MAX`](crate::calls::WORDS_MAX) words.
///
/// A call that the other side refuses ends the run, unless the result is a
/// `Result<T, `[`Refusal`](crate::calls::Refusal)`>`: then it is an error to the caller.
#[macro_export]
macro_rules! hypercalls {
    (
        $(#[$attribute:meta])*
        $visibility:vis trait $trait:ident {
            $(
                $(#[$of_method:meta])*
                fn $method:ident(&mut self $(, $argument:ident: $type:ty)* $(,)?)
                    $(-> $result:ty)?;
            )*
        }
    ) => {
        $(#[$attribute])*
        $visibility trait $trait {
            $(
                $(#[$of_method])*
                fn $method(&mut self $(, $argument: $type)*) $(-> $result)?;
            )*
        }

        #[doc = concat!("The table of [`", stringify!($trait), "`].")]
        $visibility const INTERFACE: $crate::calls::Interface = $crate::calls::Interface {
            name: stringify!($trait),
            methods: &[$(
                $crate::calls::Method {
                    name: stringify!($method),
                    arguments: &[$(
                        (
                            stringify!($argument),
                            <$type as $crate::calls::Argument<'_>>::KIND,
                        ),
                    )*],
                    result: <$crate::result_type!($($result)?) as $crate::calls::Returned<'_>>::KIND,
                },
            )*],
        };

        #[doc = concat!("Calls [`", stringify!($trait), "`] on the other side.")]
        #[derive(Clone, Copy, Debug, Default)]
        $visibility struct Client<T>(pub T);

        #[allow(dead_code, reason = "one side of a program may use a part of its interface")]
        // Names that no type of a definition's has: they would hide it.
        impl<__Transport: $crate::calls::Transport> Client<__Transport> {
            $(
                $(#[$of_method])*
                #[inline]
                $visibility fn $method(&mut self $(, $argument: $type)*)
                    -> __Transport::Reply<$crate::result_type!($($result)?)>
                {
                    const PLACE: u32 = INTERFACE.place(stringify!($method));
                    const METHOD: &$crate::calls::Method = &INTERFACE.methods[PLACE as usize];
                    const ARGUMENTS: usize = {
                        assert!(METHOD.fits(), "{}", $crate::calls::too_many_words(METHOD).as_str());
                        METHOD.argument_words()
                    };
                    const RESULT: usize = METHOD.result.words();
                    const NUMBER: u32 = INTERFACE.number(PLACE);
                    const {
                        assert!(
                            __Transport::HAS_SPACE || !METHOD.result.has_bytes(),
                            "the result is bytes, for which this transport has no space: in a \
                             guest, use guest::OutWithSpace in place of guest::Out",
                        );
                    }
                    let mut words = [0; ARGUMENTS];
                    #[allow(unused_mut, unused_variables, reason = "not for every signature")]
                    let mut to = $crate::calls::Writer::new(&mut words);
                    $(
                        let mut $argument = $argument;
                        <$type as $crate::calls::Argument<'_>>::send(
                            &mut $argument, &mut self.0, &mut to,
                        );
                    )*
                    if const { METHOD.result.has_bytes() } {
                        let (address, size) = $crate::calls::Transport::space(&mut self.0);
                        to.put(address);
                        to.put(size);
                    }
                    let request = $crate::calls::Request::<ARGUMENTS, __Transport>::new(
                        &INTERFACE, NUMBER, words,
                    );
                    let words = $crate::calls::Transport::call::<ARGUMENTS, RESULT>(
                        &mut self.0, request,
                    );
                    $(
                        <$type as $crate::calls::Argument<'_>>::sent($argument, &mut self.0);
                    )*
                    // A type that cannot cross is first met here, and below: the compiler then says
                    // so once, at the type.
                    let _ = <$crate::result_type!($($result)?) as $crate::calls::Returned<'_>>::KIND;
                    $crate::calls::Transport::reply::<$crate::result_type!($($result)?)>(
                        &mut self.0, &words,
                    )
                }
            )*
        }

        #[doc = concat!("Answers calls by anything that is a [`", stringify!($trait), "`].")]
        #[derive(Clone, Copy, Debug, Default)]
        $visibility struct Server<S>(pub S);

        impl<__Implementor: $trait> $crate::calls::Serve for Server<__Implementor> {
            const INTERFACE: &'static $crate::calls::Interface = &INTERFACE;

            #[inline]
            fn serve<__Memory: $crate::calls::Memory>(
                &mut self,
                method: u32,
                words: &mut [u64; $crate::calls::WORDS_MAX],
                memory: &mut __Memory,
            ) -> ::core::result::Result<usize, $crate::calls::Malformed> {
                $(
                    if method == const { INTERFACE.place(stringify!($method)) } {
                        const METHOD: &$crate::calls::Method =
                            &INTERFACE.methods[INTERFACE.place(stringify!($method)) as usize];
                        let _ = <
                            $crate::result_type!($($result)?) as $crate::calls::Returned<'_>
                        >::KIND;
                        #[allow(unused_mut, unused_variables, reason = "not for every signature")]
                        let mut from = $crate::calls::Reader::new(&words[..]);
                        #[allow(unused_mut, reason = "not for every signature")]
                        let mut hold = || {
                            ::core::result::Result::Ok::<_, $crate::calls::Malformed>(($(
                                <$type as $crate::calls::Argument<'_>>::hold::<__Memory>(
                                    &mut from, memory,
                                ).map_err(|malformed| malformed.of(stringify!($argument)))?,
                            )*))
                        };
                        #[allow(unused_mut, reason = "not for every signature")]
                        #[allow(clippy::let_unit_value, reason = "of a call without arguments")]
                        let ($(mut $argument,)*) = match hold() {
                            ::core::result::Result::Ok(held) => held,
                            ::core::result::Result::Err(malformed) => {
                                return $crate::calls::refuse::<
                                    $crate::result_type!($($result)?), __Memory,
                                >(malformed, words, memory);
                            }
                        };
                        let space = if const { METHOD.result.has_bytes() } {
                            (from.take(), from.take())
                        } else {
                            (0, 0)
                        };
                        let result = $trait::$method(
                            &mut self.0,
                            $(<$type as $crate::calls::Argument<'_>>::lend::<__Memory>(&mut $argument),)*
                        );
                        let mut to = $crate::calls::Writer::new(&mut words[..]);
                        let give = <
                            $crate::result_type!($($result)?) as $crate::calls::Returned<'_>
                        >::give::<__Memory>;
                        #[allow(unused_mut, reason = "not for every signature")]
                        let mut given = give(result, memory, space, &mut to);
                        $(
                            if given.is_ok() {
                                given = <$type as $crate::calls::Argument<'_>>::release::<__Memory>(
                                    $argument, memory,
                                ).map_err(|malformed| malformed.of(stringify!($argument)));
                            }
                        )*
                        return match given {
                            ::core::result::Result::Ok(()) => {
                                ::core::result::Result::Ok(const { METHOD.result.words() })
                            }
                            ::core::result::Result::Err(malformed) => $crate::calls::refuse::<
                                $crate::result_type!($($result)?), __Memory,
                            >(malformed, words, memory),
                        };
                    }
                )*
                ::core::result::Result::Err(
                    $crate::calls::Malformed::call($crate::calls::Refusal::Unknown),
                )
            }
        }
    };
}

/// Defines a struct that crosses field by field, as an argument or a result of
/// [`hypercalls!`](crate::hypercalls).
///
/// ```
/// abi::record! {
///     /// A place on the screen.
///     #[derive(Debug, Default, PartialEq)]
///     pub struct Point {
///         /// To the right.
///         pub x: i32,
///         /// Downwards.
///         pub y: i32,
///     }
/// }
/// ```
///
/// Its fields are integers, `bool`, arrays of these, and other such structs, each public. It is
/// `Copy`, and takes the words of its fields, one behind the other.
#[macro_export]
macro_rules! record {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $(
                $(#[$of_field:meta])*
                pub $field:ident: $type:ty
            ),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy)]
        $visibility struct $name {
            $(
                $(#[$of_field])*
                pub $field: $type,
            )*
        }

        impl $crate::calls::Fixed for $name {
            const KIND: $crate::calls::Kind =
                $crate::calls::Kind::Struct(&$crate::calls::Struct {
                    name: stringify!($name),
                    fields: &[$(
                        (stringify!($field), <$type as $crate::calls::Fixed>::KIND),
                    )*],
                });

            #[inline(always)]
            fn store(self, to: &mut $crate::calls::Writer<'_>) {
                $(<$type as $crate::calls::Fixed>::store(self.$field, to);)*
            }

            #[inline(always)]
            fn load(
                from: &mut $crate::calls::Reader<'_>,
            ) -> ::core::result::Result<Self, $crate::calls::Malformed> {
                ::core::result::Result::Ok(Self {
                    $($field: <$type as $crate::calls::Fixed>::load(from)?,)*
                })
            }
        }
    };
}

/// A function's result type, `()` where it says none.
#[doc(hidden)]
#[macro_export]
macro_rules! result_type {
    () => {
        ()
    };
    ($type:ty) => {
        $type
    };
}
