//! Snapshots of a cluster: what is read, what is kept, and that a simulator that begins with one is in the same state.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path};

use clock::Clock;
use rafay_relay_sop::{
    journal::RunState,
    plan::RehearsalRequest,
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions, Progress},
    snapshot::{self, ClusterScope, Snapshot, SnapshotError, Wanted},
};
use serde_json::{Value, json};
use simulator::{AccessPolicy, ClusterState, Options, Scenario, Simulator};
use test_support::{ProgramOutput, SPEED, checked, program, wait_until_async};

const RELAY: &str = "rafay-relay";
const NAMESPACE: &str = "rafay-core";

async fn start(scenario: Scenario, policy: Option<AccessPolicy>) -> Simulator {
    let clock = Clock::scaled(SPEED).unwrap();
    Simulator::start(scenario, Options { clock, policy, ..Options::default() }).await.unwrap()
}

async fn take(simulator: &Simulator, wanted: &Wanted) -> Result<Snapshot, SnapshotError> {
    take_of(simulator, simulator, &ClusterScope::default(), wanted).await
}

/// Takes a snapshot of the Kubernetes cluster of one simulator and the account of another.
async fn take_of(
    kubernetes: &Simulator,
    aws: &Simulator,
    scope: &ClusterScope,
    wanted: &Wanted,
) -> Result<Snapshot, SnapshotError> {
    let platform = Platform::new(PlatformOptions {
        clock: Clock::scaled(SPEED).unwrap(),
        kubernetes: KubernetesAccess::Endpoint { url: kubernetes.kubernetes_url().clone() },
        aws: AwsAccess::Endpoint { url: aws.aws_url().clone() },
        environment: BTreeMap::new(),
    });
    snapshot::take(&platform.reader(), scope, wanted, &Progress::silent()).await
}

async fn taken(simulator: &Simulator) -> Snapshot {
    take(simulator, &Wanted::default()).await.unwrap()
}

fn relay_config() -> Wanted {
    Wanted { config_maps: vec![(NAMESPACE.into(), "rafay-relay-sop-config".into())] }
}

/// A scenario with these objects besides those of the default one.
fn with_objects(objects: Value) -> Scenario {
    let Value::Array(objects) = objects else { panic!("not a list") };
    Scenario { objects, ..Scenario::default() }
}

#[tokio::test]
async fn a_simulator_that_begins_with_a_snapshot_is_in_the_same_state() {
    let live = start(Scenario::default(), None).await;
    let first = take(&live, &relay_config()).await.unwrap();
    let again = start(first.to_scenario(), None).await;
    assert_eq!(again.state().await.unwrap(), live.state().await.unwrap());
    let second = take(&again, &relay_config()).await.unwrap();
    assert_eq!(second.objects.keys().collect::<Vec<_>>(), first.objects.keys().collect::<Vec<_>>());
    for (kind, objects) in &first.objects {
        let of = |objects: &[snapshot::SnapshotObject]| {
            objects.iter().map(|object| object.object.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(second.objects_of(kind)), of(objects), "{kind}");
    }
    let (first, second) = (first.to_scenario(), second.to_scenario());
    assert_eq!(second.nodegroups, first.nodegroups);
    assert_eq!(second.cluster_objects, first.cluster_objects);
}

#[tokio::test]
async fn the_file_of_a_snapshot_is_read_back_as_it_was_written() {
    let labels =
        json!({"hash": "12e5", "on": "yes", "empty": "", "version": "1.10", "null": "null"});
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "default", "name": "c", "labels": labels},
        "data": {"text": "a: b\n- c\n", "number": "007", "tilde": "~"},
    });
    let live = start(with_objects(json!([config_map])), None).await;
    let wanted = Wanted { config_maps: vec![("default".into(), "c".into())] };
    let scenario = take(&live, &wanted).await.unwrap().to_scenario();
    let text = scenario.to_yaml().unwrap();
    assert_eq!(Scenario::from_yaml(&text).unwrap(), scenario);
    assert!(text.contains("007"), "{text}");
}

