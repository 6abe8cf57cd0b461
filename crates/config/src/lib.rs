//! The configuration: YAML text in, validated [`Settings`] out, or *all* that is wrong with it at once.
//!
//! Strict: an unknown key, a bad reference or an impossible limit is reported with file, line, column, the offending
//! text underlined and a suggestion. Secrets stay references here and are never printed. The JSON Schema that editors
//! use is made from the same types ([`schema`]).
//!
//! - `yaml.rs` reads one text, `load.rs` several files into one document, `validate/` (a module per section) makes settings of it;
//! - `locate.rs` finds where a path stands in the text, `diagnostic.rs` shows it, `redact.rs` keeps secrets out of it;
//! - `template.rs` reads boot scripts and the parts that they include;
//! - `raw.rs` has the keys that belong to no plugin, `schema.rs` makes the JSON Schema of them and the plugins' keys;
//! - `trace.rs` tells whether any of the files reads otherwise than before.
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
mod template;
mod trace;
mod validate;
mod words;
mod yaml;

pub use diagnostic::{Diagnostic, Report};
pub use load::{LoadError, Registries, check_text, load};
pub use schema::schema;
pub use settings::{EmitterSettings, PoolSettings, ProviderSettings, Settings, StoreSettings};
pub use template::Template;
pub use trace::Trace;
