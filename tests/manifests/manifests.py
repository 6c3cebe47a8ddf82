"""Compares k8s/deployment.yaml and the overlays with the base, and the base with the program.

Argument: kubectl, by which everything is rendered.
"""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
NAMESPACES = {"rafay-core", "kube-system"}
CLUSTER_SCOPED = {
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ClusterRole",
    "ClusterRoleBinding",
}


def render(kubectl, directory):
    """What `kubectl apply -k` would send, by kind and name."""
    command = [kubectl, "kustomize", str(ROOT / directory)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"{directory}: {done.stderr}"
    # Such as for a field of the kustomization that is about to go.
    assert not done.stderr, f"{directory}: {done.stderr}"
    return named(yaml.safe_load_all(done.stdout))


def named(objects):
    objects = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]): one for one in objects}
    for kind, namespace, name in objects:
        # A Namespace, once deleted, would take the relay with it.
        expected = {None} if kind in CLUSTER_SCOPED else NAMESPACES
        assert namespace in expected, f"{kind} {name} in {namespace}"
    return objects


def find(objects, kind):
    [found] = [one for (its_kind, _, _), one in objects.items() if its_kind == kind]
    return found


def container_of(deployment):
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return container


def deployment_file_is_the_kustomization(kubectl):
    text = (ROOT / "k8s/deployment.yaml").read_text()
    objects = list(yaml.safe_load_all(text))
    rendered = render(kubectl, "k8s")
    assert named(objects) == rendered, "k8s/deployment.yaml is not what `kubectl kustomize k8s` renders"
    kinds = [one["kind"] for one in objects]
    definitions = kinds.count("CustomResourceDefinition")
    assert definitions == 2 and kinds[:2] == ["CustomResourceDefinition"] * 2, kinds
    assert "arn:aws:iam::ACCOUNT_ID:role/rafay-relay-sop-role" in text
    runbooks = rendered["ConfigMap", "rafay-core", "rafay-relay-sop-runbooks"]["data"]
    files = {path.name: path.read_text() for path in (ROOT / "runbooks").glob("*.yaml")}
    # Not all of them: the generated roles are those of the runbooks that are listed.
    assert "relay-scale.yaml" in runbooks and runbooks.items() <= files.items(), sorted(runbooks)
    assert find(rendered, "ServiceAccount")["metadata"]["name"] == "rafay-relay-sop"
    service = find(rendered, "Service")
    assert (service["metadata"]["name"], service["spec"]["ports"][0]["port"]) == ("rafay-relay-sop", 8080)
    selectors = [service["spec"]["selector"], find(rendered, "Deployment")["spec"]["template"]["metadata"]["labels"]]
    assert selectors == [{"app": "rafay-relay-sop"}] * 2, selectors
    config = rendered["ConfigMap", "rafay-core", "rafay-relay-sop-config"]["data"]
    assert config == {"aws-region": "us-west-2", "eks-cluster": "rafay-cluster"}, config


def program_fits_its_pod(base):
    deployment = find(base, "Deployment")
    spec, container = deployment["spec"]["template"]["spec"], container_of(deployment)
    serve = (ROOT / "src/cli/serve.rs").read_text()
    [limit] = re.findall(r"const SHUTDOWN_LIMIT: Duration = Duration::from_secs\((\d+)\)", serve)
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > pause + int(limit) + 5, "the pod is killed while a call is in flight"
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    for variable in container["env"]:
        assert f'= "{variable["name"]}"' in sources, f"{variable['name']} is not a variable of the program"
    resources = container["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"]) and "memory" in resources["limits"], resources
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert f'Route::new("{path}"' in (ROOT / "src/server/api.rs").read_text(), path


