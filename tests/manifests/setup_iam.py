"""Runs k8s/setup-iam.sh with the AWS CLI against moto, and compares what it made.

Argument: moto_server. moto has no associations of EKS Pod Identity and no add-ons: those calls are answered here. It
gives every cluster the same issuer, and does not check the conditions of policies: the documents are compared word for
word.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from pathlib import Path

from awscli.clidriver import create_clidriver

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "k8s/setup-iam.sh"
ACCOUNT, REGION, CLUSTER = "123456789012", "us-west-2", "rafay-cluster"
READING = re.compile(r"^(get|list|describe|wait)\b")
ROLE, POLICY = "rafay-relay-sop-role", "rafay-relay-sop-role-policy"
POLICY_ARN = f"arn:aws:iam::{ACCOUNT}:policy/{POLICY}"
USUAL = ["--cluster", CLUSTER, "--region", REGION, "--account", ACCOUNT]

# The AWS CLI takes most of a second to start. This stands in for it, and hands its arguments to a process that has it
# loaded.
SHIM = """#!/usr/bin/env bash
call=$(mktemp -d "$AWS_SHIM/call.XXXXXX")
printf '%s\\0' "$@" > "$call/arguments"
mkfifo "$call/code"
echo "$call" > "$AWS_SHIM/queue"
read -r code < "$call/code"
cat "$call/out"
cat "$call/error" >&2
exit "$code"
"""


class PodIdentity:
    """What moto lacks: associations, and the add-on with their agent."""

    def __init__(self, directory):
        self.path = directory / "pod-identity.json"

    def load(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {"roles": [], "agent": None}

    def answer(self, arguments):
        """Returns (code, output, error), or nothing where moto knows the call."""
        words = [word for word in arguments if not word.startswith("--")]
        if "eks" not in words:
            return None
        call = words[words.index("eks") + 1]
        option = lambda name: arguments[arguments.index(name) + 1]
        state = self.load()
        match call:
            case "list-pod-identity-associations":
                assert (option("--namespace"), option("--service-account")) == ("rafay-core", "rafay-relay-sop")
                return 0, "a-1\n" if state["roles"] else "", ""
            case "describe-pod-identity-association":
                assert option("--association-id") == "a-1"
                return 0, state["roles"][-1] + "\n", ""
            case "create-pod-identity-association" | "update-pod-identity-association":
                state["roles"].append(option("--role-arn"))
                self.path.write_text(json.dumps(state))
                return 0, "{}\n", ""
            case "describe-addon" if state["agent"]:
                return 0, state["agent"] + "\n", ""
            case "describe-addon":
                return 254, "", "An error occurred (ResourceNotFoundException) when calling DescribeAddon: No addon\n"
        return None


def serve_shim(directory):
    """Answers the calls of the shim, one after the other, until the process is ended."""
    fake = PodIdentity(directory)
    # Whatever it loads when it is used first is loaded here.
    create_clidriver().session.create_client("iam", region_name=REGION)
    while True:
        for line in (directory / "queue").open():
            call = Path(line.strip())
            arguments = (call / "arguments").read_text().split("\0")[:-1]
            with (directory / "calls").open("a") as calls:
                calls.write(json.dumps(arguments) + "\n")
            if answer := fake.answer(arguments):
                code, out, error = answer
                (call / "out").write_text(out)
                (call / "error").write_text(error)
            else:
                child = os.fork()
                if child == 0:
                    for name, number in (("out", 1), ("error", 2)):
                        os.dup2(os.open(call / name, os.O_CREAT | os.O_WRONLY, 0o600), number)
                    code = 255
                    try:
                        code = create_clidriver().main(arguments)
                    except BaseException:
                        traceback.print_exc()
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            (call / "code").write_text(f"{code}\n")


class World:
    """An AWS account with one cluster, and the directory of the shim."""

    def __init__(self, url, directory):
        self.directory = directory
        self.url = url
        self.environment = {
            "PATH": f"{directory}:{os.environ['PATH']}",
            "AWS_SHIM": str(directory),
            "AWS_ENDPOINT_URL": url,
        }

    def reset(self):
        request = urllib.request.Request(f"{self.url}/moto-api/reset", method="POST")
        urllib.request.urlopen(request).read()
        (self.directory / "pod-identity.json").unlink(missing_ok=True)
        self.make_cluster(CLUSTER)

    def make_cluster(self, name):
        self.client("eks").create_cluster(
            name=name, roleArn=f"arn:aws:iam::{ACCOUNT}:role/eks", resourcesVpcConfig={}
        )

    def client(self, service):
        session = create_clidriver().session
        return session.create_client(service, region_name=REGION, endpoint_url=self.url)

    def run(self, *arguments, environment=None, code=0):
        """Returns the output of the script, and the calls that may have written."""
        calls = self.directory / "calls"
        calls.unlink(missing_ok=True)
        ended = subprocess.run(
            ["bash", SCRIPT, *arguments],
            env=self.environment | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert ended.returncode == code, f"{arguments}: {ended.returncode}\n{ended.stdout}"
        made = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
        self.reads = len(made)
        # `--region us-west-2 iam create-role …`
        operations = [call[3] if call[0] == "--region" else call[1] for call in made]
        return ended.stdout, [operation for operation in operations if not READING.match(operation)]

    def issuer(self, cluster=CLUSTER):
        url = self.client("eks").describe_cluster(name=cluster)["cluster"]["identity"]["oidc"]["issuer"]
        return url.removeprefix("https://")

    def state(self):
        """Everything that the script makes in IAM."""
        iam = self.client("iam")
        version = iam.get_policy(PolicyArn=POLICY_ARN)["Policy"]["DefaultVersionId"]
        role = iam.get_role(RoleName=ROLE)["Role"]
        providers = iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
        return {
            "policy": iam.get_policy_version(PolicyArn=POLICY_ARN, VersionId=version)["PolicyVersion"]["Document"],
            "trust": role["AssumeRolePolicyDocument"],
            "attached": [p["PolicyArn"] for p in iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]],
            "inline": iam.list_role_policies(RoleName=ROLE)["PolicyNames"],
            "providers": {
                provider["Arn"].split("/", 1)[1]: iam.get_open_id_connect_provider(
                    OpenIDConnectProviderArn=provider["Arn"]
                )["ClientIDList"]
                for provider in providers
            },
        }

    def versions(self):
        versions = self.client("iam").list_policy_versions(PolicyArn=POLICY_ARN)["Versions"]
        return sorted(version["VersionId"] for version in versions)


def document(name, cluster=CLUSTER, issuer=""):
    """A file of k8s/, with its placeholders replaced."""
    text = (ROOT / "k8s" / name).read_text()
    text = text.replace("oidc.eks.REGION.amazonaws.com/id/OIDC_ID", issuer)
    for placeholder, value in (("ACCOUNT_ID", ACCOUNT), ("REGION", REGION), ("CLUSTER", cluster)):
        text = text.replace(placeholder, value)
    assert not re.search("OIDC_ID|ACCOUNT_ID|REGION|CLUSTER", text), text
    return json.loads(text)


def refuses_bad_input(world):
    for arguments, expected in [
        ([], "--cluster is missing"),
        (["--cluster", "x"], "--region is missing"),
        (["--cluster", "x", "--region", REGION], "--account is missing"),
        (["--cluster", "-x"], "'-x' is not a valid name of an EKS cluster"),
        (["--cluster", "a/b"], "'a/b' is not a valid name"),
        (["--cluster", "a|b;c"], "is not a valid name"),
        (["--cluster", "x", "--region", "us-west"], "'us-west' is not a valid AWS region"),
        (["--cluster", "x", "--region", "US-WEST-2"], "is not a valid AWS region"),
        ([*USUAL, "--account", "12345678901"], "is not a valid AWS account: it has 12 digits"),
        ([*USUAL, "--account", "1234-5678-9012"], "is not a valid AWS account"),
        ([*USUAL, "--namespace", "Rafay"], "'Rafay' is not a valid namespace"),
        ([*USUAL, "--service-account=a_b"], "'a_b' is not a valid name of a ServiceAccount"),
        ([*USUAL, "--role-name", "a b"], "'a b' is not a valid name of an IAM role"),
        ([*USUAL, "--role-name", "x" * 65], "is not a valid name of an IAM role"),
        ([*USUAL, "--policy-name", "a\nb"], "is not a valid name of an IAM policy"),
        ([*USUAL, "--dryrun"], "unknown argument '--dryrun'"),
        ([*USUAL, "more"], "unknown argument 'more'"),
        (["--cluster"], "--cluster needs a value"),
    ]:
        said, writes = world.run(*arguments, code=2)
        assert expected in said and (writes, world.reads) == ([], 0), f"{arguments}: {said}"
    said, _ = world.run("--help")
    assert said.startswith("usage: k8s/setup-iam.sh") and world.reads == 0

    tools = world.directory / "tools"
    tools.mkdir()
    for tool in ("bash", "dirname", "cat"):
        (tools / tool).symlink_to(shutil.which(tool))
    said, _ = world.run(*USUAL, environment={"PATH": str(tools)}, code=1)
    assert "the AWS CLI is not on PATH" in said, said


def refuses_another_account_and_cluster(world):
    world.reset()
    said, writes = world.run(*USUAL, "--account", "999999999999", code=1)
    assert f"the credentials are of account {ACCOUNT}" in said and not writes, said
    said, writes = world.run(*USUAL, "--cluster", "other", code=1)
    assert "cluster other not found in us-west-2" in said and not writes, said


def irsa_is_set_up_once(world):
    world.reset()
    said, writes = world.run(*USUAL, "--dry-run")
    assert not writes and "would create role rafay-relay-sop-role\n" in said, said
    assert "dry run: nothing was changed" in said, said
    assert not world.client("iam").list_roles()["Roles"]

    # As the original's Makefile names them.
    variables = {"CLUSTER_NAME": CLUSTER, "REGION": REGION, "ACCOUNT_ID": ACCOUNT}
    said, writes = world.run(environment=variables)
    assert writes == ["create-open-id-connect-provider", "create-policy", "create-role", "attach-role-policy"], said
    issuer = world.issuer()
    expected = {
        "policy": document("iam-policy.json"),
        "trust": document("iam-trust-policy.json", issuer=issuer),
        "attached": [POLICY_ARN],
        "inline": [],
        "providers": {issuer: ["sts.amazonaws.com"]},
    }
    assert world.state() == expected, json.dumps(world.state(), indent=1)
    conditions = expected["trust"]["Statement"][0]["Condition"]["StringEquals"]
    assert conditions == {
        f"{issuer}:aud": "sts.amazonaws.com",
        f"{issuer}:sub": "system:serviceaccount:rafay-core:rafay-relay-sop",
    }

    said, writes = world.run(*USUAL, "--irsa")
    assert not writes and "nothing was changed" in said, said
    assert world.state() == expected
    return expected


def drift_is_repaired(world, expected):
    iam = world.client("iam")
    other = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "eks:ListClusters", "Resource": "*"}]}
    )
    for _ in range(3):
        iam.create_policy_version(PolicyArn=POLICY_ARN, PolicyDocument=other, SetAsDefault=True)
    other_trust = json.dumps(document("iam-trust-policy-pod-identity.json"))
    iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=other_trust)
    iam.detach_role_policy(RoleName=ROLE, PolicyArn=POLICY_ARN)
    said, writes = world.run(*USUAL, "--dry-run")
    assert not writes, said
    said, writes = world.run(*USUAL)
    assert writes == ["create-policy-version", "update-assume-role-policy", "attach-role-policy"], said
    assert world.state() == expected and world.versions() == ["v1", "v2", "v3", "v4", "v5"]

    # The sixth version: the oldest goes, but never the one in force.
    iam.set_default_policy_version(PolicyArn=POLICY_ARN, VersionId="v1")
    iam.delete_policy_version(PolicyArn=POLICY_ARN, VersionId="v5")
    iam.create_policy_version(PolicyArn=POLICY_ARN, PolicyDocument=other, SetAsDefault=False)
    iam.set_default_policy_version(PolicyArn=POLICY_ARN, VersionId="v2")
    before = world.versions()
    assert len(before) == 5, before
    said, writes = world.run(*USUAL)
    assert writes == ["delete-policy-version", "create-policy-version"], said
    assert "delete version v1 of policy" in said, said
    assert world.state() == expected and len(world.versions()) == 5
    _, writes = world.run(*USUAL)
    assert not writes


def others_are_left_alone(world, expected):
    world.make_cluster("stage")
    to_stage = ["--cluster", "stage", "--region", REGION, "--account", ACCOUNT]
    said, writes = world.run(*to_stage, code=1)
    assert "policy rafay-relay-sop-role-policy exists, and is for cluster us-west-2/rafay-cluster" in said, said
    assert "--role-name" in said and not writes, (said, writes)
    state = world.state()
    assert (state["policy"], state["trust"]) == (expected["policy"], expected["trust"])
    said, writes = world.run(*to_stage, "--role-name", "sop-stage", "--policy-name=sop-stage-policy")
    assert "role/sop-stage" in said and writes == ["create-policy", "create-role", "attach-role-policy"], said
    trust = world.client("iam").get_role(RoleName="sop-stage")["Role"]["AssumeRolePolicyDocument"]
    assert trust == document("iam-trust-policy.json", issuer=world.issuer("stage"))

    # By hand, as the original's README has it.
    world.reset()
    iam = world.client("iam")
    other_trust = json.dumps(document("iam-trust-policy-pod-identity.json"))
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=other_trust)
    said, writes = world.run(*USUAL, code=1)
    assert "role rafay-relay-sop-role exists, is different, and was not made by this script" in said, said
    assert not writes
    said, writes = world.run(*USUAL, "--adopt")
    expected_writes = ["create-open-id-connect-provider", "create-policy", "update-assume-role-policy", "tag-role"]
    assert writes == [*expected_writes, "attach-role-policy"], said
    _, writes = world.run(*USUAL)
    assert not writes
    expected = expected | {"trust": document("iam-trust-policy.json", issuer=world.issuer())}
    assert world.state()["trust"] == expected["trust"] and world.state()["policy"] == expected["policy"]


def pod_identity_is_set_up_once(world):
    world.reset()
    said, writes = world.run(*USUAL, "--pod-identity", "--dry-run")
    assert not writes and "would associate ServiceAccount rafay-core/rafay-relay-sop" in said, said
    assert "aws eks create-addon" in said, said
    said, writes = world.run(*USUAL, "--pod-identity")
    assert writes == ["create-policy", "create-role", "attach-role-policy", "create-pod-identity-association"], said
    assert world.state() == {
        "policy": document("iam-policy.json"),
        "trust": document("iam-trust-policy-pod-identity.json"),
        "attached": [POLICY_ARN],
        "inline": [],
        "providers": {},
    }
    fake = PodIdentity(world.directory)
    role = f"arn:aws:iam::{ACCOUNT}:role/{ROLE}"
    assert fake.load()["roles"] == [role]

    fake.path.write_text(json.dumps({"roles": [role], "agent": "ACTIVE"}))
    said, writes = world.run(*USUAL, "--pod-identity")
    assert not writes and "nothing was changed" in said and "hint" not in said, said
    fake.path.write_text(json.dumps({"roles": [f"arn:aws:iam::{ACCOUNT}:role/old"], "agent": "DEGRADED"}))
    said, writes = world.run(*USUAL, "--pod-identity")
    assert writes == ["update-pod-identity-association"] and "instead of old" in said, said
    assert "eks-pod-identity-agent is DEGRADED" in said, said
    assert fake.load()["roles"][-1] == role


def start_moto(program, directory):
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    log = (directory / "moto.log").open("w")
    server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json").read()
            return server, url
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                sys.exit(f"moto does not start: {(directory / 'moto.log').read_text()}")
            time.sleep(0.1)


def main():
    # The AWS CLI itself sets AWS_DATA_PATH.
    for name in [name for name in os.environ if name.startswith("AWS_") and name != "AWS_DATA_PATH"]:
        del os.environ[name]
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        (directory / "aws").write_text(SHIM)
        (directory / "aws").chmod(0o755)
        os.mkfifo(directory / "queue")
        server, url = start_moto(sys.argv[1], directory)
        os.environ["AWS_ENDPOINT_URL"] = url
        shim = os.fork()
        if shim == 0:
            try:
                serve_shim(directory)
            finally:
                os._exit(1)
        try:
            world = World(url, directory)
            refuses_bad_input(world)
            refuses_another_account_and_cluster(world)
            expected = irsa_is_set_up_once(world)
            drift_is_repaired(world, expected)
            others_are_left_alone(world, expected)
            pod_identity_is_set_up_once(world)
        finally:
            os.kill(shim, 9)
            os.waitpid(shim, 0)
            server.kill()
            server.wait()
    print("setup-iam.sh: role, trust policies and policy are as the files say; a second run writes nothing")


main()
