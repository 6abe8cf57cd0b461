//! Redis: the only code that knows keys, scripts, formats and expiry.
#![forbid(unsafe_code)]
