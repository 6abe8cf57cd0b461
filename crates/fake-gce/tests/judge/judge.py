"""The fake Compute Engine, judged by Google's own clients.

Usage: judge.py http://127.0.0.1:PORT   (the fake, served by `cargo run -p fake-gce --example serve-gce`)

Both of Google's Python clients, the typed one and the one that is driven by the discovery document, take the fake through
create, wait, page, conflict, label, console, bulk creation, templates, refusals and deletion. Every request and every answer
is held against the discovery document that Google ships: a path or a parameter that it does not know, a field that a schema
does not have, a value of another type, a word that is no member of its enumeration, an id that is no text of a uint64
each fail the run. What this cannot judge is whether the real service behaves so; only that its clients take the fake for one.

To be run where nothing but a loopback device is to be seen: the typed client keeps a second client for operations, which
talks to Google itself unless it is replaced, as is done below with a private attribute of this pinned version.
"""

import base64
import json
import os
import re
import sys
import urllib.parse
import uuid

import googleapiclient.discovery
import googleapiclient.errors
import httplib2
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1
from google.cloud.compute_v1.services.instance_templates.transports import InstanceTemplatesRestTransport
from google.cloud.compute_v1.services.instances.transports import InstancesRestTransport
from google.cloud.compute_v1.services.zone_operations.transports import ZoneOperationsRestTransport

URL = sys.argv[1].rstrip("/")
PROJECT, ZONE, OTHER, FULL = "acme-ci", "europe-west3-a", "europe-west3-b", "europe-west3-c"
found = []
judged = {}


def finding(what):
    if what not in found:
        found.append(what)


def expect(condition, what):
    if not condition:
        finding(what)


# The discovery document as a judge.

FOLDER = os.path.dirname(googleapiclient.discovery.__file__)
with open(f"{FOLDER}/discovery_cache/documents/compute.v1.json", encoding="utf-8") as file:
    DOCUMENT = json.load(file)


def methods(resources, before=""):
    for name, resource in resources.items():
        for verb, method in resource.get("methods", {}).items():
            yield f"{before}{name}.{verb}", method
        yield from methods(resource.get("resources", {}), f"{before}{name}.")


def pattern(method):
    path = re.sub(r"\{\+?(\w+)\}", r"(?P<\1>[^/]+)", method["path"])
    return re.compile("^/compute/v1/" + path + "$")


METHODS = [(name, method, pattern(method)) for name, method in methods(DOCUMENT["resources"])]


def of_schema(schema, value, path):
    """Holds a value, and all below it, against its schema."""
    if "$ref" in schema:
        schema = DOCUMENT["schemas"][schema["$ref"]]
    kind, form = schema.get("type"), schema.get("format")
    if kind == "any":
        return
    if kind == "object" or "properties" in schema:
        if not isinstance(value, dict):
            return finding(f"{path}: {value!r} is no object")
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, below in value.items():
            if key in properties:
                of_schema(properties[key], below, f"{path}.{key}")
            elif more:
                of_schema(more, below, f"{path}.*")
            else:
                finding(f"{path}: the document knows no `{key}`")
    elif kind == "array":
        if not isinstance(value, list):
            return finding(f"{path}: {value!r} is no list")
        for below in value:
            of_schema(schema["items"], below, f"{path}[]")
    elif kind == "string":
        of_text(schema, form, value, path)
    elif kind == "boolean":
        expect(isinstance(value, bool), f"{path}: {value!r} is no boolean")
    elif kind == "integer":
        expect(isinstance(value, int) and not isinstance(value, bool), f"{path}: {value!r} is no {form}")
    elif kind == "number":
        expect(isinstance(value, (int, float)), f"{path}: {value!r} is no {form}")
    else:
        finding(f"{path}: the document says `{kind}`")


def of_text(schema, form, value, path):
    if not isinstance(value, str):
        return finding(f"{path}: {value!r} is no text")
    if "enum" in schema:
        expect(value in schema["enum"], f"{path}: `{value}` is no member")
    if form in ("uint64", "int64"):
        fits = re.fullmatch(r"\d+" if form == "uint64" else r"-?\d+", value)
        expect(fits and int(value) < 2**64, f"{path}: `{value}` is no {form}")
    elif form == "byte":
        try:
            base64.urlsafe_b64decode(value)
        except ValueError:
            finding(f"{path}: `{value}` is no base64")
    if "pattern" in schema and value:
        expect(re.fullmatch(schema["pattern"], value), f"{path}: `{value}` is no {schema['pattern']}")


