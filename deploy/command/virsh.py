#!/usr/bin/env python3
"""Virtual machines of libvirt for Parmanu's `kind: command`, by `virsh` alone, on this host or over qemu+ssh://.

A machine is a domain, an overlay over an image, and a seed with its boot script (cloud-init's NoCloud). They are called
FLEET.NAME, and whose they are stands in the domain's <metadata>.

The domain is defined first and undefined last, so whatever a program that died half-way left behind is listed as a machine
that is powered off, and is deleted as one, with all that belongs to it. What fails half-way is taken back at once.

Needs parmanu_command.py beside it; virsh; and genisoimage, mkisofs or xorriso. Environment (`env:` of the provider):
  LIBVIRT_DEFAULT_URI   as virsh knows it, such as qemu:///system or qemu+ssh://ci@host/system?keyfile=/etc/parmanu/dc2.key
  PARMANU_VIRSH_POOL    a storage pool of files for images, overlays and seeds; `default` if absent. Better one of its own
`spec` of an offer: image (a volume of that pool; required), image_format (qcow2), disk_gib (the image's size), memory_mib, cpus,
domain (a file with a domain's XML, such as `virsh dumpxml` gives of a machine that works; domain.xml beside this file).
Of that XML the first disk becomes the overlay. A serial device of the type `file` is kept for `console`.
"""

import datetime
import os
import re
import shutil
import tempfile
import xml.etree.ElementTree as ET

from parmanu_command import FRESH_SECONDS, Failure, Refused, is_ours, run, serve

POOL = os.environ.get("PARMANU_VIRSH_POOL", "default")
NAMESPACE = "urn:parmanu:machine:1"
CREATED = "created"
OPTIONS = {"image": str, "image_format": str, "disk_gib": int, "memory_mib": int, "cpus": int, "domain": str}
SEED_TOOLS = (["genisoimage"], ["mkisofs"], ["xorriso", "-as", "mkisofs"])
STATES = {"running": "running", "idle": "running", "in shutdown": "stopping", "shut off": "stopped", "crashed": "stopped"}
# the kinds of volumes that belong to a machine
OVERLAY, SEED, CONSOLE = ".qcow2", ".seed.iso", ".console.log"
LONGEST_CONSOLE = 64 << 10

ET.register_namespace("parmanu", NAMESPACE)


def virsh(*arguments, stdin=None):
    return run("virsh", "--quiet", *arguments, stdin=stdin)


def is_gone(refused, domain):
    """Whether there is certainly no such domain. A look-up that failed says the same whether it is not there or the connection
    broke meanwhile, so a list must come that does not show it."""
    if "Domain not found" in refused.words:
        return True
    return "failed to get domain" in refused.words and domain not in virsh("list", "--all", "--name", "--uuid").split()


def dump(domain):
    """The XML of a domain, or None if it is certainly not there."""
    try:
        return ET.fromstring(virsh("dumpxml", domain))
    except Refused as refused:
        if is_gone(refused, domain):
            return None
        raise


def tags(domain):
    found = domain.iterfind(f"metadata/{{{NAMESPACE}}}machine/{{{NAMESPACE}}}tag")
    return {tag.get("name"): tag.text or "" for tag in found}


def marked(wanted, space=f"{{{NAMESPACE}}}"):
    """The element that says whose a machine is."""
    machine = ET.Element(space + "machine")
    for name, value in wanted.items():
        ET.SubElement(machine, space + "tag", name=name).text = value
    return machine


def machine(domain, word, fleet):
    kept = tags(domain)
    created = kept.pop(CREATED, None)
    state = STATES.get(word, word)
    # between its definition and its start a machine is listed as powered off, and what is powered off may be deleted
    if state == "stopped" and is_fresh(created):
        state = "pending"
    return {
        "name": domain.findtext("name")[len(fleet) + 1 :],
        "id": domain.findtext("uuid"),
        "state": state,
        "created_at": created,
        "tags": kept,
    }


def is_fresh(created):
    if not created:
        return False
    made = datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
    return (now() - made).total_seconds() < FRESH_SECONDS


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def state_of(domain):
    return virsh("domstate", domain).strip()


def list_machines(request):
    fleet = request["fleet"]
    try:
        rows = virsh("list", "--all").splitlines()
    except Refused as refused:
        raise meaning(refused) from refused
    # a line is an id or -, a name, and a state of one word or more
    found = [re.match(rf"\s*(?:\d+|-)\s+({re.escape(fleet)}\.[a-z0-9-]+)\s+(\S.*?)\s*$", row) for row in rows]
    words = {match[1]: match[2] for match in found if match}
    machines, unknown = [], []
    for name, domain in dumps([*words]):
        if isinstance(domain, Refused):
            unknown.append(str(domain))
        elif domain is not None and is_ours(tags(domain), fleet):
            machines.append(machine(domain, words[name], fleet))
    return machines, unknown


