#!/usr/bin/env python3
"""Machines of LXD or Incus for Parmanu's `kind: command`, by the client `lxc`.

For whoever has `lxc` set up and working already, and as an example of a whole program: Parmanu's own `kind: lxd` does the same
without a process for each call. In each run of Parmanu's tests it passes the same suite on a real LXD.

Needs parmanu_command.py beside it. Environment (`env:` of the provider):
  PARMANU_LXD_CLIENT   the client; `lxc` if absent (`incus` for Incus)
  PARMANU_LXD_REMOTE   a remote of the client; its default if absent
  PARMANU_LXD_PROJECT  the project; `default` if absent. One with limits keeps builds from taking the whole host
  LXD_CONF, LXD_SOCKET, LXD_DIR   as the client knows them
`spec` of an offer: image (alias; required), type (container or virtual-machine), profiles (list), config and devices (objects).
"""

import datetime
import json
import os
import time
import urllib.parse

from parmanu_command import FRESH_SECONDS, Failure, Refused, is_ours, run, serve

CLIENT = os.environ.get("PARMANU_LXD_CLIENT", "lxc")
REMOTE = os.environ.get("PARMANU_LXD_REMOTE", "")
PROJECT = os.environ.get("PARMANU_LXD_PROJECT", "default")
MARK = "user.parmanu-"
# a machine that was killed is busy with LXD's own clean-up for half a second
BUSY_TRIES, BUSY_PAUSE = 20, 0.25
OPTIONS = {"image": str, "type": str, "profiles": list, "config": dict, "devices": dict}


def query(method, path, body=None, **parameters):
    """One call of LXD's API, to the end of its operation."""
    text = "?" + urllib.parse.urlencode({**parameters, "project": PROJECT})
    place = f"{REMOTE}:/1.0/{path}{text}" if REMOTE else f"/1.0/{path}{text}"
    data = ["-d", json.dumps(body)] if body is not None else []
    answer = run(CLIENT, "query", "--wait", "-X", method, *data, place)
    return json.loads(answer) if answer.strip() else None


def place(name):
    return f"{REMOTE}:{name}" if REMOTE else name


def look(name):
    """One instance, or None if it is certainly not there."""
    try:
        return query("GET", f"instances/{name}")
    except Refused as refused:
        if "not found" in refused.words.lower():
            return None
        raise


def tags(seen):
    return {key[len("user.") :]: value for key, value in seen["config"].items() if key.startswith(MARK)}


def was_started(seen):
    # LXD writes the year 1970 until then
    return not seen.get("last_used_at", "1970").startswith("1970")


def is_fresh(seen):
    # by LXD's clock and this host's, which should agree to some seconds
    made = datetime.datetime.fromisoformat(seen["created_at"][:19] + "+00:00")
    return (datetime.datetime.now(datetime.timezone.utc) - made).total_seconds() < FRESH_SECONDS


def machine(seen):
    word = seen["status"].lower()
    # between its creation and its first start a machine is listed as stopped, and a stopped one may be deleted
    unstarted = word == "stopped" and not was_started(seen) and is_fresh(seen)
    states = {"starting": "pending", "aborting": "stopping"}
    location = seen.get("location", "")
    return {
        "name": seen["name"],
        "id": seen["name"],
        "scope": location if location not in ("", "none") else "lxd",
        "state": "pending" if unstarted else states.get(word, word),
        "created_at": seen["created_at"],
        "tags": tags(seen),
    }


def list_machines(request):
    try:
        seen = query("GET", "instances", recursion=1)
    except Refused as refused:
        raise meaning(refused) from refused
    return [machine(one) for one in seen if is_ours(tags(one), request["fleet"])], []


def create(request, name):
    try:
        busy_again(lambda: make(request, name))
    except Refused as refused:
        if "already exists" not in refused.words:
            raise meaning(refused) from refused
        seen = look(name)
        if seen is None:
            raise RuntimeError("it existed when it was to be created, and does not any more") from refused
        if not is_ours(tags(seen), request["fleet"]):
            message = f"an instance called {name} is there already and is not this fleet's; it is left alone"
            raise Failure("invalid_request", message) from refused
        # whoever powered it off meant it; only what never ran is still to be started
        if seen["status"] != "Stopped" or was_started(seen):
            return machine(seen)
    try:
        query("PUT", f"instances/{name}/state", {"action": "start", "timeout": 45})
    except Refused as refused:
        if "already running" not in refused.words:
            # whether something is left is known only when it was deleted again; if that fails too, it is unknown
            erase(name, may_stop=True)
            raise Failure(meaning(refused).kind, f"it was created and did not start: {refused.words}") from refused
    return machine(query("GET", f"instances/{name}"))


