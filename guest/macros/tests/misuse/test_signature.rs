#[guest::test]
fn with_arguments(_: u32) {}

#[guest::test]
async fn in_the_future() {}

#[guest::test]
unsafe fn unsafely() {}

#[guest::test]
extern "C" fn as_c() {}

#[guest::test]
fn for_any<T>() {}

#[guest::test]
struct NotAFunction;

fn main() {}
