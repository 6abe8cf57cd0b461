//! YAML text to validated settings and policies; every error with file, line, column and a suggestion.
#![forbid(unsafe_code)]
