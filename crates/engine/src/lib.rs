//! plan(observation, policy, now) -> Plan: the pure heart of Parmanu.
#![forbid(unsafe_code)]
