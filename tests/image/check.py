"""Checks the image that tests/image/run has built: `check.py DIRECTORY PROFILE VERSION REVISION`, where DIRECTORY has
the OCI layout in `oci`.

The index has both platforms. Each image has the program, the certificates and /tmp, and no other file, so no shell; the
user, the labels and the command of the Dockerfile; less than 35 MB. Each program is static, has the list of its
dependencies in it, and works as that user in that root file system: `--version`, `validate`, `run --simulate`, and
`serve --simulate` until a run that was started by HTTP has succeeded. The program of the other processor runs in qemu.
"""

import json
import platform
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import zlib
from pathlib import Path

OUT, PROFILE, VERSION, REVISION = Path(sys.argv[1]), *sys.argv[2:5]
ARCHITECTURES = {"amd64": ("x86_64", 62), "arm64": ("aarch64", 183)}
MAX_BYTES = 35_000_000
FILES = {
    "etc": "0755",
    "etc/ssl": "0755",
    "etc/ssl/certs": "0755",
    "etc/ssl/certs/ca-certificates.crt": "0644",
    "rafay-relay-sop": "0755",
    "tmp": "1777",
}
LABELS = {
    "org.opencontainers.image.title": "rafay-relay-sop",
    "org.opencontainers.image.description": "A declarative runbook interpreter for EKS and Kubernetes operations",
    "org.opencontainers.image.source": "https://github.com/OWNER/rafay-relay-sop",
    "org.opencontainers.image.licenses": "MIT",
    "org.opencontainers.image.version": VERSION,
    "org.opencontainers.image.revision": REVISION,
}


def equal(what, actual, expected):
    if actual != expected:
        sys.exit(f"FAILED: {what} is {actual!r}, and not {expected!r}")


def blob(descriptor):
    return OUT / "oci/blobs" / descriptor["digest"].replace(":", "/")


def load(descriptor):
    return json.loads(blob(descriptor).read_text())


def sections(elf):
    """Returns the machine, whether an interpreter is named, and the sections by name, of a 64-bit program."""
    machine = struct.unpack_from("<H", elf, 18)[0]
    segments, headers = struct.unpack_from("<QQ", elf, 32)
    segment_size, segment_count, size, count, names = struct.unpack_from("<HHHHH", elf, 54)
    kinds = [struct.unpack_from("<I", elf, segments + i * segment_size)[0] for i in range(segment_count)]
    entries = [struct.unpack_from("<IIQQQQ", elf, headers + i * size) for i in range(count)]
    texts = elf[entries[names][4] :]
    found = {texts[e[0] : texts.index(b"\0", e[0])].decode(): elf[e[4] : e[4] + e[5]] for e in entries}
    return machine, 3 in kinds, found


def check_image(architecture, descriptor):
    """Checks one image of the index, and returns the directory into which its files were unpacked."""
    manifest = load(descriptor)
    image = load(manifest["config"])
    equal("the platform of the image", (image["os"], image["architecture"]), ("linux", architecture))
    config = image["config"]
    equal("the user", config["User"], "65532:65532")
    equal("the entry point", config["Entrypoint"], ["/rafay-relay-sop"])
    equal("the command", config["Cmd"], ["serve", "--listen", ":8080"])
    equal("the ports", config["ExposedPorts"], {"8080/tcp": {}})
    labels = {name: value for name, value in config["Labels"].items() if not name.startswith("io.buildah.")}
    equal("the labels", labels, LABELS)

    root = OUT / architecture
    files, size = {}, 0
    for layer in manifest["layers"]:
        with tarfile.open(blob(layer)) as tar:
            for entry in tar:
                files[entry.name.strip("/")] = f"{entry.mode & 0o7777:04o}"
                size += entry.size
                equal(f"the owner of {entry.name}", (entry.uid, entry.gid), (0, 0))
            tar.extractall(root, filter="tar")
    files.pop("", None)
    equal("the list of files", files, FILES)
    (root / "tmp").chmod(0o1777)
    if PROFILE == "release" and size >= MAX_BYTES:
        sys.exit(f"FAILED: {architecture} has {size} bytes, and not less than {MAX_BYTES}")

    machine, has_interpreter, found = sections((root / "rafay-relay-sop").read_bytes())
    equal("the processor of the program", machine, ARCHITECTURES[architecture][1])
    equal("whether the program is linked dynamically", has_interpreter, False)
    packages = json.loads(zlib.decompress(found[".dep-v0"]))["packages"]
    compressed = sum(layer["size"] for layer in manifest["layers"])
    print(f"{architecture}: {size / 1e6:.1f} MB, {compressed / 1e6:.1f} MB compressed, lists {len(packages)} packages")
    return root


