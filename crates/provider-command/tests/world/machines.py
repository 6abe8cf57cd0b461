"""A cloud in a folder, as a program of the contract: keeps state between runs and refuses what a real one would refuse.

machines.py FOLDER: FOLDER/machines.json holds what exists, FOLDER/log the verbs that were asked for; a test writes into FOLDER/control.json what the next run is to
do. Written without the helper of deploy/command, so that the contract is tested and not the helper.
"""

import fcntl
import json
import os
import sys


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machines, control = load(folder, "machines"), load(folder, "control")
        request = json.load(sys.stdin)
        with open(os.path.join(folder, "log"), "a") as log:
            log.write(request["verb"] + "\n")
        reply = answer(request, machines, control)
        save(folder, "machines", machines)
        save(folder, "control", control)
    if control.pop("lose_now", False):
        save(folder, "control", control)
        sys.exit("the link broke")
    json.dump({"version": 1, **reply}, sys.stdout)


def load(folder, name):
    try:
        with open(os.path.join(folder, name + ".json")) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def save(folder, name, value):
    path = os.path.join(folder, name + ".json")
    with open(path + ".new", "w") as file:
        json.dump(value, file)
    os.replace(path + ".new", path)


def answer(request, machines, control):
    if request["version"] != 1 or not 1 <= request["seconds"] <= 60:
        return error("invalid_request", "that is not version 1")
    verb = request["verb"]
    if verb == "describe":
        return {"verbs": ["describe", "list", "create", "delete", "renew", "console"]}
    if verb == "list":
        return listed(request, machines, control)
    if verb == "create":
        return created(request, machines, control)
    if verb == "console":
        return {"console": machines.get(request["machine"]["id"], {}).get("console")}
    return {"outcomes": [changed(verb, request, one, machines) for one in request["machines"]]}


def listed(request, machines, control):
    blind = control.pop("blind", False)
    # the machines of everybody: to sort them out is the caller's right and duty
    seen = [shown(name, machine) for name, machine in machines.items()]
    return {"machines": seen[1:] if blind else seen, "unknown": ["host-2 does not answer"] if blind else []}


def created(request, machines, control):
    refused = control.pop("refuse", None)
    if refused:
        return error(refused, "refused as it was told to")
    if set(request["spec"]) - {"size"} or request["market"] not in ("on-demand", "spot"):
        return error("invalid_request", "spec: only `size` is known")
    if len(request["token"]) != 64:
        return error("invalid_request", "token")
    if control.pop("lose", False):
        control["lose_now"] = True
    outcomes = []
    for name in request["names"]:
        # a name is taken per fleet, as it would be in a folder of one's own
        id = request["fleet"] + "." + name
        if id not in machines:
            if len(machines) >= control.get("room", 10**6):
                outcomes.append({"name": name, "outcome": "failed", **error("out_of_capacity", "all is full")})
                continue
            console = "booted with %d bytes" % len(request["user_data"])
            machines[id] = {"name": name, "state": "running", "tags": request["tags"], "console": console}
        outcomes.append({"name": name, "outcome": "done", "machine": shown(id, machines[id])})
    return {"outcomes": outcomes}


def changed(verb, request, one, machines):
    machine = machines.get(one["id"])
    done = {"name": one["name"], "outcome": "done"}
    if machine is None:
        return done
    if machine["tags"].get("parmanu-fleet") != request["fleet"] or machine["name"] != one["name"]:
        return {"name": one["name"], "outcome": "failed", **error("invalid_request", "that is somebody else's")}
    if verb == "delete":
        del machines[one["id"]]
    else:
        machine["tags"]["parmanu-expires"] = request["until"]
    return done


def shown(id, machine):
    row = {"id": id, "name": machine["name"], "scope": "host-1", "state": machine["state"], "tags": machine["tags"]}
    return {**row, "notice": machine["notice"]} if "notice" in machine else row


def error(kind, message):
    return {"error": {"kind": kind, "message": message}}


main()