#[tokio::test]
async fn the_scenario_has_the_account_its_groups_and_their_instances() {
    let live = start(Scenario::default(), None).await;
    let found = taken(&live).await;
    assert_eq!(found.cluster.as_deref(), Some("rafay-cluster"), "by the tags of the instances");
    assert_eq!(found.region.as_deref(), Some("us-west-2"), "by the labels of the nodes");
    assert_eq!(found.gaps, []);
    let scenario = found.to_scenario();
    assert_eq!(scenario.account, "123456789012");
    let relay = scenario.nodegroups.iter().find(|group| group.name.contains("1a2b3c")).unwrap();
    assert_eq!((relay.min, relay.desired, relay.max), (3, 3, 4));
    let instances: Vec<_> =
        relay.instances.iter().map(|one| (one.protected, one.node.is_some())).collect();
    assert_eq!(instances.iter().filter(|(protected, _)| *protected).count(), 2);
    assert!(instances.iter().all(|(_, is_node)| *is_node));
    let durations = found.durations();
    assert!(durations.any_group.boot.is_default(), "the nodes were there at the start");
}

/// Every place in which an object may hold a secret.
fn planted() -> Value {
    let container = json!({
        "name": "app",
        "image": "registry.example.com/app:1.0",
        "command": ["hunter2-command"],
        "args": ["--password=hunter2-args"],
        "workingDir": "/hunter2-dir",
        "env": [
            {"name": "HUNTER2_NAME", "value": "hunter2-env"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "hunter2-ref", "key": "k"}}},
        ],
        "envFrom": [{"secretRef": {"name": "hunter2-from"}}],
        "livenessProbe": {"exec": {"command": ["hunter2-live"]}},
        "readinessProbe": {
            "periodSeconds": 5,
            "httpGet": {"port": 80, "path": "/hunter2-path", "httpHeaders": [{"name": "a", "value": "hunter2-header"}]},
        },
        "lifecycle": {"preStop": {"exec": {"command": ["hunter2-stop"]}}},
        "volumeMounts": [{"name": "hunter2-volume", "mountPath": "/hunter2-mount"}],
    });
    let template = json!({
        "metadata": {"labels": {"app": "app"}, "annotations": {"vault": "hunter2-template"}},
        "spec": {
            "containers": [container],
            "imagePullSecrets": [{"name": "hunter2-pull"}],
            "serviceAccountName": "hunter2-account",
            "volumes": [
                {"name": "hunter2-volume", "secret": {"secretName": "hunter2-secret"}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    });
    json!([
        {
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "namespace": "default", "name": "app",
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "hunter2-applied",
                    "example.com/token": "hunter2-annotation",
                },
            },
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "app"}}, "template": template},
        },
        {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "default", "name": "hunter2-map"}, "data": {"k": "hunter2-data"},
        },
        {
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"namespace": "default", "name": "hunter2-secret"}, "data": {"k": "aHVudGVyMg=="},
        },
    ])
}

#[tokio::test]
async fn what_may_hold_a_secret_is_in_no_snapshot() {
    let live = start(with_objects(planted()), None).await;
    let found = take(&live, &relay_config()).await.unwrap();
    let app = found.object("Deployment", "default", "app").unwrap();
    let container = app.object.pointer("/spec/template/spec/containers/0").unwrap();
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"port": 80}));
    assert_eq!(found.objects_of("ConfigMap").len(), 1, "only the one that is wanted");
    let text = found.to_scenario().to_yaml().unwrap();
    let lines = text.lines().filter(|line| line.to_lowercase().contains("hunter2"));
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new());
    let all = format!("{found:?}");
    assert!(!all.to_lowercase().contains("hunter2"), "also in what a plan is made from");
}