class Program:
    """The program in its root file system, as its user, with no environment."""

    def __init__(self, architecture, root):
        machine = ARCHITECTURES[architecture][0]
        self.is_native = machine == platform.machine()
        self.command = [shutil.which("chroot"), "--userspec=65532:65532", str(root)]
        if not self.is_native:
            shutil.copy(shutil.which(f"qemu-{machine}-static"), root / "qemu")
            self.command.append("/qemu")
        self.command.append("/rafay-relay-sop")
        self.name = architecture
        shutil.copy("runbooks/relay-scale.yaml", root / "tmp")

    def run(self, *arguments, code=0, text="", **environment):
        ended = subprocess.run(
            [*self.command, *arguments], env=environment, capture_output=True, text=True, timeout=600
        )
        output = ended.stdout + ended.stderr
        if ended.returncode != code or text not in output:
            sys.exit(f"FAILED: {self.name}: {' '.join(arguments)} ended with {ended.returncode}:\n{output}")
        return output

    def check(self):
        equal("--version", self.run("--version").strip(), f"rafay-relay-sop {VERSION}")
        self.run("validate", "/tmp/relay-scale.yaml")
        began = time.monotonic()
        self.run("run", "relay-scale", "--simulate", text="] Succeeded")
        print(f"{self.name}: run relay-scale --simulate in {time.monotonic() - began:.1f} s")
        # What a person meets first: the image's own command without a token, and a root that cannot be written.
        self.run("serve", "--listen", ":8080", code=2, text="hint: pass --token-file FILE, or --allow-anonymous")
        self.run("run", "relay-scale", "--simulate", code=2, text="a pod mounts an emptyDir there", TMPDIR="/etc")
        self.check_service()

    def check_service(self):
        with self.serve("--state-dir", "/tmp/state") as service:
            print(f"{self.name}: serve answers /health after {service.seconds * 1000:.0f} ms, {service.memory()}")
        with self.serve("--simulate", "--speed", "600") as service:
            equal("the status of /run", service.get("/run")["status"], "started")
            until = time.monotonic() + (60 if self.is_native else 600)
            while (status := service.get("/status"))["status"] == "Running" and time.monotonic() < until:
                time.sleep(0.2)
            equal(f"the status of the run, whose log ends with {status['logs'][-3:]},", status["status"], "Success")

    def serve(self, *arguments):
        return Service([*self.command, "serve", "--listen", "127.0.0.1:0", *arguments])


class Service:
    """A process that serves on loopback, from the moment when it answers /health."""

    def __init__(self, command):
        began = time.monotonic()
        self.log = tempfile.NamedTemporaryFile("r")
        self.process = subprocess.Popen(command, env={}, stdout=subprocess.DEVNULL, stderr=self.log.fileno())
        while (address := re.search(r"listening on (http://\S+)\n", Path(self.log.name).read_text())) is None:
            if self.process.poll() is not None:
                sys.exit(f"FAILED: {' '.join(command)}: {self.log.read()}")
            time.sleep(0.001)
        self.address = address.group(1)
        equal("/health", self.get("/health"), {"status": "healthy"})
        self.seconds = time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)

    def get(self, path):
        with urllib.request.urlopen(self.address + path, timeout=60) as response:
            return json.load(response)

    def memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return f"{int(re.search(r'VmRSS:[^0-9]*([0-9]+) kB', status).group(1)) / 1024:.1f} MiB resident"


index = json.loads((OUT / "oci/index.json").read_text())
[descriptor] = index["manifests"]
images = {f"{m['platform']['os']}/{m['platform']['architecture']}": m for m in load(descriptor)["manifests"]}
equal("the list of platforms", sorted(images), ["linux/amd64", "linux/arm64"])
for name in ARCHITECTURES:
    Program(name, check_image(name, images[f"linux/{name}"])).check()
print(f"the image: both platforms are as expected ({PROFILE})")
