"""The fake EC2, judged by Amazon's own client.

Usage: judge.py http://127.0.0.1:PORT   (the fake, served by `cargo run -p fake-ec2 --example serve`)

boto3 drives it through launch, wait, page, tag, notice, console and end, and every answer is held against the model that
botocore ships: an element that the model does not know, a value of another type, a word that is no member of its
enumeration each fail the run. What this cannot judge is whether the real service behaves so; only that its client takes
the fake for one.
"""

import datetime
import sys
import uuid
import xml.etree.ElementTree as xml

import boto3
import botocore.exceptions
from botocore.config import Config

URL = sys.argv[1]
IMAGE = "ami-00000000000000001"
TYPE = "m7i.large"
found = []
answers = 0


def local(tag):
    return tag.rsplit("}", 1)[-1]


def judge(element, shape, path):
    """Holds one element, and all below it, against its shape."""
    if shape.type_name == "structure":
        members = {
            member.serialization.get("name", name): member
            for name, member in shape.members.items()
        }
        for child in element:
            name = local(child.tag)
            if name in members:
                judge(child, members[name], f"{path}.{name}")
            elif name not in ("requestId", "RequestId"):
                found.append(f"{path}: the model knows no `{name}`")
    elif shape.type_name == "list":
        for number, child in enumerate(element):
            if local(child.tag) != shape.member.serialization.get("name", "item"):
                found.append(f"{path}: a list of `{local(child.tag)}`")
            judge(child, shape.member, f"{path}[{number}]")
    else:
        judge_value(element.text or "", shape, path)


def judge_value(text, shape, path):
    try:
        if shape.type_name in ("integer", "long"):
            int(text)
        elif shape.type_name in ("float", "double"):
            float(text)
        elif shape.type_name == "boolean" and text not in ("true", "false"):
            raise ValueError(text)
        elif shape.type_name == "timestamp":
            datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        elif shape.type_name == "string" and shape.enum and text not in shape.enum:
            raise ValueError(text)
    except ValueError:
        found.append(f"{path}: `{text}` is no {shape.type_name} of {shape.name}")


def heard(http_response, model, **_):
    global answers
    answers += 1
    root = xml.fromstring(http_response.content)
    if http_response.status_code == 200 and model.output_shape is None:
        pass  # an action without an answer, such as CreateTags
    elif http_response.status_code == 200:
        judge(root, model.output_shape, model.name)
    else:
        layout = [local(element.tag) for element in root.iter()]
        if layout != ["Response", "Errors", "Error", "Code", "Message", "RequestID"]:
            found.append(f"{model.name}: an error of {layout}")


def expect(condition, what):
    if not condition:
        found.append(what)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        expect(error.response["Error"]["Code"] == code, f"{error} instead of {code}")
    else:
        found.append(f"{code} was expected of {arguments}")


ec2 = boto3.client(
    "ec2",
    region_name="eu-central-1",
    endpoint_url=URL,
    aws_access_key_id="AKIAFAKEFAKEFAKEFAKE",
    aws_secret_access_key="fake",
    config=Config(retries={"total_max_attempts": 1}),
)
ec2.meta.events.register("after-call.ec2.*", lambda http_response, model, **_: heard(http_response, model))


def launch(count, **more):
    tags = [{"Key": "fleet", "Value": "judge"}]
    kinds = ["instance", "volume"] + (["spot-instances-request"] if "InstanceMarketOptions" in more else [])
    asked = {
        "ImageId": IMAGE,
        "InstanceType": TYPE,
        "MinCount": 1,
        "MaxCount": count,
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
        "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        "UserData": "#!/bin/sh\n",
        **more,
    }
    return [machine["InstanceId"] for machine in ec2.run_instances(**asked)["Instances"]]


def by_tag(**more):
    return {"Filters": [{"Name": "tag:fleet", "Values": ["judge"]}], **more}