#[tokio::test]
async fn secrets_are_not_asked_for_and_nothing_is_changed() {
    let live = start(with_objects(planted()), None).await;
    let before = live.calls().len();
    let found = take(&live, &relay_config()).await.unwrap();
    let calls = live.calls().split_off(before);
    assert!(calls.iter().all(|call| !call.mutating));
    assert!(calls.iter().all(|call| !call.operation.contains("secret")));
    assert!(calls.iter().all(|call| !call.operation.contains("watch")));
    let config_maps: Vec<&str> = calls
        .iter()
        .map(|call| call.operation.as_str())
        .filter(|operation| operation.contains("configmaps"))
        .collect();
    assert_eq!(config_maps.len(), 1, "{config_maps:?}");
    assert_eq!(found.reads.total() as usize, calls.len(), "{:#?}", found.reads);
}

fn role(kind: &str, resources: Value) -> Value {
    json!({
        "kind": kind,
        "metadata": {"name": "r"},
        "rules": [{"apiGroups": ["*"], "resources": resources, "verbs": ["list"]}],
    })
}

#[tokio::test]
async fn a_denied_read_is_a_gap_and_not_a_failure() {
    let iam = json!({"Statement": [
        {"Effect": "Allow", "Action": ["ec2:DescribeInstances", "eks:DescribeCluster"], "Resource": "*"},
    ]});
    let resources = json!(["nodes", "pods", "deployments", "replicasets"]);
    let policy = AccessPolicy::default().allow_iam(&iam).unwrap();
    let policy = policy.allow_role(&role("ClusterRole", resources)).unwrap();
    let live = start(Scenario::default(), Some(policy)).await;
    let found = take(&live, &relay_config()).await.unwrap();
    assert_eq!(found.objects_of("Deployment").len(), 3);
    let gap = |what: &str| found.gaps.iter().find(|gap| gap.what.starts_with(what));
    let quotas = gap("list resourcequotas").unwrap();
    assert_eq!(quotas.unpredicted, "whether a quota refuses more pods");
    assert!(quotas.why.contains("cannot list"), "{}", quotas.why);
    assert!(gap("eks:ListNodegroups").is_some(), "{:#?}", found.gaps);
    assert!(gap("get configmap rafay-core/rafay-relay-sop-config").is_some(), "{:#?}", found.gaps);
    assert!(gap("list scaledobjects").is_none(), "a kind that is not served has no objects");
    Scenario::from_yaml(&found.to_scenario().to_yaml().unwrap()).unwrap();
}

#[tokio::test]
async fn without_pods_there_is_no_snapshot() {
    let policy =
        AccessPolicy::default().allow_role(&role("ClusterRole", json!(["nodes"]))).unwrap();
    let live = start(Scenario::default(), Some(policy)).await;
    let error = take(&live, &Wanted::default()).await.unwrap_err();
    assert!(error.to_string().starts_with("list pods"), "{error}");
}

#[tokio::test]
async fn another_eks_cluster_than_that_of_the_kubeconfig_is_refused() {
    let here = start(Scenario::default(), None).await;
    let there = start(Scenario { seed: 9, ..Scenario::default() }, None).await;
    let scope = ClusterScope { cluster: Some("rafay-cluster".into()), region: None };
    let error = take_of(&here, &there, &scope, &Wanted::default()).await.unwrap_err();
    let start = "EKS cluster rafay-cluster in us-west-2 is not the cluster of the kubeconfig";
    assert!(error.to_string().starts_with(start), "{error}");
    let unknown = ClusterScope { cluster: Some("other".into()), region: None };
    let found = take_of(&here, &here, &unknown, &Wanted::default()).await.unwrap();
    assert!(found.gaps.iter().any(|gap| gap.why.contains("No cluster found")), "{:#?}", found.gaps);
}

#[tokio::test]
async fn a_large_cluster_is_read_in_pages() {
    let pods: Vec<Value> = (0..620)
        .map(|number| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "default", "name": format!("pod-{number:03}")},
                "spec": {
                    "nodeSelector": {"no": "node"},
                    "containers": [{"name": "c", "image": "registry.example.com/c:1"}],
                },
            })
        })
        .collect();
    let scenario = Scenario { objects: pods, ..Scenario::empty() };
    let live = start(scenario, None).await;
    let found = taken(&live).await;
    assert_eq!(found.objects_of("Pod").len(), 620);
    assert_eq!(found.reads.by_kind["pods"], 2);
    let asked = live.calls();
    assert_eq!(asked.iter().filter(|call| call.operation.starts_with("list pods")).count(), 2);
}

