"""The contract between Parmanu and a program (`kind: command`), version 1, for programs in Python.

Copy this file beside your program and call `serve`. It reads the request, calls one function of yours for each machine, some
at a time, and writes the reply. What it takes care of:

- A machine is `failed` only if your function says so by raising `Failure`. Whatever else it raises leaves the machine
  `unknown`: then it counts as existing until a listing says otherwise.
- When the time of the request is over the program ends, with all that it started, also when nobody is left to end it.
- What you log goes to Parmanu's log. The boot script and secrets in the environment are not yours to log.

Python 3.9 or later, and nothing else. The whole contract: docs/providers/command.md.
"""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import traceback

VERSION = 1
# how long a new machine of a program that died half-way counts as being made
FRESH_SECONDS = 30


class Failure(Exception):
    """It was not done, certainly, and nothing is left of the attempt. The kinds are those of the contract."""

    def __init__(self, kind, message, retry_after_seconds=None):
        super().__init__(message)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds

    def shown(self):
        error = {"kind": self.kind, "message": str(self)}
        if self.retry_after_seconds is not None:
            error["retry_after_seconds"] = self.retry_after_seconds
        return error


class Refused(Exception):
    """Another program said no: its words, for you to say what they mean."""

    def __init__(self, arguments, code, words):
        super().__init__(f"{arguments[0]}: {words or f'ended with {code}'}")
        self.words = words


def log(message, level=6):
    """One line for Parmanu's log: level 4 is a warning, 6 information, 7 for those who search for something."""
    print(f"<{level}>{message}", file=sys.stderr, flush=True)


def run(*arguments, stdin=None):
    """Runs another program and gives its output; raises `Refused` if that says no. Its language is English."""
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, env=env, errors="replace")
    if done.returncode != 0:
        words = " ".join(done.stderr.split()) or " ".join(done.stdout.split())
        raise Refused(arguments, done.returncode, words)
    return done.stdout


def is_ours(tags, fleet):
    """Whether these are the tags of a machine of this fleet. No other machine may be listed, changed or deleted."""
    return tags.get("parmanu-fleet") == fleet


def serve(*, list, create, delete, renew=None, console=None, parallel=4):
    """Answers the one request on standard input.

    list(request) gives the machines of `request["fleet"]` and what could not be seen, both as lists. create(request, name)
    gives the machine that was made, or found. delete(request, machine) and renew(request, machine) give nothing; a machine that is
    gone already is no failure. console(request) gives the end of what the machine printed, or None.
    """
    request = json.load(sys.stdin)
    if request.get("version") != VERSION:
        sys.exit(f"this program speaks version {VERSION} of the contract")
    end_in(request.get("seconds", 60))
    verbs = {"describe": None, "list": list, "create": create, "delete": delete, "renew": renew, "console": console}
    verb = request["verb"]
    try:
        if verb == "describe":
            reply = {"verbs": [name for name, function in verbs.items() if function or name == "describe"]}
        elif verbs.get(verb) is None:
            raise Failure("invalid_request", f"this program does not know the verb {verb}")
        elif verb == "list":
            machines, unknown = list(request)
            reply = {"machines": machines, "unknown": unknown}
        elif verb == "console":
            reply = {"console": console(request)}
        else:
            reply = {"outcomes": each(request, verbs[verb], parallel)}
    except Failure as failure:
        reply = {"error": failure.shown()}
    json.dump({"version": VERSION, **reply}, sys.stdout)
    sys.stdout.flush()


def each(request, function, parallel):
    """Calls the function for each machine of the request, some at a time, and tells how each fared."""
    creates = request["verb"] == "create"
    machines = request["names"] if creates else request["machines"]

    def fare(machine):
        row = {"name": machine if creates else machine["name"]}
        try:
            made = function(request, machine)
            return {**row, "outcome": "done", **({"machine": made} if creates else {})}
        except Failure as failure:
            return {**row, "outcome": "failed", "error": failure.shown()}
        except Exception as error:
            if not isinstance(error, Refused):
                traceback.print_exc()
            return {**row, "outcome": "unknown", "error": {"kind": "unknown_outcome", "message": str(error)}}

    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        return [*pool.map(fare, machines)]


def end_in(seconds):
    """Ends this program and all that it started when the time is over: whoever asked has lost the right to act by then."""

    def end(_signal, _frame):
        log("the time of the request is over", 4)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    signal.signal(signal.SIGALRM, end)
    signal.alarm(max(1, int(seconds)))
