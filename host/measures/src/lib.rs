//! What guests measure, and what measurements come to, whoever took them: summaries with intervals,
//! and how busy the machine was beside them.

pub mod statistics;
pub mod machine;
pub mod collect;
mod kept;
mod series;
mod watch;
