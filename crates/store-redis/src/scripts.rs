//! The scripts: each verb that writes is one of them, so that checking the lease and writing are one step.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("scripts/prelude.lua"),
                include_str!(concat!("scripts/", $file))
            ))
        });
    };
}

script!(ACQUIRE, "acquire.lua");
script!(RENEW, "renew.lua");
script!(PUT_WORKLOADS, "put_workloads.lua");
script!(PUT_FAILURE, "put_failure.lua");
script!(COMMIT, "commit.lua");
script!(PUT_ORDER, "put_order.lua");
script!(END_ORDER, "end_order.lua");
