//! The cloud: this very program, started by the provider of kind `command` for each call. It hands the request to the bench,
//! which keeps the machines, and its answer back.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ports::Clock as _;
use serde_json::{Value, json};
use telemetry::SystemClock;

/// What the cloud has made, and when it was asked to.
#[derive(Default)]
pub(crate) struct Cloud {
    machines: Vec<Value>,
    /// When each pool had its first machine made, on the clock's boot time.
    asked: BTreeMap<String, Duration>,
    /// Machines that nobody has switched on yet.
    new: Vec<New>,
    /// Lists that were answered.
    pub(crate) lists: u64,
}

/// A machine that was made and has not booted yet.
pub(crate) struct New {
    pub(crate) pool: String,
    pub(crate) name: String,
    /// Its boot script: the runner's token, and nothing else.
    pub(crate) script: String,
}

impl Cloud {
    pub(crate) fn machines(&self) -> usize {
        self.machines.len()
    }

    /// When a pool had its first machine made.
    pub(crate) fn asked(&self, pool: &str) -> Option<Duration> {
        self.asked.get(pool).copied()
    }

    /// Machines that were made since this was called last.
    pub(crate) fn boots(&mut self) -> Vec<New> {
        std::mem::take(&mut self.new)
    }

    fn answer(&mut self, request: &Value) -> Value {
        match request["verb"].as_str().unwrap() {
            "describe" => {
                json!({ "version": 1, "verbs": ["describe", "list", "create", "delete"] })
            }
            "list" => {
                self.lists += 1;
                json!({ "version": 1, "machines": self.machines })
            }
            "create" => {
                let names = request["names"].as_array().unwrap();
                let outcomes: Vec<Value> = names
                    .iter()
                    .map(|name| self.create(name, request))
                    .collect();
                json!({ "version": 1, "outcomes": outcomes })
            }
            verb => {
                json!({ "version": 1, "error": { "kind": "invalid_request", "message": verb } })
            }
        }
    }

    fn create(&mut self, name: &Value, request: &Value) -> Value {
        let pool = request["tags"]["parmanu-pool"].as_str().unwrap();
        self.asked
            .entry(pool.to_owned())
            .or_insert_with(|| SystemClock.boottime());
        let machine = json!({
            "name": name, "id": name, "state": "running", "tags": request["tags"],
            "created_at": SystemClock.now().to_string(),
        });
        self.machines.push(machine.clone());
        self.new.push(New {
            pool: pool.to_owned(),
            name: name.as_str().unwrap().to_owned(),
            script: request["user_data"].as_str().unwrap().to_owned(),
        });
        json!({ "name": name, "outcome": "done", "machine": machine })
    }
}

/// What a lock protects stays whole here: no thread panics with it in hand and goes on.
pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cloud's program: hands one request to the bench and its reply back.
pub(crate) fn pass_on(address: &str) {
    let mut request = Vec::new();
    std::io::stdin().read_to_end(&mut request).unwrap();
    let mut bench = TcpStream::connect(address).unwrap();
    bench.write_all(&request).unwrap();
    bench.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    bench.read_to_end(&mut reply).unwrap();
    std::io::stdout().write_all(&reply).unwrap();
}

/// Answers the cloud's programs, at the address that is given back.
pub(crate) fn serve(cloud: Arc<Mutex<Cloud>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).unwrap();
            let request: Value = serde_json::from_slice(&request).unwrap();
            let reply = lock(&cloud).answer(&request);
            stream.write_all(reply.to_string().as_bytes()).unwrap();
        }
    });
    address
}
