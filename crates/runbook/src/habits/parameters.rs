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
    (&["name", "workloadname"], &["deployment"]),
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
    (
        &["interval", "period", "frequency", "pollinterval", "delay", "pollevery", "pause"],
        &["every"],
    ),
    (&["requesttimeout", "httptimeout", "timeoutseconds", "connecttimeout"], &["request_timeout"]),
    (&["successthreshold", "consecutive", "consecutivesuccesses", "times"], &["successes"]),
    (&["verb", "httpmethod", "requestmethod"], &["method"]),
    (
        &["body", "contains", "expectedbody", "bodycontains", "returncontent", "regex"],
        &["expect_body"],
    ),
    (&["torevision", "to", "version"], &["revision"]),
    (&["names", "deleted", "removed", "absent", "nodesgone"], &["gone"]),
    (&["before", "old", "oldnodes", "exclude", "existing"], &["previous"]),
    (&["ignoretaint", "ignoredtaints", "skiptaints"], &["ignore_taints"]),
    (&["usedeviction", "eviction", "graceful", "respectpdb"], &["evict"]),
    (&["awsregion", "zone", "location"], &["region", "zone"]),
    (&["image", "images", "containerimage", "containers"], &["images", "image", "spec"]),
    (&["url", "uri", "address", "endpoint", "link"], &["url"]),
    (
        &[
            "status",
            "statuscode",
            "expectedstatus",
            "acceptedstatus",
            "httpstatus",
            "code",
            "expect",
            "statuscodes",
            "expectedcode",
        ],
        &["expect_status", "status", "statuses", "expect"],
    ),
    (&["max", "maxsize", "maximum"], &["max"]),
    (
        &[
            "min",
            "minsize",
            "minimum",
            "minnodes",
            "atleast",
            "greaterthan",
            "gte",
            "ge",
            "gt",
            "greaterorequal",
            "greaterthanorequal",
        ],
        &["min", "min_nodes", "at_least"],
    ),
    (&["equal", "eq", "is", "equalto"], &["equals"]),
    (&["notequal", "ne", "neq", "isnot", "notequalto"], &["not_equals"]),
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
    (
        &["deletelocaldata", "deletelocal", "deleteemptydir", "deleteemptydirdata"],
        &["delete_emptydir_data"],
    ),
    (&["expire", "expiry", "expiresin", "timeout", "deadline", "validfor"], &["expires"]),
    (&["required", "minapprovals", "count", "requiredapprovals"], &["approvals"]),
    (
        &[
            "maxnodes",
            "nodes",
            "nodelimit",
            "nodesmax",
            "maxnodecount",
            "maxsize",
            "maxdesired",
            "nodesatmax",
        ],
        &["nodes_at_most"],
    ),
    (
        &["maxcordoned", "cordoned", "maxcordon", "cordon", "cordonmax", "maxunavailable"],
        &["cordon_at_most"],
    ),
    (
        &[
            "minavailable",
            "minready",
            "pdb",
            "disruptionbudget",
            "disruptionbudgets",
            "keep",
            "ready",
        ],
        &["keep_ready", "at_least"],
    ),
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

/// The actions on one workload.
const OF_WORKLOADS: &[&str] = &[
    "rollout_restart",
    "set_image",
    "rollout_undo",
    "scale_deployment",
    "wait_rollout",
    "wait_pods",
    "list_pods",
];

/// The actions on nodes that are given by their names.
const OF_NODES: &[&str] = &["cordon", "uncordon", "drain", "label_nodes", "taint_nodes"];