/// A rollout that changed a variable alone: what is kept of the two templates is equal.
#[tokio::test]
async fn revisions_that_differ_in_their_environment_stay_apart() {
    let object = |value: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"namespace": "default", "name": "app"},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": {"app": "app"}},
                "template": {
                    "metadata": {"labels": {"app": "app"}},
                    "spec": {"containers": [
                        {"name": "app", "image": "i:1", "env": [{"name": "A", "value": value}]},
                    ]},
                },
            },
        })
    };
    let live = start(with_objects(json!([object("before")])), None).await;
    let url =
        live.kubernetes_url().join("apis/apps/v1/namespaces/default/deployments/app").unwrap();
    let patched = reqwest::Client::new()
        .patch(url)
        .header("content-type", "application/merge-patch+json")
        .body(object("after").to_string());
    assert!(patched.send().await.unwrap().status().is_success());
    let sets = || async {
        let found = taken(&live).await;
        let sets = found.objects_of("ReplicaSet").iter();
        let sets = sets.filter(|set| set.name().starts_with("app-")).cloned().collect::<Vec<_>>();
        (sets.len() == 2).then_some((found, sets))
    };
    let (found, sets) = wait_until_async("two replica sets", sets).await;
    let mark = "/spec/template/metadata/annotations/sop.rafay.dev~1template";
    let marks: Vec<&str> = sets.iter().map(|set| set.text(mark)).collect();
    assert!(marks[0] != marks[1] && marks.iter().all(|mark| !mark.is_empty()), "{marks:?}");
    let app = found.object("Deployment", "default", "app").unwrap();
    let newest = sets.iter().max_by_key(|set| {
        set.text("/metadata/annotations/deployment.kubernetes.io~1revision").to_owned()
    });
    assert_eq!(app.text(mark), newest.unwrap().text(mark));
    let relay = found.object("Deployment", NAMESPACE, RELAY).unwrap();
    assert_eq!(relay.text(mark), "", "it has one revision");
}

/// A stateful set of one pod, whose volume is in one zone.
fn zonal_set() -> Value {
    let zone =
        json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-west-2a"]});
    let terms = json!([{"matchExpressions": [zone]}]);
    json!([
        {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-1"},
            "spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}},
        },
        {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-db-0", "namespace": "default"}, "spec": {"volumeName": "pv-1"},
        },
        {
            "apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": "default"},
            "spec": {
                "replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "template": {
                    "metadata": {"labels": {"app": "db"}},
                    "spec": {"containers": [{"name": "db", "image": "i:1"}]},
                },
                "volumeClaimTemplates": [{
                    "metadata": {"name": "data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"], "storageClassName": "gp3",
                        "resources": {"requests": {"storage": "1Gi"}},
                    },
                }],
            },
        },
    ])
}

