#[guest::fuzz]
fn without_an_input() {}

#[guest::fuzz]
fn with_two(_: &[u8], _: u32) {}

#[guest::fuzz]
fn with_a_result(_: &[u8]) -> Result<(), u8> {
    Err(1)
}

#[guest::fuzz]
fn of_another_type(_: &str) {}

#[guest::fuzz]
async fn in_the_future(_: &[u8]) {}

#[guest::fuzz]
fn for_any<T>(_: &[u8]) {}

#[guest::fuzz(runs = 7)]
fn with_an_option(_: &[u8]) {}

fn main() {}
