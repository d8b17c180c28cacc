#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""manifests.py extract PAGE: write each file that the RECIPES of PAGE, the source of a manual page, show for a service manager
    to LINE/NAME; its name, or for a script that of its directory, stands before it as _NAME_.
manifests.py check FILE: is FILE what Kubernetes would take? Of the keys of a DaemonSet it knows those in KEYS.
manifests.py pods FILE: a line of shell words for each container: name, uid, mountPath, command."""
import os
import re
import shlex
import sys

KEYS = {
    "": {"apiVersion": str, "kind": str, "metadata": dict, "spec": dict},
    "metadata": {"name": str, "namespace": str, "labels": dict},
    "spec": {"selector": dict, "updateStrategy": dict, "minReadySeconds": int, "template": dict},
    "selector": {"matchLabels": dict},
    "updateStrategy": {"type": str, "rollingUpdate": dict},
    "rollingUpdate": {"maxSurge": int, "maxUnavailable": int},
    "template": {"metadata": dict, "spec": dict},
    "template.spec": {"hostNetwork": bool, "terminationGracePeriodSeconds": int, "containers": list, "volumes": list},
    "containers": {"name": str, "image": str, "command": list, "securityContext": dict, "volumeMounts": list},
    "securityContext": {"runAsUser": int, "runAsGroup": int, "allowPrivilegeEscalation": bool, "readOnlyRootFilesystem": bool,
                        "capabilities": dict},
    "capabilities": {"drop": list},
    "volumeMounts": {"name": str, "mountPath": str, "readOnly": bool},
    "volumes": {"name": str, "hostPath": dict},
    "hostPath": {"path": str, "type": str},
}
FREE = ("labels", "matchLabels")        # any words


def extract(page):
    name, begins, inside, recipes = None, True, None, False
    for number, line in enumerate(open(page).read().split("\n"), 1):
        if line.startswith("# ") and inside is None:
            recipes = line == "# RECIPES"
        if line == "```" and inside is not None:
            text = re.sub(r"\\(.)", r"\1", "".join(inside))
            if recipes and name and text.startswith(("[Unit]", "[Service]", "apiVersion:", "defaults\n", "#!/bin/sh\nexec fd")):
                os.mkdir(str(number))
                with open(f"{number}/{name.replace('/', '.')}", "w") as f:
                    f.write(text)
            inside = None
        elif line == "```":
            inside = []
        elif inside is not None:
            inside.append(line + "\n")
        else:
            found = re.search(r"(?:^|\s)_([\w@.-]+\.(?:service|yaml|cfg)|\w+/run)_", line)
            if found and begins:
                name, begins = found.group(1), False        # the first of a paragraph
            begins = begins or not line


def load(path):
    import yaml
    with open(path) as f:
        return list(yaml.safe_load_all(f))


def look(key, value, where):
    """VALUE stands at KEY."""
    if key in FREE:
        assert all(isinstance(word, str) for word in value.values()), where
        return
    for k, v in value.items():
        known = KEYS["template.spec" if where.endswith("template.spec") else key]
        assert k in known, f"{where}.{k}: not a key"
        assert type(v) is known[k], f"{where}.{k}: not {known[k].__name__}"
        for each in v if type(v) is list else [v]:
            if type(each) is dict:
                look(k, each, f"{where}.{k}")
            elif type(v) is list:
                assert type(each) is str, f"{where}.{k}: {each} is no string"


def check(path):
    for each in load(path):
        look("", each, "")
        assert (each["apiVersion"], each["kind"]) == ("apps/v1", "DaemonSet")
        spec = each["spec"]["template"]["spec"]
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert each["spec"]["selector"]["matchLabels"].items() <= labels.items(), "selects not its own pods"
        volumes = {v["name"]: v["hostPath"]["path"] for v in spec["volumes"]}
        assert all(v["hostPath"]["type"] == "Directory" for v in spec["volumes"])
        for c in spec["containers"]:
            for mount in c["volumeMounts"]:
                assert volumes[mount["name"]] == mount["mountPath"], "the path is another in the pod"


def pods(path):
    for each in load(path):
        for c in each["spec"]["template"]["spec"]["containers"]:
            mount = c["volumeMounts"][0]
            print(shlex.join([c["name"], str(c["securityContext"]["runAsUser"]), mount["mountPath"], *c["command"]]))


{"extract": extract, "check": check, "pods": pods}[sys.argv[1]](sys.argv[2])
