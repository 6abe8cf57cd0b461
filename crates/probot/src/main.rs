//! Entry point of `probot`.
fn main() {}