def dumps(names):
    """The XML of many domains: from one call if all goes well, else one by one, for one may have gone meanwhile."""
    for start in range(0, len(names), 100):
        some = names[start : start + 100]
        try:
            text = virsh("; ".join(f"dumpxml {name}" for name in some))
            domains = [*ET.fromstring(f"<all>{text}</all>")]
            if [domain.findtext("name") for domain in domains] == some:
                yield from zip(some, domains)
                continue
        except (Refused, ET.ParseError):
            pass
        for name in some:
            try:
                yield name, dump(name)
            except Refused as refused:
                yield name, refused


def create(request, name):
    fleet, spec = request["fleet"], request["spec"]
    for key, value in spec.items():
        if not isinstance(value, OPTIONS.get(key, ())):
            raise Failure("invalid_request", f"spec: `{key}` is not known, or not what it should be")
    if "image" not in spec:
        raise Failure("invalid_request", f"spec: name an image, a volume of the pool {POOL}")
    full = f"{fleet}.{name}"
    there = dump(full)
    if there is None:
        try:
            text = ET.tostring(described(request, full), encoding="unicode")
            virsh("define", "/dev/stdin", stdin=text)
        except Refused as refused:
            raise meaning(refused) from refused
    else:
        word = state_of(full)
        if not is_ours(tags(there), fleet):
            message = f"a domain called {full} is there already and is not this fleet's; it is left alone"
            raise Failure("invalid_request", message)
        # whoever powered it off meant it; only what never ran is still to be started
        if machine(there, word, fleet)["state"] != "pending":
            return machine(there, word, fleet)
    try:
        make_volumes(request, full, name)
        virsh("start", full)
    except (Refused, Failure) as refused:
        # if that fails too, the machine is unknown, and listed
        erase(full)
        raise (refused if isinstance(refused, Failure) else meaning(refused)) from refused
    return machine(dump(full), state_of(full), fleet)


def described(request, full):
    """The XML of a new domain, from that of a machine that works."""
    spec = request["spec"]
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "domain.xml")
    try:
        domain = ET.parse(spec.get("domain", beside)).getroot()
    except (OSError, ET.ParseError) as error:
        raise Failure("invalid_request", f"spec: `domain`: {error}") from error
    for gone in ("uuid", "name", "metadata"):
        for element in domain.findall(gone):
            domain.remove(element)
    ET.SubElement(domain, "name").text = full
    metadata = ET.SubElement(domain, "metadata")
    metadata.append(marked({**request["tags"], CREATED: now().strftime("%Y-%m-%dT%H:%M:%SZ")}))
    if "memory_mib" in spec:
        for element in domain.findall("memory") + domain.findall("currentMemory"):
            domain.remove(element)
        ET.SubElement(domain, "memory", unit="MiB").text = str(spec["memory_mib"])
    if "cpus" in spec:
        for element in domain.findall("vcpu"):
            domain.remove(element)
        ET.SubElement(domain, "vcpu").text = str(spec["cpus"])
    for nvram in domain.findall("os/nvram"):
        nvram.text = None
    for interface in domain.findall("devices/interface"):
        for address in interface.findall("mac"):
            interface.remove(address)
    give_disks(domain, full)
    return domain


def give_disks(domain, full):
    devices = domain.find("devices")
    disks = [disk for disk in devices.findall("disk") if disk.get("device", "disk") == "disk"] if devices is not None else []
    if not disks:
        raise Failure("invalid_request", "spec: `domain` has no disk that could become the machine's")
    for element in disks[0].findall("source") + disks[0].findall("backingStore"):
        disks[0].remove(element)
    disks[0].set("type", "volume")
    ET.SubElement(disks[0], "source", pool=POOL, volume=full + OVERLAY)
    driver = disks[0].find("driver")
    if driver is None:
        driver = ET.SubElement(disks[0], "driver", name="qemu")
    driver.set("type", "qcow2")
    # cloud-init finds the seed by its label, on whatever it stands
    bus = disks[0].find("target").get("bus", "virtio")
    seed = ET.SubElement(devices, "disk", type="volume", device="disk")
    ET.SubElement(seed, "driver", name="qemu", type="raw")
    ET.SubElement(seed, "source", pool=POOL, volume=full + SEED)
    ET.SubElement(seed, "target", dev="vdz" if bus == "virtio" else "sdz", bus=bus)
    ET.SubElement(seed, "readonly")
    for serial in devices.findall("serial[@type='file']"):
        serial.find("source").set("path", os.path.join(pool_folder(), full + CONSOLE))


def pool_folder():
    return ET.fromstring(virsh("pool-dumpxml", POOL)).findtext("target/path")