/// Words of other tools that need no parameter: the actions, or none for all of them, the words, and what to do.
const NOT_NEEDED: &[(&[&str], &[&str], &str)] = &[
    (
        &["http_probe"],
        &[
            "headers",
            "header",
            "httpheaders",
            "auth",
            "authorization",
            "bearertoken",
            "basicauth",
            "cookies",
            "username",
            "password",
            "token",
        ],
        "remove it: a probe sends no headers and no credentials; use an address that answers without them",
    ),
    (
        &["wait_approval"],
        &[
            "approvers",
            "approver",
            "by",
            "users",
            "groups",
            "teams",
            "allowed",
            "allowedby",
            "approvedby",
            "assignees",
            "reviewers",
            "from",
        ],
        "remove it: any actor may approve but those of 'not_by'; 'approvals' says how many must",
    ),
    (
        &["set_nodegroup"],
        &["desired", "desiredsize", "size", "count", "replicas", "nodes"],
        "scale_nodegroup sets the number of nodes",
    ),
    (
        &["scale_nodegroup"],
        &["max", "maxsize", "maximum"],
        "write 'raise_max: true', or set the maximum before with set_nodegroup",
    ),
    (
        &["scale_nodegroup"],
        &["min", "minsize", "minimum"],
        "write 'lower_min: true', or set the minimum before with set_nodegroup",
    ),
    (&["http_probe"], &["port"], "write the port in 'url': https://HOST:PORT/PATH"),
    (&["http_probe"], &["path"], "write the path in 'url': https://HOST/PATH"),
    (
        &["http_probe"],
        &[
            "insecure",
            "skiptlsverify",
            "verify",
            "tlsverify",
            "insecureskipverify",
            "verifyssl",
            "validatecerts",
        ],
        "remove it: the certificate is always checked",
    ),
    (
        &["delete_pods"],
        &["namespace", "selector", "labels", "labelselector", "deployment", "name", "ns"],
        "list the pods first with list_pods, and write pods: \"{{ STEP.pods }}\"",
    ),
    (
        OF_NODES,
        &["selector", "nodeselector", "labelselector", "nodegroup", "zone", "all"],
        "list the nodes first with list_nodes, and write nodes: \"{{ STEP.names }}\"",
    ),
    (
        OF_WORKLOADS,
        &["kind", "resourcetype", "workloadtype"],
        "remove it: 'deployment', 'stateful_set' and 'daemon_set' say the kind",
    ),
    (
        &["drain"],
        &["ignoredaemonsets", "ignoredaemonset", "ignoredaemons"],
        "remove it: drain always leaves the pods of daemon sets",
    ),
    (
        &["drain"],
        &["disableeviction"],
        "remove it: drain always evicts, as disruption budgets allow",
    ),
    (&["drain"], &["podselector"], "remove it: all pods of the nodes are evicted"),
    (
        &[],
        &["overwrite", "forceoverwrite", "replace"],
        "remove it: a value that is there is always replaced, and the undo restores it",
    ),
    (
        &[],
        &["dryrun", "checkmode", "whatif", "preview", "noop", "plan"],
        "remove it: `rafay-relay-sop plan` shows what a run would change",
    ),
    (
        &[],
        &[
            "wait",
            "waitforcompletion",
            "waituntilready",
            "waitready",
            "watch",
            "block",
            "async",
            "waitfor",
        ],
        "remove it: a step waits until what it did is complete",
    ),
    (
        &[],
        &[
            "kubeconfig",
            "context",
            "kubecontext",
            "profile",
            "awsprofile",
            "account",
            "accountid",
            "credentials",
            "token",
            "serviceaccount",
            "rolearn",
            "role",
        ],
        "remove it: a run works on the cluster and the AWS account of its configuration",
    ),
    (
        &[],
        &["record", "fieldmanager", "validate", "serverside", "output", "verbose", "quiet"],
        "remove it: the journal of the run records what a step does",
    ),
];

/// Returns what to do about a flag of another tool that an action needs not.
pub(crate) fn not_needed(action: &str, written: &str) -> Option<&'static str> {
    let word = folded(written);
    let is_of = |of: &[&str]| of.is_empty() || of.contains(&action);
    let mut rows = NOT_NEEDED.iter();
    rows.find(|(of, words, _)| is_of(of) && words.contains(&word.as_str())).map(|(.., help)| *help)
}

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
