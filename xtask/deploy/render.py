"""Lets the real Helm lint and render a chart.

    render.py CHART RELEASE NAMESPACE FOLDER NAME=VALUES.yaml...

writes FOLDER/NAME.yaml for each file of values; those called refused-… must be refused, and write nothing. The library can install only, and it asks an API server before it does. So
one stands in here, on loopback, that knows the kinds of the chart. Helm keeps what it rendered in a Secret before it makes
anything else: it is read out of that one, which is then refused, and so nothing more happens.
"""

import asyncio
import base64
import gzip
import http.server
import json
import pathlib
import re
import sys
import tempfile
import threading

import helm_sdkpy
import yaml

KINDS = {
    "v1": ["ConfigMap", "Secret", "Service", "ServiceAccount"],
    "apps/v1": ["Deployment"],
    "policy/v1": ["PodDisruptionBudget"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "monitoring.coreos.com/v1": ["ServiceMonitor", "PrometheusRule"],
}

# the base64 of gzip's first bytes; Helm packs a release as base64(gzip(json)), and the request itself is protobuf
PACKED = re.compile(rb"H4sI[A-Za-z0-9+/]+=*")


def plural(kind):
    word = kind.lower()
    return word[:-1] + "ies" if word.endswith("y") else word + "s"


def discovery():
    """What a client asks to learn which kinds there are."""
    answers = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
    }
    groups = []
    for version, kinds in KINDS.items():
        path = "/api/v1" if version == "v1" else f"/apis/{version}"
        resources = [
            {"name": plural(kind), "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["create", "get"]}
            for kind in kinds
        ]
        answers[path] = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
        if version != "v1":
            this = {"groupVersion": version, "version": version.split("/")[1]}
            groups.append({"name": version.split("/")[0], "versions": [this], "preferredVersion": this})
    answers["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return answers


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers = discovery()
    releases = []

    def log_message(self, *_):
        pass

    def answer(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def refuse(self, code, reason):
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
        self.answer(code, status)

    def do_GET(self):
        found = self.answers.get(self.path.split("?")[0])
        self.answer(200, found) if found else self.refuse(404, "NotFound")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for packed in PACKED.findall(body):
            self.releases.append(json.loads(gzip.decompress(base64.b64decode(packed))))
        self.refuse(403, "Forbidden")


async def lint(config, chart):
    found = await helm_sdkpy.Lint(config).run(chart)
    # severity 1 is advice, such as that a chart may have an icon
    messages = [message for message in found["Messages"] or [] if message["Severity"] > 1]
    if messages or found["Errors"]:
        sys.exit(f"lint: {messages} {found['Errors']}")


async def render(config, chart, release, values):
    """What the chart renders to, or None and why not."""
    Api.releases.clear()
    try:
        await helm_sdkpy.Install(config).run(release, chart, values, wait=False)
    except helm_sdkpy.exceptions.InstallError as error:
        if not Api.releases:
            return None, error
    return Api.releases[0]["manifest"], None


async def main():
    chart, release, namespace, folder, *sets = sys.argv[1:]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as kubeconfig:
        cluster = {"server": f"http://127.0.0.1:{server.server_port}"}
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [{"name": "nobody", "user": {}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
                "current-context": "here",
            },
            kubeconfig,
        )
        kubeconfig.flush()
        config = helm_sdkpy.Configuration(namespace=namespace, kubeconfig=kubeconfig.name)
        await lint(config, chart)
        for name, file in (words.split("=", 1) for words in sets):
            values = yaml.safe_load(pathlib.Path(file).read_text()) or {}
            manifest, error = await render(config, chart, release, values)
            if (manifest is None) != name.startswith("refused"):
                sys.exit(f"{name}: {error or 'was not refused'}")
            if manifest:
                pathlib.Path(folder, f"{name}.yaml").write_text(manifest)
    print(f"linted, and rendered {len(sets)} times by Helm {helm_sdkpy.get_version()}")


asyncio.run(main())
