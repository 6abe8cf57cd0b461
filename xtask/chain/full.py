#!/usr/bin/env python3
"""A cloud that has no room left, as `kind: command` (docs/providers/command.md): it lists nothing and makes nothing. Each time
that it is asked for machines is a line in a file."""

import json
import sys

ASKED = "/run/chain/full.asked"


def create(request):
    with open(ASKED, "a", encoding="utf-8") as asked:
        asked.write(" ".join(request["names"]) + "\n")
    error = {"kind": "out_of_capacity", "message": "no room in any rack"}
    failed = [{"name": name, "outcome": "failed", "error": error} for name in request["names"]]
    return {"outcomes": failed}


VERBS = {
    "describe": lambda _: {"verbs": ["describe", "list", "create", "delete"]},
    "list": lambda _: {"machines": []},
    "create": create,
    "delete": lambda _: {"outcomes": []},
}

request = json.load(sys.stdin)
json.dump({"version": 1, **VERBS[request["verb"]](request)}, sys.stdout)
