//! Words for parameters.

use super::folded;

/// Words for parameters, each with the parameters that they can mean, the likeliest first.
const WORDS: &[(&[&str], &[&str])] = &[
    (&["clustername", "ekscluster", "eksclustername", "clusterid"], &["cluster"]),
    (
        &["nodegroupname", "ng", "ngname", "group", "nodegroups", "pool", "nodepool"],
        &["nodegroup", "nodegroup_name", "name"],
    ),
    (&["ns", "namespacename", "project"], &["namespace"]),
    (
        &[
            "count",
            "size",
            "desiredsize",
            "desiredcapacity",
            "desirednodes",
            "number",
            "nodecount",
            "capacity",
            "target",
            "replicas",
            "num",
            "amount",
            "desiredcount",
            "howmany",
        ],
        &["desired", "replicas", "count", "capacity"],
    ),
    (
        &["replicacount", "pods", "podcount", "instances", "scale"],
        &["replicas", "count", "pods", "instances"],
    ),
    (
        &["deploymentname", "deploy", "workload", "app", "service", "resource", "target", "object"],
        &["deployment", "name"],
    ),
    (&["statefulset", "statefulsetname", "sts"], &["stateful_set"]),
    (&["daemonset", "daemonsetname", "ds"], &["daemon_set"]),
    (
        &["node", "nodename", "nodenames", "hosts", "host", "nodelist", "targets"],
        &["nodes", "node"],
    ),
    (&["pod", "podname", "podnames", "podlist"], &["pods", "pod"]),
    (
        &["labelselector", "matchlabels", "filter", "query", "match", "labels"],
        &["selector", "labels", "tags"],
    ),
    (&["label", "filters", "tags", "selector"], &["labels", "tags", "selector"]),
    (
        &[
            "seconds", "time", "duration", "sleep", "length", "minutes", "wait", "for", "delay",
            "period",
        ],
        &["duration", "for"],
    ),
    (
        &[
            "condition",
            "expr",
            "expression",
            "if",
            "when",
            "assertion",
            "test",
            "check",
            "conditions",
            "assert",
        ],
        &["that"],
    ),
    (
        &[
            "msg",
            "text",
            "reason",
            "description",
            "prompt",
            "failmsg",
            "note",
            "title",
            "question",
            "errormessage",
            "error",
        ],
        &["message", "note", "reason"],
    ),
    (&["awsregion", "zone", "location"], &["region", "zone"]),
    (&["image", "images", "containerimage", "containers"], &["images", "image", "spec"]),
    (&["url", "uri", "address", "endpoint", "link"], &["url"]),
    (
        &[
            "status",
            "statuscode",
            "expectedstatus",
            "code",
            "expect",
            "statuscodes",
            "expectedcode",
        ],
        &["status", "statuses", "expect"],
    ),
    (&["max", "maxsize", "maximum"], &["max"]),
    (&["min", "minsize", "minimum", "minnodes", "atleast"], &["min", "min_nodes", "at_least"]),
    (&["apiversion", "version", "group", "gvk"], &["api_version"]),
    (&["type", "resourcekind", "objectkind"], &["kind"]),
    (
        &["body", "manifest", "changes", "merge", "data", "definition", "template", "spec"],
        &["patch", "spec"],
    ),
    (&["taint", "addtaints"], &["taints"]),
    (&["annotation"], &["annotations"]),
    (
        &[
            "gracetime",
            "graceperiodseconds",
            "terminationgraceperiodseconds",
            "grace",
            "graceperiod",
        ],
        &["grace_period"],
    ),
    (&["maxunavailable", "batchsize", "parallel"], &["max_unavailable"]),
    (&["deletelocaldata", "deleteemptydir", "deleteemptydirdata"], &["delete_emptydir_data"]),
    (&["expire", "expiry", "expiresin", "timeout", "deadline", "validfor"], &["expires"]),
    (&["approvers", "required", "minapprovals", "count", "requiredapprovals"], &["approvals"]),
    (&["questions", "fields", "inputs", "form"], &["ask", "fields"]),
    (&["asg", "autoscalinggroupname", "asgname", "group"], &["auto_scaling_group", "name"]),
    (&["instanceids", "instanceid", "ids", "instance"], &["instances"]),
    (&["kubernetesversion", "k8sversion", "targetversion", "eksversion"], &["version"]),
    (&["amiversion", "releaseversion", "ami"], &["release_version"]),
    (&["processes", "process", "scalingprocesses"], &["processes"]),
    (&["protect", "enabled", "protectedfromscalein", "value", "state"], &["protected"]),
    (&["configmap", "configmapname", "cm"], &["name", "config_map"]),
    (&["key", "path", "jsonpath", "fieldpath", "field"], &["path", "fields"]),
];

/// Returns the parameter of an action that a word means, among those that are not given yet.
pub(crate) fn parameter<'n>(
    written: &str,
    names: &[&'n str],
    given: &dyn Fn(&str) -> bool,
) -> Option<&'n str> {
    let word = folded(written);
    let same = names.iter().copied().find(|name| folded(name) == word && !given(name));
    same.or_else(|| {
        let rows = WORDS.iter().filter(|(words, _)| words.contains(&word.as_str()));
        let mut meant = rows.flat_map(|(_, meant)| *meant);
        meant.find_map(|meant| names.iter().copied().find(|name| name == meant && !given(name)))
    })
}
