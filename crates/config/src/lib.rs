//! The configuration: YAML text in, validated [`Settings`] out, or *all* that is wrong with it at once.
//!
//! Strict: an unknown key, a bad reference or an impossible limit is reported with file, line, column, the offending
//! text underlined and a suggestion. Secrets stay references here and are never printed. The JSON Schema that editors
//! use is made from the same types ([`schema`]).
//!
//! This crate knows no plugin: the registries bring each plugin's own keys. It does not watch files and does not
//! connect anywhere.
#![forbid(unsafe_code)]

mod diagnostic;
mod load;
mod locate;
mod raw;
mod redact;
mod schema;
mod settings;
mod validate;
mod words;
mod yaml;

pub use diagnostic::{Diagnostic, Report};
pub use load::{LoadError, Registries, check_text, load};
pub use schema::schema;
pub use settings::{
    EmitterSettings, PoolSettings, ProviderSettings, Settings, StoreSettings, Template,
};
