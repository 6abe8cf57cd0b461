#!/usr/bin/env python3
"""Virtual machines of vSphere for Parmanu's `kind: command`, by `govc`.

NOT TESTED: nobody has run this against a vCenter. It is written from govc's own documentation, as a beginning for somebody who has
one. Try it by hand first (docs/providers/command.md, "Testing a program"), with a user who may do nothing outside of one folder.

A machine is a clone of a template, called FLEET.NAME, in one folder. Whose it is stands in its notes, which the call that clones
it sets. The boot script goes over guestinfo, where cloud-init's VMware data source finds it.

Needs parmanu_command.py beside it, and govc 0.30 or later. Environment (`env:` of the provider):
  GOVC_URL, GOVC_USERNAME, GOVC_PASSWORD, GOVC_DATACENTER, ...   as govc knows them
  PARMANU_GOVC_FOLDER   the folder of the machines, such as /dc1/vm/ci. Nothing outside of it is ever looked at
`spec` of an offer: template (required), snapshot (of the template: makes linked clones), cpus, memory_mib, network, datastore,
datastore_cluster, cluster, pool, host.
"""

import base64
import datetime
import json
import os
import tempfile

from parmanu_command import FRESH_SECONDS, Failure, Refused, is_ours, run, serve

FOLDER = os.environ.get("PARMANU_GOVC_FOLDER", "")
MARK = "parmanu"
CREATED = "created"
OPTIONS = {
    "template": ("-vm", str),
    "snapshot": ("-snapshot", str),
    "cpus": ("-c", int),
    "memory_mib": ("-m", int),
    "network": ("-net", str),
    "datastore": ("-ds", str),
    "datastore_cluster": ("-datastore-cluster", str),
    "cluster": ("-cluster", str),
    "pool": ("-pool", str),
    "host": ("-host", str),
}


def govc(*arguments):
    return run("govc", *arguments)


def paths(pattern):
    """The inventory paths of the machines in the folder whose names fit."""
    if not FOLDER:
        raise Failure("invalid_request", "name the folder of the machines in PARMANU_GOVC_FOLDER")
    return govc("find", FOLDER, "-type", "m", "-name", pattern).splitlines()


def info(some):
    """What vCenter says of these machines; of one that has gone meanwhile it says nothing."""
    if not some:
        return []
    found = json.loads(govc("vm.info", "-json", *some)).get("virtualMachines") or []
    return [seen for seen in found if not (seen.get("config") or {}).get("template")]


def look(full):
    """One machine with its path, or None twice if it is certainly not there."""
    found = paths(full)
    seen = info(found)
    return (found[0], seen[0]) if found and seen else (None, None)


