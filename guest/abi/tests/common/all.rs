//! An interface of all kinds, each argument coming back as the result.

use abi::calls::Refusal;

abi::record! {
    /// A point.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Point {
        /// To the right.
        pub x: i32,
        /// Upwards.
        pub y: i8,
    }
}

abi::record! {
    /// A record of records and arrays.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub(crate) struct Shape {
        /// Whether it is filled.
        pub filled: bool,
        /// Its corners.
        pub corners: [Point; 2],
        /// Its colour.
        pub colour: [u8; 3],
    }
}

abi::hypercalls! {
    /// All kinds.
    pub(crate) trait All {
        fn u8(&mut self, value: u8) -> u8;
        fn u16(&mut self, value: u16) -> u16;
        fn u32(&mut self, value: u32) -> u32;
        fn u64(&mut self, value: u64) -> u64;
        fn i8(&mut self, value: i8) -> i8;
        fn i16(&mut self, value: i16) -> i16;
        fn i32(&mut self, value: i32) -> i32;
        fn i64(&mut self, value: i64) -> i64;
        fn bool(&mut self, value: bool) -> bool;
        fn unit(&mut self, value: ());
        fn array(&mut self, value: [i16; 4]) -> [i16; 4];
        fn empty_array(&mut self, value: [u64; 0]) -> [u64; 0];
        fn twelve(&mut self, value: [u64; 12]) -> [u64; 12];
        fn record(&mut self, value: Shape) -> Shape;
        fn text(&mut self, value: &str) -> &str;
        fn bytes(&mut self, value: &[u8]) -> &[u8];
        fn reversed(&mut self, first: &mut [u8], second: &mut [u8]) -> u64;
        fn option(&mut self, value: Option<Point>) -> Option<Point>;
        fn option_text(&mut self, value: Option<&str>) -> Option<&str>;
        fn option_mut(&mut self, value: Option<&mut [u8]>) -> u64;
        fn result(&mut self, value: Result<u16, Point>) -> Result<u16, Point>;
        fn result_bytes(&mut self, value: Result<&[u8], bool>) -> Result<&[u8], bool>;
        fn either(&mut self, value: Result<&str, &[u8]>) -> Result<&str, &[u8]>;
        fn nested(
            &mut self,
            value: Option<Result<Option<u8>, Result<&str, i8>>>,
        ) -> Option<Result<Option<u8>, Result<&str, i8>>>;
        fn refusable(&mut self, value: bool) -> Result<bool, Refusal>;
        fn refusable_text(&mut self, value: &str) -> Result<&str, Refusal>;
        fn refusal(&mut self, value: Refusal) -> Refusal;
    }
}

/// Gives back what it is given.
#[derive(Default)]
pub(crate) struct Echo {
    text: String,
    bytes: Vec<u8>,
}

impl Echo {
    fn keep(&mut self, text: &str) -> &str {
        self.text = text.to_owned();
        &self.text
    }

    fn keep_bytes(&mut self, bytes: &[u8]) -> &[u8] {
        self.bytes = bytes.to_vec();
        &self.bytes
    }
}

macro_rules! echo {
    ($($name:ident: $type:ty)*) => {$(
        fn $name(&mut self, value: $type) -> $type {
            value
        }
    )*};
}

impl All for Echo {
    echo! {
        u8: u8 u16: u16 u32: u32 u64: u64 i8: i8 i16: i16 i32: i32 i64: i64 bool: bool
        array: [i16; 4] empty_array: [u64; 0] twelve: [u64; 12] record: Shape
        option: Option<Point> result: Result<u16, Point> refusal: Refusal
    }

    fn unit(&mut self, (): ()) {}

    fn text(&mut self, value: &str) -> &str {
        self.keep(value)
    }

    fn bytes(&mut self, value: &[u8]) -> &[u8] {
        self.keep_bytes(value)
    }

    fn reversed(&mut self, first: &mut [u8], second: &mut [u8]) -> u64 {
        first.reverse();
        second.reverse();
        (first.len() * 100 + second.len()) as u64
    }

    fn option_text(&mut self, value: Option<&str>) -> Option<&str> {
        value.map(|text| self.keep(text))
    }

    fn option_mut(&mut self, value: Option<&mut [u8]>) -> u64 {
        value.map_or(u64::MAX, |bytes| {
            bytes.fill(b'!');
            bytes.len() as u64
        })
    }

    fn result_bytes(&mut self, value: Result<&[u8], bool>) -> Result<&[u8], bool> {
        value.map(|bytes| self.keep_bytes(bytes))
    }

    fn either(&mut self, value: Result<&str, &[u8]>) -> Result<&str, &[u8]> {
        match value {
            Ok(text) => Ok(self.keep(text)),
            Err(bytes) => Err(self.keep_bytes(bytes)),
        }
    }

    fn nested(
        &mut self,
        value: Option<Result<Option<u8>, Result<&str, i8>>>,
    ) -> Option<Result<Option<u8>, Result<&str, i8>>> {
        value.map(|it| it.map_err(|it| it.map(|text| self.keep(text))))
    }

    fn refusable(&mut self, value: bool) -> Result<bool, Refusal> {
        Ok(value)
    }

    fn refusable_text(&mut self, value: &str) -> Result<&str, Refusal> {
        Ok(self.keep(value))
    }
}