# launch: once for each token
token = uuid.uuid4().hex
first = launch(3, ClientToken=token, SubnetId="subnet-0000000000000000a")
expect(launch(3, ClientToken=token, SubnetId="subnet-0000000000000000a") == first, "a token made two sets")
refused(
    "IdempotentParameterMismatch",
    lambda **more: launch(4, **more),
    ClientToken=token,
    SubnetId="subnet-0000000000000000a",
)
elsewhere = launch(3, ClientToken=token, SubnetId="subnet-0000000000000000b")
expect(not set(elsewhere) & set(first), "a token counts in its own zone only")

# wait, and page
waiter = {"Delay": 1, "MaxAttempts": 60}
ec2.get_waiter("instance_exists").wait(InstanceIds=first, WaiterConfig=waiter)
ec2.get_waiter("instance_running").wait(InstanceIds=first + elsewhere, WaiterConfig=waiter)
more = launch(9)
ec2.get_waiter("instance_running").wait(InstanceIds=more, WaiterConfig=waiter)
pages = [
    [machine["InstanceId"] for reservation in page["Reservations"] for machine in reservation["Instances"]]
    for page in ec2.get_paginator("describe_instances").paginate(**by_tag(), PaginationConfig={"PageSize": 5})
]
expect([len(page) for page in pages] == [5, 5, 5], f"pages of {[len(page) for page in pages]}")
listed = sorted(id for page in pages for id in page)
expect(listed == sorted(first + elsewhere + more), "each machine stands on one page")
refused("InvalidParameterCombination", ec2.describe_instances, InstanceIds=first, MaxResults=5)
refused("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=["i-0000000000000dead"])
refused("InvalidInstanceID.Malformed", ec2.describe_instances, InstanceIds=["nonsense"])

# what a launch is refused for
refused("InvalidAMIID.NotFound", lambda **more: launch(1, **more), ImageId="ami-0000000000000dead")
refused("InvalidParameterValue", lambda **more: launch(1, **more), InstanceType="m7i.nonsense")
refused("InvalidSubnetID.NotFound", lambda **more: launch(1, **more), SubnetId="subnet-0000000000000dead")
refused("DryRunOperation", lambda **more: launch(1, **more), DryRun=True)

# templates, parameters and images
launch(1, LaunchTemplate={"LaunchTemplateName": "ci", "Version": "$Latest"})
launch(1, ImageId="resolve:ssm:/ci/linux")
images = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["ci-linux-*"]}])["Images"]
expect(len(images) == 2 and all(image["CreationDate"] for image in images), f"images: {images}")

# spot machines, tags and consoles
spot = launch(1, InstanceMarketOptions={"MarketType": "spot"})
requests = ec2.describe_spot_instance_requests(**by_tag(MaxResults=5))["SpotInstanceRequests"]
expect([request["InstanceId"] for request in requests] == spot, f"spot requests: {requests}")
expect(requests[0]["Status"]["Code"] == "fulfilled", f"{requests[0]}")
ec2.create_tags(Resources=first, Tags=[{"Key": "parmanu:expires", "Value": "2026-01-01T00:00:00Z"}])
tagged = ec2.describe_instances(Filters=[{"Name": "tag-key", "Values": ["parmanu:expires"]}])
expect(sum(len(reservation["Instances"]) for reservation in tagged["Reservations"]) == 3, "tags")
expect("Linux" in ec2.get_console_output(InstanceId=first[0], Latest=True)["Output"], "a console")

# end: all or, for one bad id, none
refused("InvalidInstanceID.NotFound", ec2.terminate_instances, InstanceIds=first + ["i-0000000000000dead"])
ended = ec2.terminate_instances(InstanceIds=first)["TerminatingInstances"]
expect({machine["CurrentState"]["Name"] for machine in ended} == {"shutting-down"}, f"{ended}")
ec2.terminate_instances(InstanceIds=first)
ec2.get_waiter("instance_terminated").wait(InstanceIds=first, WaiterConfig=waiter)

for what in found:
    print(f"not as Amazon's client expects: {what}")
print(f"{answers} answers judged, {len(found)} findings")
sys.exit(1 if found or answers < 40 else 0)