def judge(verb, url, sent, status, body):
    """One call: the request as much as its answer."""
    parts = urllib.parse.urlsplit(url)
    fits = [(name, method, match) for name, method, regex in METHODS
            if method["httpMethod"] == verb and (match := regex.match(parts.path))]
    if not fits:
        return finding(f"{verb} {parts.path} is no method")
    # where a name fits too (`instances/bulkInsert`), the path with the fewest names
    name, method, _ = min(fits, key=lambda fit: len(fit[2].groupdict()))
    judged.setdefault(name, []).append(status)
    known = set(method["parameters"]) | set(DOCUMENT["parameters"]) | {"$alt", "$apiVersion"}
    for key in urllib.parse.parse_qs(parts.query):
        expect(key in known, f"{name}: the document knows no parameter `{key}`")
    # what is refused was asked wrongly on purpose
    if "request" in method and sent and status < 400:
        of_schema(method["request"], json.loads(sent), f"{name} request")
    answer = json.loads(body)
    if status < 400:
        return of_schema(method["response"], answer, name)
    error = answer.get("error", {})
    items = error.get("errors", [])
    shape = error.get("code") == status and isinstance(error.get("message"), str) and items
    shape = shape and all({"domain", "message", "reason"} <= set(item) for item in items)
    expect(shape, f"{name}: an error of {answer}")


# The typed client.

def heard(response, **_):
    request = response.request
    judge(request.method, request.url, request.body, response.status_code, response.text)


def typed(client, transport, credentials=None):
    address = urllib.parse.urlsplit(URL).netloc
    credentials = credentials or AnonymousCredentials()
    carrier = transport(host=address, url_scheme="http", credentials=credentials)
    carrier._session.hooks["response"].append(heard)
    return client(transport=carrier)


instances = typed(compute_v1.InstancesClient, InstancesRestTransport)
operations = typed(compute_v1.ZoneOperationsClient, ZoneOperationsRestTransport)
templates = typed(compute_v1.InstanceTemplatesClient, InstanceTemplatesRestTransport)
instances._transport._extended_operations_services["zone_operations"] = operations


def machine(name, zone=ZONE, **more):
    return compute_v1.Instance(**{
        "name": name,
        "machine_type": f"zones/{zone}/machineTypes/e2-small",
        "disks": [compute_v1.AttachedDisk(
            boot=True,
            auto_delete=True,
            initialize_params=compute_v1.AttachedDiskInitializeParams(
                source_image="projects/debian-cloud/global/images/family/debian-12", disk_size_gb=20),
        )],
        "network_interfaces": [compute_v1.NetworkInterface(network="global/networks/default")],
        "labels": {"fleet": "judge"},
        "metadata": compute_v1.Metadata(items=[compute_v1.Items(key="startup-script", value="#!/bin/sh\n")]),
        **more,
    })


def insert(instance, zone=ZONE, **more):
    request = compute_v1.InsertInstanceRequest(project=PROJECT, zone=zone, instance_resource=instance, **more)
    return instances.insert(request)


class Stranger(AnonymousCredentials):
    """Somebody with a token that nobody gave out."""

    def before_request(self, request, method, url, headers):
        headers["Authorization"] = "Bearer nonsense"

    def refresh(self, request):
        pass


