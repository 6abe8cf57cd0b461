//! GitLab: queued jobs, runners, and the control verbs of a runner.
#![forbid(unsafe_code)]