#[tokio::test]
async fn a_pod_with_a_volume_is_rehearsed_into_the_zone_of_the_volume() {
    let live = start(with_objects(zonal_set()), None).await;
    let found = wait_until_async("the pod to run", async || {
        let found = taken(&live).await;
        let pod = found.object("Pod", "default", "db-0")?;
        pod.condition("Ready").filter(|ready| ready["status"] == "True")?;
        Some(found)
    })
    .await;
    let set = found.object("StatefulSet", "default", "db").unwrap();
    let templates = json!([{"metadata": {"name": "data"}}]);
    assert_eq!(set.object["spec"]["volumeClaimTemplates"], templates);
    let named = found.to_scenario();
    let anonymized = snapshot::anonymize(&named).unwrap().scenario;
    let text = "\
name: drain
steps:
- {id: zone, action: list_nodes, with: {zone: us-west-2a}}
- {id: empty, action: drain, with: {nodes: \"{{ zone.names }}\", wait_for_replacements: false}}
- {id: time, action: sleep, with: {duration: 5m}}
";
    for world in [named, anonymized] {
        let request = RehearsalRequest {
            checked: checked(text).unwrap(),
            inputs: serde_json::Map::new(),
            world,
            starts_at: found.taken_at,
            endpoint: None,
            answers: BTreeMap::new(),
            environment: BTreeMap::new(),
        };
        let rehearsed = request.run().await.unwrap();
        assert_eq!(rehearsed.run.state(false), RunState::Succeeded, "{:#?}", rehearsed.run.head);
        let mut pods = rehearsed.after.pods.values();
        let pod = pods.find(|pod| pod.controller.as_deref() == Some("StatefulSet")).unwrap();
        let why = pod.unschedulable.as_deref().unwrap_or_default();
        assert!(why.contains("didn't match PersistentVolume's node affinity"), "{pod:#?}");
        assert_eq!(pod.node, None);
    }
}

#[tokio::test]
async fn what_steers_an_autoscaler_is_kept() {
    let annotations = json!({
        "autoscaling.keda.sh/paused": "true",
        "autoscaling.keda.sh/paused-replicas": "3",
        "example.com/token": "hunter2",
    });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "default", "annotations": annotations},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "db", "image": "i:1"}]},
            },
        },
    });
    let live = start(with_objects(json!([set])), None).await;
    let found = taken(&live).await;
    let kept = &found.object("StatefulSet", "default", "db").unwrap().object["metadata"];
    let expected = json!({
        "autoscaling.keda.sh/paused": "true", "autoscaling.keda.sh/paused-replicas": "3",
    });
    assert_eq!(kept["annotations"], expected);
}