def refused(kind, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except kind as error:
        return str(error)
    except exceptions.GoogleAPICallError as error:
        finding(f"{type(error).__name__} instead of {kind.__name__}: {error}")
    else:
        finding(f"{kind.__name__} was expected of {arguments} {named}")
    return ""


# create and wait
insert(machine("judge-1")).result(timeout=60)
seen = instances.get(project=PROJECT, zone=ZONE, instance="judge-1")
expect(seen.status == "RUNNING" and dict(seen.labels) == {"fleet": "judge"}, f"judge-1 is {seen.status}")
expect(seen.disks[0].auto_delete and seen.id > 0, "the disk goes with the machine")

# the same request twice is one operation
token = str(uuid.uuid4())
request = compute_v1.InsertInstanceRequest(
    project=PROJECT, zone=ZONE, instance_resource=machine("judge-2"), request_id=token)
first, second = instances.insert_unary(request), instances.insert_unary(request)
expect(first.name == second.name, "a request id made two operations")
expect(first.status != compute_v1.Operation.Status.DONE, "a creation that is done at once")
done = operations.wait(project=PROJECT, zone=ZONE, operation=first.name)
expect(done.status == compute_v1.Operation.Status.DONE and not done.error.errors, f"{done}")
expect(operations.get(project=PROJECT, zone=ZONE, operation=first.name).progress == 100, "progress")
expect(first.name in [op.name for op in operations.list(project=PROJECT, zone=ZONE)], "a list of operations")
refused(exceptions.BadRequest, insert, machine("judge-3"), request_id=str(uuid.UUID(int=0)))
refused(exceptions.BadRequest, insert, machine("judge-3"), request_id="nonsense")

# conflict: at once, and inside the operation while the first is still being made; the same name in another zone is another
refused(exceptions.Conflict, insert, machine("judge-1"))
racing = [insert(machine("judge-race")), insert(machine("judge-race"))]
racing[0].result(timeout=60)
refused(exceptions.GoogleAPICallError, racing[1].result, timeout=60)
expect(racing[1].error_code == 409, f"the second of a race: {racing[1].error_code}")
insert(machine("judge-1", OTHER), OTHER).result(timeout=60)

# many at once, by name and by pattern
properties = compute_v1.InstanceProperties(
    machine_type="e2-small", disks=machine("x").disks, network_interfaces=machine("x").network_interfaces,
    labels={"fleet": "judge", "bulk": "yes"},
    scheduling=compute_v1.Scheduling(provisioning_model="SPOT", instance_termination_action="DELETE"))
named = {f"judge-bulk-{index}": compute_v1.BulkInsertInstanceResourcePerInstanceProperties() for index in range(4)}
for resource in (
    compute_v1.BulkInsertInstanceResource(
        count=4, min_count=1, per_instance_properties=named, instance_properties=properties),
    compute_v1.BulkInsertInstanceResource(
        count=3, name_pattern="judge-pattern-##", instance_properties=properties),
):
    bulk = instances.bulk_insert(compute_v1.BulkInsertInstanceRequest(
        project=PROJECT, zone=ZONE, bulk_insert_instance_resource_resource=resource))
    bulk.result(timeout=60)
    status = operations.get(project=PROJECT, zone=ZONE, operation=bulk.name)
    counted = status.instances_bulk_insert_operation_metadata.per_location_status[f"zones/{ZONE}"]
    expect(counted.created_vm_count == resource.count, f"{counted}")

# page and filter
listed = lambda **more: instances.list(compute_v1.ListInstancesRequest(project=PROJECT, zone=ZONE, **more))
pages = [[each.name for each in page.items] for page in listed(max_results=4).pages]
expect([len(page) for page in pages] == [4, 4, 2], f"pages of {[len(page) for page in pages]}")
names = [name for page in pages for name in page]
expect(len(set(names)) == 10 and names == sorted(names), f"{names}")
expect(len(list(listed(filter="labels.bulk=yes"))) == 7, "a filter by label")
refused(exceptions.BadRequest, listed, filter="machineType:e2*")
refused(exceptions.BadRequest, listed, page_token="nonsense")
refused(exceptions.BadRequest, listed, max_results=501)
everywhere = lambda **more: dict(instances.aggregated_list(
    compute_v1.AggregatedListInstancesRequest(project=PROJECT, **more)))
scopes = everywhere(filter="labels.fleet=judge")
counts = {scope: len(zone.instances) for scope, zone in scopes.items()}
expect(counts == {f"zones/{ZONE}": 10, f"zones/{OTHER}": 1, f"zones/{FULL}": 0}, f"{counts}")
expect(scopes[f"zones/{FULL}"].warning.code == "NO_RESULTS_ON_PAGE", f"{scopes[f'zones/{FULL}']}")

# templates
template = templates.get(project=PROJECT, instance_template="ci-linux-v12")
expect(template.properties.machine_type == "e2-standard-4", f"{template}")
path = f"projects/{PROJECT}/global/instanceTemplates/ci-linux-v12"
insert(compute_v1.Instance(name="judge-template", labels={"fleet": "judge"}), OTHER,
       source_instance_template=path).result(timeout=60)
seen = instances.get(project=PROJECT, zone=OTHER, instance="judge-template")
expect(dict(seen.labels) == {"cost-centre": "ci", "fleet": "judge"}, f"{seen.labels}")

# labels with their fingerprint, and the console
seen = instances.get(project=PROJECT, zone=ZONE, instance="judge-1")
labels = lambda print: instances.set_labels(compute_v1.SetLabelsInstanceRequest(
    project=PROJECT, zone=ZONE, instance="judge-1", instances_set_labels_request_resource=
    compute_v1.InstancesSetLabelsRequest(label_fingerprint=print, labels={"fleet": "judge", "more": "1"})))
labels(seen.label_fingerprint).result(timeout=60)
refused(exceptions.PreconditionFailed, labels, seen.label_fingerprint)
console = lambda **more: instances.get_serial_port_output(compute_v1.GetSerialPortOutputInstanceRequest(
    project=PROJECT, zone=ZONE, instance="judge-1", **more))
whole, end = console(), console(port=1, start=-8)
expect(end.contents and whole.contents.endswith(end.contents) and len(end.contents) == 8, f"{end}")
expect(end.next_ == len(whole.contents), f"{end}")

# what is refused, at once and in the operation
full = insert(machine("judge-full", FULL, machine_type=f"zones/{FULL}/machineTypes/n2-standard-8"), FULL)
words = refused(exceptions.GoogleAPICallError, full.result, timeout=60)
expect("ZONE_RESOURCE_POOL_EXHAUSTED" in words, f"a full zone: {words}")
refused(exceptions.NotFound, instances.get, project=PROJECT, zone=FULL, instance="judge-full")
refused(exceptions.BadRequest, insert, machine("judge-4", machine_type=f"zones/{ZONE}/machineTypes/e2-nonsense"))
refused(exceptions.BadRequest, insert, machine("Judge_4"))
refused(exceptions.BadRequest, insert, machine("judge-4", labels={"Fleet": "judge"}))
refused(exceptions.BadRequest, insert, machine("judge-4"), "mars-north1-a")
refused(exceptions.NotFound, instances.get, project="somebody-else", zone=ZONE, instance="judge-1")
stranger = typed(compute_v1.InstancesClient, InstancesRestTransport, Stranger())
refused(exceptions.Unauthorized, stranger.get, project=PROJECT, zone=ZONE, instance="judge-1")


# The client that is driven by the discovery document.

class Listening(httplib2.Http):
    def request(self, uri, method="GET", body=None, **more):
        response, content = super().request(uri, method=method, body=body, **more)
        judge(method, uri, body, response.status, content)
        return response, content


driven = googleapiclient.discovery.build(
    "compute", "v1", http=Listening(), static_discovery=True, cache_discovery=False,
    client_options={"api_endpoint": f"{URL}/compute/v1/"})
operation = driven.instances().insert(project=PROJECT, zone=ZONE, requestId=str(uuid.uuid4()), body={
    "name": "judge-driven",
    "machineType": f"zones/{ZONE}/machineTypes/e2-small",
    "disks": [{"boot": True, "autoDelete": True, "initializeParams": {
        "sourceImage": "projects/debian-cloud/global/images/family/debian-12"}}],
    "networkInterfaces": [{"network": "global/networks/default",
                           "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}]}],
    "scheduling": {"maxRunDuration": {"seconds": "3600"}, "instanceTerminationAction": "DELETE"},
    "serviceAccounts": [{"email": "builder@acme-ci.iam.gserviceaccount.com",
                         "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
    "tags": {"items": ["ci"]},
}).execute()
ended = driven.zoneOperations().wait(project=PROJECT, zone=ZONE, operation=operation["name"]).execute()
expect(ended["status"] == "DONE" and "error" not in ended, f"{ended}")
call = driven.instances().list(project=PROJECT, zone=ZONE, maxResults=3)
pages = []
while call is not None:
    page = call.execute()
    pages.append(len(page["items"]))
    call = driven.instances().list_next(call, page)
expect(pages == [3, 3, 3, 2], f"pages of {pages}")
driven.instances().aggregatedList(project=PROJECT, filter="name=judge-driven").execute()
try:
    driven.instances().get(project=PROJECT, zone=ZONE, instance="nobody").execute()
except googleapiclient.errors.HttpError as error:
    expect(error.status_code == 404, f"{error}")
else:
    finding("nobody is there")

# delete: once, and gone
for zone, name in [(ZONE, name) for name in names + ["judge-driven"]] + [(OTHER, "judge-1"), (OTHER, "judge-template")]:
    instances.delete(project=PROJECT, zone=zone, instance=name).result(timeout=60)
refused(exceptions.NotFound, instances.get, project=PROJECT, zone=ZONE, instance="judge-1")
refused(exceptions.NotFound, instances.delete, project=PROJECT, zone=ZONE, instance="judge-1")
left = {scope: len(zone.instances) for scope, zone in everywhere().items()}
expect(set(left.values()) == {0}, f"left: {left}")

for what in found:
    print(f"not as Google's clients expect: {what}")
total = sum(map(len, judged.values()))
missing = {"instances." + verb for verb in (
    "insert", "bulkInsert", "get", "list", "aggregatedList", "delete", "setLabels", "getSerialPortOutput")}
missing |= {"zoneOperations.get", "zoneOperations.wait", "zoneOperations.list", "instanceTemplates.get"}
missing -= set(judged)
print(f"{total} calls of {len(judged)} methods judged, {len(found)} findings"
      + (f"; never called: {sorted(missing)}" if missing else ""))
sys.exit(1 if found or missing else 0)