def tags(seen):
    try:
        kept = json.loads((seen.get("config") or {}).get("annotation") or "{}")[MARK]
        return {name: str(value) for name, value in kept.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def notes(wanted):
    return json.dumps({MARK: wanted})


def machine(seen, fleet):
    kept = tags(seen)
    created = kept.pop(CREATED, None)
    runtime = seen["runtime"]
    power = {"poweredOn": "running", "poweredOff": "stopped"}.get(runtime["powerState"], runtime["powerState"])
    # between its cloning and its start a machine is listed as powered off, and what is powered off may be deleted
    if power == "stopped" and is_fresh(created):
        power = "pending"
    # its host is away: nobody knows whether it runs
    connection = runtime.get("connectionState", "connected")
    return {
        "name": seen["name"][len(fleet) + 1 :],
        "id": seen["config"]["instanceUuid"],
        "scope": os.environ.get("GOVC_DATACENTER") or "vsphere",
        "state": power if connection == "connected" else connection,
        "created_at": created,
        "tags": kept,
    }


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def is_fresh(created):
    if not created:
        return False
    made = datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
    return (now() - made).total_seconds() < FRESH_SECONDS


def list_machines(request):
    fleet = request["fleet"]
    try:
        found = info(paths(f"{fleet}.*"))
    except Refused as refused:
        raise meaning(refused) from refused
    # a machine that vCenter cannot read at this moment says nothing of whose it is
    unread = [seen["name"] for seen in found if not seen.get("config")]
    ours = [seen for seen in found if seen.get("config") and is_ours(tags(seen), fleet)]
    return [machine(seen, fleet) for seen in ours], [f"{name} cannot be read" for name in unread]


def create(request, name):
    fleet, full = request["fleet"], f"{request['fleet']}.{name}"
    arguments = clone_of(request["spec"])
    path, there = look(full)
    if there is None:
        marks = notes({**request["tags"], CREATED: now().strftime("%Y-%m-%dT%H:%M:%SZ")})
        try:
            govc("vm.clone", "-on=false", "-folder", FOLDER, "-annotation", marks, *arguments, full)
        except Refused as refused:
            # certain only if nothing of it is there
            if look(full) != (None, None):
                raise
            raise meaning(refused) from refused
        path, there = look(full)
        if there is None:
            raise RuntimeError("it was cloned and cannot be found")
    elif not is_ours(tags(there), fleet):
        raise Failure("invalid_request", f"a machine called {full} is there already and is not this fleet's; it is left alone")
    elif machine(there, fleet)["state"] != "pending":
        # whoever powered it off meant it; only what never ran is still to be started
        return machine(there, fleet)
    try:
        give_script(path, name, request["user_data"])
        govc("vm.power", "-on", path)
    except Refused as refused:
        # if that fails too, the machine is unknown, and listed
        govc("vm.destroy", path)
        raise meaning(refused) from refused
    return machine(look(full)[1], fleet)


def clone_of(spec):
    arguments = ["-link"] if "snapshot" in spec else []
    for key, value in spec.items():
        option, kind = OPTIONS.get(key, ("", ()))
        if not isinstance(value, kind):
            raise Failure("invalid_request", f"spec: `{key}` is not known, or not what it should be")
        arguments += [option, str(value)]
    if "template" not in spec:
        raise Failure("invalid_request", "spec: name a template")
    return arguments


def give_script(path, name, user_data):
    """Over files: arguments can be read by every user of the host."""
    texts = {"metadata": json.dumps({"instance-id": name, "local-hostname": name}), "userdata": user_data}
    with tempfile.TemporaryDirectory() as folder:
        arguments = []
        for key, text in texts.items():
            file = os.path.join(folder, key)
            with open(file, "w", encoding="ascii") as opened:
                opened.write(base64.b64encode(text.encode()).decode())
            arguments += ["-f", f"guestinfo.{key}={file}", "-e", f"guestinfo.{key}.encoding=base64"]
        govc("vm.change", "-vm", path, *arguments)


def of_this_fleet(request, asked):
    """The machine that is asked for with its path, or None twice; what is not this fleet's is refused."""
    path, seen = look(f"{request['fleet']}.{asked['name']}")
    if seen is None or seen["config"]["instanceUuid"] != asked["id"]:
        return None, None
    if not is_ours(tags(seen), request["fleet"]):
        raise Failure("invalid_request", f"{path} is not this fleet's; it is left alone")
    return path, seen


def delete(request, asked):
    path, seen = of_this_fleet(request, asked)
    if seen is None:
        return
    # what was listed as powered off may have been started since, and have a job
    if asked["state"] == "stopped" and seen["runtime"]["powerState"] != "poweredOff":
        raise Failure("unavailable", f"{path} was powered off when it was listed, and runs now: it is left alone")
    govc("vm.destroy", path)


def renew(request, asked):
    path, seen = of_this_fleet(request, asked)
    if seen is not None:
        govc("vm.change", "-vm", path, "-annotation", notes({**tags(seen), "parmanu-expires": request["until"]}))


def meaning(refused):
    """vCenter's words as the contract's kinds."""
    low = refused.words.lower()
    for kind, parts in {
        "out_of_capacity": ["insufficient", "not enough", "no space", "no compatible host"],
        "unauthorized": ["permission", "cannot complete login", "incorrect user name", "not authenticated"],
        "unreachable": ["dial tcp", "no such host", "connection refused"],
        "unknown_outcome": ["eof", "connection reset", "timeout"],
    }.items():
        if any(part in low for part in parts):
            return Failure(kind, refused.words)
    return Failure("invalid_request", refused.words)


if __name__ == "__main__":
    serve(list=list_machines, create=create, delete=delete, renew=renew)
