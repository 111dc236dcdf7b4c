//! What the guest is made of, tested on bare metal: each test is a VM of its own.

#![no_std]
#![no_main]

guest::tests!();

#[guest::test]
fn text_is_formatted_without_a_heap() {
    use core::fmt::Write;

    struct Counter(usize);
    impl Write for Counter {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let (mut counter, name, points) = (Counter(0), "Ada", 3);
    assert!(write!(counter, "{name} has {points}").is_ok());
    assert_eq!(counter.0, "Ada has 3".len());
}