/// The numbers of a state, without names.
fn shape(state: &ClusterState) -> Value {
    let mut pods_by_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in state.pods.values() {
        *pods_by_node.entry(pod.node.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let mut counts: Vec<usize> = pods_by_node.into_values().collect();
    counts.sort_unstable();
    let mut groups: Vec<_> = state
        .nodegroups
        .values()
        .map(|group| (group.min, group.desired, group.max, group.instances.len()))
        .collect();
    groups.sort_unstable();
    let mut deployments: Vec<_> =
        state.deployments.values().map(|one| (one.replicas, one.ready, one.updated)).collect();
    deployments.sort_unstable();
    json!({"pods": counts, "groups": groups, "deployments": deployments, "nodes": state.nodes.len()})
}

#[tokio::test]
async fn no_name_of_the_cluster_is_in_an_anonymized_scenario() {
    let seeds = [3, 11, 42];
    for seed in seeds {
        let mut scenario = Scenario { seed, account: "210987654321".into(), ..Scenario::default() };
        scenario.cluster = format!("acme-cluster-{seed}");
        for (number, deployment) in scenario.deployments.iter_mut().enumerate() {
            deployment.name = format!("acme-app-{seed}-{number}");
            deployment.image =
                format!("210987654321.dkr.ecr.us-west-2.amazonaws.com/acme:{number}");
        }
        let data = &mut scenario.config_maps[0].data;
        data.insert("eks-cluster".into(), scenario.cluster.clone());
        let live = start(scenario, None).await;
        let named = take(&live, &relay_config()).await.unwrap().to_scenario();
        let anonymized = snapshot::anonymize(&named).unwrap();
        let text = anonymized.scenario.to_yaml().unwrap();
        for name in names_of(&named) {
            assert!(!text.contains(&name), "{name}");
        }
        for word in ["acme", "rafay", "210987654321", "relay"] {
            let lines: Vec<&str> = text.lines().filter(|line| line.contains(word)).collect();
            let is_key = |line: &&str| line.trim().starts_with("rafay-relay-sop/");
            assert!(lines.iter().all(is_key), "{word}: {lines:#?}");
        }
        // What referred to something still does.
        let config = anonymized.scenario.cluster_objects.iter();
        let config = config.clone().find(|object| object["kind"] == "ConfigMap").unwrap();
        assert_eq!(config["data"]["eks-cluster"], json!(anonymized.scenario.cluster));
        assert_eq!(config["data"]["aws-region"], "us-west-2");
        let (one, other) = (start(named, None).await, start(anonymized.scenario, None).await);
        let (one, other) = (one.state().await.unwrap(), other.state().await.unwrap());
        assert_eq!(shape(&other), shape(&one));
    }
}

/// Everything in a scenario that identifies an object, an instance, an address or an account.
fn names_of(scenario: &Scenario) -> Vec<String> {
    let groups = scenario.nodegroups.iter();
    let mut names: Vec<String> = groups
        .flat_map(|group| {
            let instances = group.instances.iter();
            let instances = instances.flat_map(|one| [one.id.clone(), one.address.clone()]);
            [group.name.clone()]
                .into_iter()
                .chain(group.auto_scaling_group.clone())
                .chain(instances)
        })
        .chain([scenario.account.clone(), scenario.cluster.clone()])
        .collect();
    for object in &scenario.cluster_objects {
        let metadata = &object["metadata"];
        let identity = ["name", "namespace", "uid"].map(|field| metadata[field].as_str());
        names.extend(identity.into_iter().flatten().map(str::to_owned));
    }
    let common = ["", "default", "kube-system", "kube-public", "kube-node-lease"];
    names.retain(|name| !common.contains(&name.as_str()));
    names
}

/// Runs a script beside a simulated cluster.
fn simulate(dir: &Path, script: &str) -> ProgramOutput {
    let mut command = program();
    command.current_dir(dir).args(["simulate", "--speed", "600", "--", "sh", "-c", script]);
    ProgramOutput::run(&mut command)
}

#[test]
fn the_command_writes_a_scenario_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let script = "rafay-relay-sop snapshot -o world.yaml --runbook relay-scale";
    let ended = simulate(dir.path(), script).expect_exit_code(0);
    let summary = "EKS cluster rafay-cluster in us-west-2: 3 nodegroups, 6 nodes, ";
    assert!(ended.stderr.starts_with(summary), "{}", ended.stderr);
    let path = dir.path().join("world.yaml");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("rafay-relay-sop-config"), "the ConfigMap that the runbook reads");

    let again = simulate(dir.path(), script).expect_exit_code(2);
    assert!(again.stderr.contains("world.yaml exists\nhint: name another file, or pass --force"));
    simulate(dir.path(), &format!("{script} --force")).expect_exit_code(0);

    let mut run = program();
    run.args(["run", "relay-scale", "--simulate", "--speed", "600", "--scenario"]).arg(&path);
    let ended = ProgramOutput::run(&mut run).expect_exit_code(0);
    assert!(ended.stdout.contains("succeeded on the simulator"), "{}", ended.stdout);
}

#[test]
fn the_command_writes_without_names_and_says_what_became_of_them_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let script = "rafay-relay-sop snapshot --anonymize --mapping names.yaml --runbook relay-scale";
    let ended = simulate(dir.path(), script).expect_exit_code(0);
    let text = ended.stdout;
    assert!(!text.contains("rafay-sentry") && text.contains("deployment-"), "{text}");
    Scenario::from_yaml(&text).unwrap();
    let mapping = std::fs::read_to_string(dir.path().join("names.yaml")).unwrap();
    assert!(mapping.contains("rafay-sentry: deployment-2\n"), "{mapping}");
    let mode = std::fs::metadata(dir.path().join("names.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_permissions_of_a_snapshot_are_what_it_needs() {
    let mut command = program();
    command.args(["permissions", "--snapshot", "--cluster", "c", "--region", "us-west-2"]);
    let rbac = ProgramOutput::run(command.args(["--format", "rbac"])).expect_exit_code(0).stdout;
    assert!(rbac.contains("poddisruptionbudgets"), "{rbac}");
    assert!(!rbac.contains("secrets") && !rbac.contains("configmaps"), "{rbac}");
    assert!(!rbac.contains("create") && !rbac.contains("watch"), "{rbac}");
}
