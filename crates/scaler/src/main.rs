//! Entry point of `scaler`.
fn main() {}
