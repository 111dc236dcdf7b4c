#[guest::test(time = "2s")]
fn unknown() {}

#[guest::test(timeout = "2 hours")]
fn no_time() {}

#[guest::test(timeout = 2)]
fn no_text() {}

#[guest::test(timeout = "1s", timeout = "2s")]
fn twice() {}

#[guest::test]
#[ignore(why)]
fn ignored_otherwise() {}

#[guest::test]
#[ignore = 1]
fn ignored_for_a_number() {}

#[guest::test]
#[should_panic(text = "a")]
fn another_key() {}

#[guest::test]
#[should_panic()]
fn no_key() {}

#[guest::test]
#[should_panic]
fn panics_with_a_result() -> Result<(), ()> {
    Ok(())
}

fn main() {}