def make_volumes(request, full, name):
    spec = request["spec"]
    # of an attempt that died half-way
    delete_volumes(full)
    if "disk_gib" in spec:
        capacity = spec["disk_gib"] << 30
    else:
        image = ET.fromstring(virsh("vol-dumpxml", "--pool", POOL, spec["image"]))
        capacity = int(image.findtext("capacity"))
    overlay = ["--format", "qcow2", "--backing-vol", spec["image"], "--backing-vol-format", spec.get("image_format", "qcow2")]
    virsh("vol-create-as", POOL, full + OVERLAY, str(capacity), *overlay)
    # known to the pool before QEMU writes into it: a pool that is refreshed while others make volumes refuses
    virsh("vol-create-as", POOL, full + CONSOLE, "0", "--format", "raw")
    with tempfile.TemporaryDirectory() as folder:
        seed = make_seed(folder, name, request["user_data"])
        virsh("vol-create-as", POOL, full + SEED, str(os.path.getsize(seed)), "--format", "raw")
        virsh("vol-upload", "--pool", POOL, full + SEED, seed)


def make_seed(folder, name, user_data):
    """cloud-init's NoCloud: a file system with the label cidata, and two files in it."""
    tool = next((tool for tool in SEED_TOOLS if shutil.which(tool[0])), None)
    if tool is None:
        raise Failure("invalid_request", "none of genisoimage, mkisofs and xorriso is installed where Parmanu runs")
    texts = {"meta-data": f"instance-id: {name}\nlocal-hostname: {name}\n", "user-data": user_data}
    files = []
    for file, text in texts.items():
        files.append(os.path.join(folder, file))
        with open(files[-1], "w", encoding="utf-8") as opened:
            opened.write(text)
    seed = os.path.join(folder, "seed.iso")
    run(*tool, "-quiet", "-output", seed, "-volid", "cidata", "-joliet", "-rock", *files)
    return seed


def delete(request, asked):
    full = f"{request['fleet']}.{asked['name']}"
    domain = dump(asked["id"])
    if domain is not None:
        if not is_ours(tags(domain), request["fleet"]) or domain.findtext("name") != full:
            message = f"the domain {asked['id']} is not this fleet's machine {asked['name']}; it is left alone"
            raise Failure("invalid_request", message)
        # what was listed as powered off may have been started since, and have a job
        if asked["state"] == "stopped" and domain.get("id"):
            raise Failure("unavailable", f"{full} was powered off when it was listed, and runs now: it is left alone")
    elif dump(full) is not None:
        # another one of that name, which was not asked about
        return
    erase(full)


def erase(full):
    """Ends it and deletes what belongs to it, the domain last: as long as anything is left it is listed."""
    for step in (["destroy", full], None, ["undefine", full, "--nvram", "--managed-save", "--snapshots-metadata"]):
        if step is None:
            delete_volumes(full)
            continue
        try:
            virsh(*step)
        except Refused as refused:
            if "is not running" not in refused.words and not is_gone(refused, full):
                raise


def delete_volumes(full):
    for kind in (OVERLAY, SEED, CONSOLE):
        try:
            virsh("vol-delete", "--pool", POOL, full + kind)
        except Refused as refused:
            # not "failed to get vol" alone, which a connection that broke is worded as too
            if "no storage vol" not in refused.words:
                raise


def renew(request, asked):
    domain = dump(asked["id"])
    if domain is None:
        return
    if not is_ours(tags(domain), request["fleet"]):
        raise Failure("invalid_request", f"the domain {asked['id']} is not this fleet's any more")
    # without its namespace, which virsh adds
    element = ET.tostring(marked({**tags(domain), "parmanu-expires": request["until"]}, space=""), encoding="unicode")
    # both for the machine that runs and for its definition
    both = ["--config", "--live"] if domain.get("id") else ["--config"]
    virsh("metadata", asked["id"], "--uri", NAMESPACE, "--key", "parmanu", "--set", element, *both)


def console(request):
    asked = request["machine"]
    volume = f"{request['fleet']}.{asked['name']}{CONSOLE}"
    try:
        text = virsh("vol-download", "--pool", POOL, volume, "/dev/stdout")
    except Refused as refused:
        if "failed to get vol" in refused.words:
            return None
        raise meaning(refused) from refused
    return text[-LONGEST_CONSOLE:]


def meaning(refused):
    """libvirt's and QEMU's words as the contract's kinds."""
    low = refused.words.lower()
    for kind, parts in {
        "out_of_capacity": ["cannot allocate memory", "no space left", "not enough space"],
        "unauthorized": ["authentication failed", "permission denied", "access denied"],
        "unreachable": ["failed to connect", "cannot recv data", "connection refused"],
        "unknown_outcome": ["end of file", "connection reset", "broken pipe", "timed out"],
        "unavailable": ["cannot acquire state change lock", "internal error"],
    }.items():
        if any(part in low for part in parts):
            return Failure(kind, refused.words)
    return Failure("invalid_request", refused.words)


if __name__ == "__main__":
    serve(list=list_machines, create=create, delete=delete, renew=renew, console=console)
