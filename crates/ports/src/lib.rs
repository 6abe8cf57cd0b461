//! The traits between the core and the outside: Emitter, ExecutorControl, Provider, Store, Clock.
#![forbid(unsafe_code)]
