//! Thousands of leases leave nothing behind. A test of its own, since it looks at all that the
//! process has.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "common/keeper.rs"]
mod keeper;
#[path = "common/lent.rs"]
mod lent;
#[path = "../../soak/src/resources.rs"]
mod resources;

use keeper::Client;
use lent::{pool, swap};
use pool::{Pool, Wait};
use resources::Resources;
use std::thread;

/// `PORTCALL_LEASES` makes it more.
const LEASES: u64 = 5000;

fn leases(pool: &Pool, count: u64) {
    thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || {
                for round in 0..count / 2 {
                    let mut vm = pool.take(Wait::Forever).expect("one comes back");
                    assert_eq!(swap(&mut vm, 1 + round), 0);
                    match round % 500 {
                        100 => assert!(Client(vm.door()).fault().is_err()),
                        200 => vm.stopper().stop(),
                        300 if thread == 0 => {
                            vm.give_up();
                        }
                        _ => {}
                    }
                }
            });
        }
    });
}

#[test]
fn thousands_of_leases_leave_nothing_behind() {
    let count = std::env::var("PORTCALL_LEASES");
    let count = count.map_or(LEASES, |count| count.parse().expect("a number"));
    let pool = pool(2, 3);
    let settled = || {
        // All that there may be are there, each of them used.
        let all: Vec<_> = (0..3).map(|_| pool.take(Wait::Never).expect("there is room")).collect();
        drop(all);
        Resources::now().expect("/proc")
    };
    leases(&pool, 2000);
    let before = settled();
    leases(&pool, count);
    let after = settled();
    println!("before: {before}\nafter:  {after}\n{:?}", pool.counts());
    after.no_more_than(&before).expect("nothing stays behind");
}