def make(request, name):
    """Creates an instance. Its configuration goes over standard input, for arguments can be read by every user of the host."""
    spec = request["spec"]
    for key, value in spec.items():
        if not isinstance(value, OPTIONS.get(key, ())):
            raise Failure("invalid_request", f"spec: `{key}` is not known, or not what it should be")
    if "image" not in spec:
        raise Failure("invalid_request", "spec: name an image by its alias")
    image = spec["image"] if ":" in spec["image"] else place(spec["image"])
    options = ["--vm"] if spec.get("type") == "virtual-machine" else []
    if "profiles" in spec:
        profiles = [option for profile in spec["profiles"] for option in ("--profile", profile)]
        options += profiles or ["--no-profiles"]
    marks = {"user." + key: value for key, value in request["tags"].items()}
    config = {**spec.get("config", {}), **marks, "user.user-data": request["user_data"]}
    # JSON is YAML
    text = json.dumps({"config": config, "devices": spec.get("devices", {})})
    run(CLIENT, "init", image, place(name), "--project", PROJECT, *options, stdin=text)


def delete(request, asked):
    seen = look(asked["id"])
    if seen is None:
        return
    if not is_ours(tags(seen), request["fleet"]) or seen["name"] != asked["name"]:
        raise Failure("invalid_request", f"{asked['id']} is not this fleet's machine {asked['name']}; it is left alone")
    # what was listed as powered off may have been started since, and have a job
    erase(asked["id"], may_stop=asked["state"] != "stopped")


def erase(name, may_stop):
    """Deletes it, and stops by force what runs, where it may. What is gone already is no failure."""

    def once():
        try:
            query("DELETE", f"instances/{name}")
        except Refused as refused:
            if "not found" in refused.words.lower():
                return
            if "is running" not in refused.words:
                raise
            if not may_stop:
                message = f"{name} was powered off when it was listed, and runs now: it is left alone"
                raise Failure("unavailable", message) from refused
            stop(name)
            query("DELETE", f"instances/{name}")

    busy_again(once)


def stop(name):
    try:
        query("PUT", f"instances/{name}/state", {"action": "stop", "force": True, "timeout": 30})
    except Refused as refused:
        if "already stopped" not in refused.words:
            raise


def busy_again(function):
    """Calls it again while LXD is busy with the same instance, for some seconds."""
    for _ in range(BUSY_TRIES - 1):
        try:
            return function()
        except Refused as refused:
            if "is busy" not in refused.words:
                raise
        time.sleep(BUSY_PAUSE)
    return function()


def renew(request, asked):
    seen = look(asked["id"])
    if seen is None:
        return
    if not is_ours(tags(seen), request["fleet"]):
        raise Failure("invalid_request", f"{asked['id']} is not this fleet's any more")
    query("PATCH", f"instances/{asked['id']}", {"config": {MARK + "expires": request["until"]}})


def meaning(refused):
    """LXD's words as the contract's kinds. Its status tells little: a used-up quota is a 500, a missing image a 404."""
    words = refused.words
    low = words.lower()
    for kind, parts in {
        "quota_exceeded": ["reached maximum"],
        "out_of_capacity": ["no space left", "not enough space", "cannot allocate memory", "quota exceeded"],
        "unauthorized": ["not authorized", "forbidden", "certificate"],
        "unreachable": ["connection refused", "no such host", "dial unix", "i/o timeout"],
        "unknown_outcome": ["eof", "connection reset", "broken pipe"],
    }.items():
        if any(part in low for part in parts):
            return Failure(kind, words)
    return Failure("invalid_request", words)


if __name__ == "__main__":
    serve(list=list_machines, create=create, delete=delete, renew=renew)
