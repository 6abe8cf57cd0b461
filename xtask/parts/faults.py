"""Faults between a client and a server, for mitmproxy: `mitmdump --mode reverse:URL -s faults.py`.

The file that PLAN names says what happens to which requests, and is read again for each of them:

    {"id": "anything new", "rules": [{"what": "RunInstances", "times": 1, "do": "drop_after"}]}

`what` is the action of an AWS request, or the beginning of `METHOD /path` of any. A new `id` begins to count anew.
`do` is one of: drop_before (the server never hears it), drop_after (the server does it, the answer is lost), truncate
(half of the answer arrives, with a length that fits), throttle, no_capacity, and delay (one second).
"""

import asyncio
import json
import os
import urllib.parse

from mitmproxy import http

XML = (
    '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>{code}</Code><Message>{code}, says the '
    "proxy</Message></Error></Errors><RequestID>00000000-0000-4000-8000-000000000000</RequestID></Response>"
)


class Faults:
    def __init__(self):
        self.id = None
        self.left = []

    def rule(self, names):
        with open(os.environ["PLAN"], encoding="utf-8") as file:
            plan = json.load(file)
        if plan["id"] != self.id:
            self.id = plan["id"]
            self.left = [dict(rule) for rule in plan["rules"]]
        for rule in self.left:
            if rule["times"] > 0 and any(name.startswith(rule["what"]) for name in names):
                rule["times"] -= 1
                return rule["do"]
        return None

    async def request(self, flow):
        body = flow.request.get_text(strict=False) or ""
        names = [f"{flow.request.method} {flow.request.path}"]
        names += urllib.parse.parse_qs(body).get("Action", [])
        what = flow.metadata["fault"] = self.rule(names)
        if what == "drop_before":
            flow.kill()
        elif what == "throttle" and len(names) > 1:
            flow.response = answer(503, "RequestLimitExceeded")
        elif what == "throttle":
            flow.response = http.Response.make(503, "<html>busy</html>", {"Content-Type": "text/html"})
        elif what == "no_capacity":
            flow.response = answer(500, "InsufficientInstanceCapacity")
        elif what == "delay":
            await asyncio.sleep(1)

    def response(self, flow):
        what = flow.metadata.get("fault")
        if what == "drop_after":
            flow.kill()
        elif what == "truncate":
            flow.response.content = flow.response.content[: len(flow.response.content) // 2]


def answer(status, code):
    return http.Response.make(status, XML.format(code=code), {"Content-Type": "text/xml;charset=UTF-8"})


addons = [Faults()]
