//! Entry point of `parmanu`.
fn main() {}
