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
use std::time::Duration;

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

/// All VMs that there may be are there, each of them used; and the kernel, which takes its time to
/// be done with threads that have ended, is.
fn settled(pool: &Pool) -> Resources {
    let all: Vec<_> = (0..3).map(|_| pool.take(Wait::Never).expect("there is room")).collect();
    drop(all);
    let mut last = Resources::now().expect("/proc");
    let mut alike = 0;
    for _ in 0..500 {
        thread::sleep(Duration::from_millis(20));
        let now = Resources::now().expect("/proc");
        alike = if now.no_more_than(&last).is_ok() { alike + 1 } else { 0 };
        last = now;
        if alike == 10 {
            break;
        }
    }
    last
}

#[test]
fn thousands_of_leases_leave_nothing_behind() {
    let count = std::env::var("PORTCALL_LEASES");
    let count = count.map_or(LEASES, |count| count.parse().expect("a number"));
    let pool = pool(2, 3);
    leases(&pool, 2000);
    let before = settled(&pool);
    leases(&pool, count);
    let after = settled(&pool);
    println!("before: {before}\nafter:  {after}\n{:?}", pool.counts());
    after.no_more_than(&before).expect("nothing stays behind");
}
