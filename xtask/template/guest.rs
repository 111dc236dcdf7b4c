//! A scoreboard on the host: a call with a text and a number is one exit.

#![no_std]
#![no_main]

use calls::{{module}};
use guest::{Boot, println};

guest::entry!(main, calls = [{{module}}]);

fn main(_: &Boot) {
    let mut board = {{module}}::Client(guest::Out);
    for (player, points) in [("Ada", 3), ("Bob", 5), ("Ada", 4)] {
        println!("{player} has {}", board.score(player, points));
    }
}
