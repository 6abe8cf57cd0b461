"""Holds manifests against the schemas of Kubernetes, without a cluster and without a network.

    validate.py FILE.yaml...

Strict: a key that Kubernetes does not know is an error. Kinds of the operator of Prometheus are held against the few keys
that the chart uses, restated here from its API reference (monitoring.coreos.com/v1).
"""

import sys

import jsonschema
import kubernetes_validate
import yaml

# the oldest that the chart's kubeVersion allows, the newest there is, and two between
VERSIONS = ["1.30", "1.32", "1.34", "1.37"]


def closed(properties, required):
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = closed({"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": STRINGS}, ["name"])
ENDPOINT = closed(
    {"port": {"type": "string"}, "path": {"type": "string"}, "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"}},
    ["port"],
)
SELECTOR = closed({"matchLabels": STRINGS, "matchExpressions": {"type": "array"}}, [])
RULE = closed(
    {
        "alert": {"type": "string"},
        "record": {"type": "string"},
        "expr": {"type": ["string", "integer"]},
        "for": {"type": "string"},
        "keep_firing_for": {"type": "string"},
        "labels": STRINGS,
        "annotations": STRINGS,
    },
    ["expr"],
)
GROUP = closed({"name": {"type": "string"}, "interval": {"type": "string"}, "rules": {"type": "array", "items": RULE}}, ["name"])
OPERATOR = {
    "ServiceMonitor": closed({"selector": SELECTOR, "endpoints": {"type": "array", "items": ENDPOINT, "minItems": 1}}, ["selector", "endpoints"]),
    "PrometheusRule": closed({"groups": {"type": "array", "items": GROUP, "minItems": 1}}, ["groups"]),
}


def errors_of(manifest):
    """What is wrong with it, in words."""
    if manifest["apiVersion"] == "monitoring.coreos.com/v1":
        schema = closed(
            {"apiVersion": {}, "kind": {}, "metadata": METADATA, "spec": OPERATOR[manifest["kind"]]}, ["metadata", "spec"]
        )
        for error in jsonschema.Draft7Validator(schema).iter_errors(manifest):
            yield error.message
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"Kubernetes {version}: {getattr(error, 'message', error)}"


def main():
    bad, seen = [], 0
    for file in sys.argv[1:]:
        with open(file) as text:
            manifests = [manifest for manifest in yaml.safe_load_all(text) if manifest]
        if not manifests:
            bad.append(f"{file}: nothing in it")
        names = set()
        for manifest in manifests:
            seen += 1
            name = f"{manifest['kind']} {manifest['metadata']['name']}"
            if name in names:
                bad.append(f"{file}: {name}: twice")
            names.add(name)
            bad += [f"{file}: {name}: {error}" for error in errors_of(manifest)]
    if bad:
        sys.exit("\n".join(bad))
    print(f"{seen} manifests are as Kubernetes {', '.join(VERSIONS)} want them")


main()
