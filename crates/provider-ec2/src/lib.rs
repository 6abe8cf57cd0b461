//! EC2 through the AWS SDK (feature sdk); the typed configuration alone without it.
#![forbid(unsafe_code)]
