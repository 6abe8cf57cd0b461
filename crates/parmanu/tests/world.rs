//! `parmanu world` by itself: it says where it is, answers there, and ends when it is told to.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

fn world(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parmanu"));
    command.arg("world").args(arguments);
    command
}

/// Ends the process, however the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_says_where_it_is_answers_there_and_ends_on_sigterm() {
    let mut started = world(&["--gitlab", "127.0.0.1:0", "--ec2", "127.0.0.1:0"]);
    let mut process = Ended(started.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let mut places = first.split("http://").skip(1);
    let mut place = || places.next().unwrap().split(',').next().unwrap().to_owned();
    let (gitlab, ec2) = (place(), place());

    let health = |gitlab: &str, ec2: &str| {
        let mut asked = world(&["--health", "--gitlab", gitlab, "--ec2", ec2]);
        asked.output().unwrap()
    };
    let good = health(&gitlab, &ec2);
    assert!(good.status.success(), "{good:?}");
    // port 9 discards what it is sent, where anybody listens at all
    let bad = health(&gitlab, "127.0.0.1:9");
    let words = String::from_utf8_lossy(&bad.stderr);
    assert!(
        !bad.status.success() && words.contains("the EC2 at 127.0.0.1:9"),
        "{words}"
    );

    let id = process.0.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(process.0.wait().unwrap().success(), "{rest:?}");
    assert!(
        rest.iter().any(|line| line.contains("0 killed")),
        "{rest:?}"
    );
}
