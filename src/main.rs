//! The `flow-router` program.

fn main() {}