def overlays_change_only_what_they_say(kubectl, base):
    expected = copy.deepcopy(base)
    del find(expected, "ServiceAccount")["metadata"]["annotations"]
    assert render(kubectl, "k8s/overlays/pod-identity") == expected, "pod-identity"

    expected = copy.deepcopy(base)
    find(expected, "Deployment")["spec"]["replicas"] = 1
    del expected["PodDisruptionBudget", "rafay-core", "rafay-relay-sop"]
    assert render(kubectl, "k8s/overlays/single-replica") == expected, "single-replica"

    rendered = render(kubectl, "k8s/overlays/token")
    expected = copy.deepcopy(base)
    spec = find(expected, "Deployment")["spec"]["template"]["spec"]
    container = container_of(find(expected, "Deployment"))
    path = "/etc/rafay-relay-sop/token"
    variables = [variable for variable in container["env"] if variable["name"] != "SOP_ALLOW_ANONYMOUS"]
    container["env"] = [{"name": "SOP_TOKEN_FILE", "value": f"{path}/token"}, *variables]
    container["volumeMounts"].insert(0, {"name": "token", "mountPath": path, "readOnly": True})
    secret = {"secretName": "rafay-relay-sop-token", "defaultMode": 0o440, "items": [{"key": "token", "path": "token"}]}
    spec["volumes"].append({"name": "token", "secret": secret})
    by_name = lambda one: one["name"]
    for objects in (expected, rendered):
        spec = find(objects, "Deployment")["spec"]["template"]["spec"]
        spec["volumes"].sort(key=by_name)
        container_of(find(objects, "Deployment"))["env"].sort(key=by_name)
        container_of(find(objects, "Deployment"))["volumeMounts"].sort(key=by_name)
    assert rendered == expected, "token"

    rendered = render(kubectl, "k8s/overlays/accounts")
    expected = copy.deepcopy(base)
    for container in (container_of(find(expected, "Deployment")), container_of(find(rendered, "Deployment"))):
        container["env"] = sorted(container["env"], key=by_name)
    container = container_of(find(expected, "Deployment"))
    variables = [variable for variable in container["env"] if variable["name"] != "SOP_ALLOW_ANONYMOUS"]
    container["env"] = sorted([{"name": "SOP_AUTH", "value": "kubernetes"}, *variables], key=by_name)
    added = set(rendered) - set(expected)
    assert {name for _, _, name in added} == {
        "rafay-relay-sop-auth-delegator",
        "rafay-relay-sop-operator",
        "rafay-relay-sop-viewer",
    }, added
    assert {key: rendered[key] for key in expected} == expected, "accounts"
    # What an operator may do is what the routes of the service ask for.
    operator = rendered["Role", "rafay-core", "rafay-relay-sop-operator"]
    granted = {resource for rule in operator["rules"] for resource in rule["resources"]}
    api = (ROOT / "src/server/api.rs").read_text()
    asked = set(re.findall(r'run_changes\("([a-z]+)"\)', api))
    assert granted == {"runbookruns", *(f"runbookruns/{name}" for name in asked)}, granted


def monitoring_adds_only_what_it_says(kubectl, base):
    rendered = render(kubectl, "k8s/overlays/monitoring")
    added = {name: rendered.pop(name) for name in list(rendered) if name not in base}
    kinds = sorted(kind for kind, _, _ in added)
    assert kinds == ["ConfigMap", "PodMonitor", "PrometheusRule"], kinds
    dashboard = find(added, "ConfigMap")
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1", dashboard["metadata"]
    [text] = dashboard["data"].values()
    assert json.loads(text)["uid"] == "rafay-relay-sop"
    monitor, pods = find(added, "PodMonitor")["spec"], find(rendered, "Deployment")["spec"]["template"]
    assert monitor["selector"]["matchLabels"].items() <= pods["metadata"]["labels"].items(), monitor
    [endpoint] = monitor["podMetricsEndpoints"]

    expected = copy.deepcopy(base)
    container = container_of(find(expected, "Deployment"))
    container["env"].insert(0, {"name": "SOP_METRICS_LISTEN", "value": ":9090"})
    container["ports"].append({"name": endpoint["port"], "containerPort": 9090, "protocol": "TCP"})
    source = {"from": [{"namespaceSelector": {}}], "ports": [{"port": 9090, "protocol": "TCP"}]}
    find(expected, "NetworkPolicy")["spec"]["ingress"].append(source)
    for objects in (expected, rendered):
        container = container_of(find(objects, "Deployment"))
        container["env"].sort(key=lambda one: one["name"])
        container["ports"].sort(key=lambda one: one["name"])
    assert rendered == expected, "monitoring"
    serve = (ROOT / "src/cli/serve.rs").read_text()
    assert 'env = "SOP_METRICS_LISTEN"' in serve and 'route("/metrics"' in (ROOT / "src/server/monitoring.rs").read_text()


def main():
    kubectl = sys.argv[1]
    deployment_file_is_the_kustomization(kubectl)
    base = render(kubectl, "k8s/base")
    program_fits_its_pod(base)
    overlays_change_only_what_they_say(kubectl, base)
    monitoring_adds_only_what_it_says(kubectl, base)
    overlays = sorted(path.name for path in (ROOT / "k8s/overlays").iterdir())
    assert overlays == ["accounts", "monitoring", "pod-identity", "single-replica", "token"], f"an overlay without a check: {overlays}"
    print("k8s/deployment.yaml is what kustomize renders; the overlays change only what they say")


main()
