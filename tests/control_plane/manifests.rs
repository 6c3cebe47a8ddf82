//! The manifests of `k8s/`, applied with kubectl as a user applies them, and the service under their account.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use rafay_relay_sop::platform::kubernetes::RunbookRun;
use serde_json::{Value, json};
use test_support::{ProgramOutput, Serve, program};

use crate::{
    accounts::TestServiceAccount,
    assets::Assets,
    audit,
    cli_run::{self, SPEED, simulate_over},
    cluster::{POD_SECURITY_LABEL, object, wait_until},
    environment::TestEnvironment,
    fixture::ControlPlane,
    harness::{Requires, Test, test},
};

const NAMESPACE: &str = "rafay-core";
const NAME: &str = "rafay-relay-sop";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const RUNBOOK: &str = include_str!("installed.yaml");

/// The directory of the runbooks in the pod.
const RUNBOOKS_IN_POD: &str = "/etc/rafay-relay-sop/runbooks";

/// The kubectl that `build.sh` builds.
struct Kubectl(PathBuf);

impl Requires for Kubectl {
    fn missing(_: &TestEnvironment) -> Option<String> {
        Assets::kubectl().err()
    }

    fn acquire(_: &TestEnvironment) -> Result<Self, String> {
        Assets::kubectl().map(Self)
    }

    fn crashed(_: &TestEnvironment) -> Option<String> {
        None
    }
}

type Parts = (Arc<ControlPlane>, Kubectl);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("manifests::applying_them_again_changes_nothing", applying_again_changes_nothing),
        test("manifests::pods_are_restricted_and_kept_off_relay_nodes", pods_are_placed),
        test("manifests::a_cluster_of_relay_nodes_runs_the_service", relay_nodes_will_do),
        test("manifests::the_service_runs_under_their_account", the_service_runs),
        test("manifests::relay_scale_runs_under_their_account", relay_scale_runs),
    ]
}

impl Kubectl {
    async fn run(&self, plane: &ControlPlane, arguments: &[&str]) -> ProgramOutput {
        let mut command = Command::new(&self.0);
        command.current_dir(ROOT).args(arguments).env("KUBECONFIG", plane.kubeconfig());
        // There it keeps what it has learned of the API server.
        command.env("HOME", plane.test_dir());
        ProgramOutput::run_async(&mut command).await
    }

    /// Runs kubectl, which must succeed, and returns its lines.
    async fn lines(&self, plane: &ControlPlane, arguments: &[&str]) -> Vec<String> {
        let output = self.run(plane, arguments).await.expect_exit_code(0);
        output.stdout.lines().map(str::to_owned).collect()
    }

    async fn apply(&self, plane: &ControlPlane, manifests: [&str; 2]) -> Vec<String> {
        self.lines(plane, &["apply", manifests[0], manifests[1]]).await
    }
}

/// Empties the namespace, and lets it take restricted pods only.
async fn prepare(plane: &ControlPlane) {
    plane.namespace(NAMESPACE).await;
    let namespaces = Api::<Namespace>::all(plane.client.clone());
    let labels = json!({"metadata": {"labels": {POD_SECURITY_LABEL: "restricted"}}});
    let parameters = PatchParams::default();
    namespaces.patch(NAMESPACE, &parameters, &Patch::Merge(labels)).await.unwrap();
}

/// Writes the manifests with an account number, as the README's `sed` does.
fn with_account_number(plane: &ControlPlane) -> String {
    let text = fs::read_to_string(Path::new(ROOT).join("k8s/deployment.yaml")).unwrap();
    let file = plane.test_dir().join("deployment.yaml");
    fs::write(&file, text.replace("ACCOUNT_ID", "123456789012")).unwrap();
    file.display().to_string()
}

async fn role(plane: &ControlPlane) -> Option<String> {
    let account = plane.api::<ServiceAccount>(NAMESPACE).get(NAME).await.unwrap();
    account.annotations().get("eks.amazonaws.com/role-arn").cloned()
}

/// Returns the objects of manifests as the cluster has them, without what its controllers write.
async fn objects(
    plane: &ControlPlane,
    kubectl: &Kubectl,
    manifests: [&str; 2],
) -> BTreeMap<String, Value> {
    let arguments = ["get", manifests[0], manifests[1], "-o", "json"];
    let list = kubectl.lines(plane, &arguments).await.concat();
    let list: Value = serde_json::from_str(&list).unwrap();
    // A single object is not printed as a list.
    let items = list["items"].as_array().cloned().unwrap_or_else(|| vec![list]);
    let name = |item: &Value| format!("{} {}", item["kind"], item["metadata"]["name"]);
    let mut found: BTreeMap<_, _> = items.into_iter().map(|item| (name(&item), item)).collect();
    for item in found.values_mut() {
        item["status"] = Value::Null;
        item["metadata"]["managedFields"] = Value::Null;
        item["metadata"]["resourceVersion"] = Value::Null;
        item["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = Value::Null;
    }
    found
}

async fn applying_again_changes_nothing((plane, kubectl): Parts) {
    prepare(&plane).await;
    let file = "k8s/deployment.yaml";
    kubectl.lines(&plane, &["apply", "--dry-run=server", "-f", file]).await;
    assert!(plane.api::<Deployment>(NAMESPACE).get_opt(NAME).await.unwrap().is_none());

    kubectl.apply(&plane, ["-f", file]).await;
    let with_account_number = with_account_number(&plane);
    let all = [
        ["-f", &with_account_number],
        ["-k", "k8s"],
        ["-k", "k8s/overlays/accounts"],
        ["-k", "k8s/overlays/pod-identity"],
        ["-k", "k8s/overlays/single-replica"],
        ["-k", "k8s/overlays/token"],
        ["-k", "k8s/base"],
        ["-k", "runbooks"],
    ];
    for manifests in all {
        kubectl.lines(&plane, &["apply", "--dry-run=server", manifests[0], manifests[1]]).await;
        kubectl.apply(&plane, manifests).await;
        let first = objects(&plane, &kubectl, manifests).await;
        let again = kubectl.apply(&plane, manifests).await;
        assert_eq!(objects(&plane, &kubectl, manifests).await, first, "{manifests:?}");
        // kubectl sends these two again, whose lists and selectors are replaced as a whole.
        let is_sent_again = |line: &str| {
            ["validatingadmissionpolicy.", "poddisruptionbudget."]
                .iter()
                .any(|kind| line.starts_with(kind))
        };
        let changed = again.iter().filter(|line| !line.ends_with(" unchanged"));
        let changed: Vec<_> = changed.filter(|line| !is_sent_again(line)).collect();
        assert!(changed.is_empty() && !again.is_empty(), "{manifests:?}: {changed:?}");
        let expected = match manifests[1] {
            "k8s/overlays/pod-identity" => None,
            file if file == with_account_number => {
                Some("arn:aws:iam::123456789012:role/rafay-relay-sop-role")
            }
            _ => Some("arn:aws:iam::ACCOUNT_ID:role/rafay-relay-sop-role"),
        };
        assert_eq!(role(&plane).await.as_deref(), expected, "{manifests:?}");
    }
}

/// Returns the nodes of the service's pods, once all are Ready.
async fn nodes_of_service(plane: &ControlPlane) -> Vec<String> {
    plane.wait_until_ready(NAMESPACE, NAME, 2).await;
    let pods = plane.pods(NAMESPACE, NAME).await;
    let mut nodes: Vec<String> =
        pods.into_iter().filter_map(|pod| pod.spec.and_then(|spec| spec.node_name)).collect();
    nodes.sort();
    nodes
}

fn node_in(zone: &str) -> Value {
    json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}})
}

fn relay_node() -> Value {
    json!({"metadata": {"labels": {
        "topology.kubernetes.io/zone": "us-west-2c", "Name": "nodegroup-relay-services",
    }}})
}

async fn pods_are_placed((plane, kubectl): Parts) {
    prepare(&plane).await;
    plane.node("core-a", node_in("us-west-2a")).await;
    plane.node("core-b", node_in("us-west-2b")).await;
    plane.node("relay", relay_node()).await;
    kubectl.apply(&plane, ["-k", "k8s/base"]).await;
    assert_eq!(nodes_of_service(&plane).await, ["core-a", "core-b"]);

    // The standard is enforced: the pods were admitted by it, and not in spite of it.
    let pod: Pod = object(json!({
        "metadata": {"name": "root"},
        "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1.0"}]},
    }));
    let refused = plane.api::<Pod>(NAMESPACE).create(&PostParams::default(), &pod).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("violates PodSecurity"), "{refused}");
}

async fn relay_nodes_will_do((plane, kubectl): Parts) {
    prepare(&plane).await;
    plane.node("relay", relay_node()).await;
    kubectl.apply(&plane, ["-k", "k8s/base"]).await;
    assert_eq!(nodes_of_service(&plane).await, ["relay", "relay"]);
}

/// A directory as the kubelet lays out a volume of a ConfigMap: a change is the replacement of one symbolic link.
struct ConfigMapVolume {
    dir: PathBuf,
    version: usize,
}

impl ConfigMapVolume {
    fn new(dir: PathBuf, files: &[(&str, &str)]) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let mut volume = Self { dir, version: 0 };
        volume.write(files);
        for (name, _) in files {
            symlink(Path::new("..data").join(name), volume.dir.join(name)).unwrap();
        }
        volume
    }

    fn write(&mut self, files: &[(&str, &str)]) {
        self.version += 1;
        let target = format!("..2026_11_26_12_00_00.{}", self.version);
        fs::create_dir(self.dir.join(&target)).unwrap();
        for (name, text) in files {
            fs::write(self.dir.join(&target).join(name), text).unwrap();
        }
        let (next, data) = (self.dir.join("..data_tmp"), self.dir.join("..data"));
        symlink(target, &next).unwrap();
        fs::rename(next, data).unwrap();
    }
}

/// Returns the command of the Deployment's container, which is to be found as the Deployment says but for the directory
/// of the runbooks.
async fn command_of_service(plane: &ControlPlane, runbooks: &Path) -> Command {
    let deployment = plane.api::<Deployment>(NAMESPACE).get(NAME).await.unwrap();
    let spec = deployment.spec.template.spec.expect("it has pods");
    let container = &spec.containers[0];
    let mut command = program();
    command.args(container.args.iter().flatten());
    for variable in container.env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let value = match field {
            Some(field) => match field.field_path.as_str() {
                "metadata.namespace" => NAMESPACE.to_owned(),
                "spec.nodeName" => "relay".to_owned(),
                other => panic!("{other} is not known here"),
            },
            None => variable.value.clone().unwrap_or_default(),
        };
        let value = value.replace(RUNBOOKS_IN_POD, &runbooks.display().to_string());
        command.env(&variable.name, value);
    }
    command
}

/// Applies everything, and returns the account of the service.
async fn install(plane: &ControlPlane, kubectl: &Kubectl) -> TestServiceAccount {
    kubectl.apply(plane, ["-f", "k8s/deployment.yaml"]).await;
    let definitions = ["crd/runbookruns.sop.rafay.dev", "crd/runevents.sop.rafay.dev"];
    let established = ["wait", "--for=condition=Established", "--timeout=60s"];
    kubectl.lines(plane, &[&established[..], &definitions[..]].concat()).await;
    TestServiceAccount::existing(plane, NAMESPACE, NAME).await
}

async fn the_service_runs((plane, kubectl): Parts) {
    prepare(&plane).await;
    plane.node("relay", relay_node()).await;
    let account = install(&plane, &kubectl).await;
    let dir = tempfile::tempdir().unwrap();
    let mut volume =
        ConfigMapVolume::new(dir.path().join("runbooks"), &[("installed.yaml", RUNBOOK)]);
    let mut command = command_of_service(&plane, &volume.dir).await;
    let service = Serve::start(command.env("KUBECONFIG", &account.kubeconfig));
    wait_until("the service to be ready", async || service.get("/ready").await.0 == 200).await;

    let (code, started) = service.get("/run?runbook=installed").await;
    assert_eq!(code, 200, "{started:#}");
    let status = service.wait_until_ended().await;
    assert_eq!(status["status"], "Success", "{status:#}");
    let logs = status["logs"].to_string();
    for expected in ["AWS Region: us-west-2, EKS Cluster: rafay-cluster", "Cordoned relay"] {
        assert!(logs.contains(expected), "{expected}: {status:#}");
    }
    let run = started["run"].as_str().unwrap();
    let listed = kubectl.lines(&plane, &["-n", NAMESPACE, "get", "rbr", run]).await;
    assert!(listed[1].contains("succeeded"), "{listed:?}");

    // An edit of the ConfigMap reaches the volume, and with it the service, which is not restarted.
    volume.write(&[("installed.yaml", &RUNBOOK.replace("Close them", "Close all of them"))]);
    let config = plane.api::<ConfigMap>(NAMESPACE);
    let elsewhere = json!({"data": {"eks-cluster": "other-cluster"}});
    let elsewhere = Patch::Merge(elsewhere);
    config.patch("rafay-relay-sop-config", &PatchParams::default(), &elsewhere).await.unwrap();
    // The lease of the cluster is released just after the end of the run.
    let again = "/run?runbook=installed&again=true";
    wait_until("the next run", async || service.get(again).await.0 == 200).await;
    let status = service.wait_until_ended().await;
    let logs = status["logs"].to_string();
    for expected in ["EKS Cluster: other-cluster", "Completed step: Close all of them"] {
        assert!(logs.contains(expected), "{expected}: {status:#}");
    }
    let node = Api::<Node>::all(plane.client.clone()).get("relay").await.unwrap();
    assert_ne!(node.spec.unwrap().unschedulable, Some(true));
    assert_eq!(audit::denied_calls(&plane, &account).await, [""; 0]);
    service.expect_clean_end();

    // The admission policy is in force, and the runs outlive the service.
    let runs = plane.api::<RunbookRun>(NAMESPACE);
    let failed = Patch::Merge(json!({"status": {"state": "failed"}}));
    runs.patch_status(run, &PatchParams::default(), &failed).await.unwrap();
    kubectl.lines(&plane, &["delete", "-k", "k8s/base", "--wait=false"]).await;
    let delete = ["-n", NAMESPACE, "delete", "rbr", run];
    let refused = kubectl.run(&plane, &delete).await.expect_exit_code(1);
    let expected = format!("run {run} is failed: resume it, roll it back or abandon it first");
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
    assert!(plane.api::<Deployment>(NAMESPACE).get_opt(NAME).await.unwrap().is_none());

    let succeeded = Patch::Merge(json!({"status": {"state": "succeeded"}}));
    runs.patch_status(run, &PatchParams::default(), &succeeded).await.unwrap();
    remove_runs(&plane).await;
}

async fn remove_runs(plane: &ControlPlane) {
    let (runs, all) = (plane.api::<RunbookRun>(NAMESPACE), ListParams::default());
    // The API server answers a moment after the kind was made.
    wait_until("the objects of runs", async || runs.list(&all).await.is_ok()).await;
    for run in runs.list(&all).await.unwrap() {
        runs.delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
    }
}

/// The runbook of the ConfigMap, and before it one that fails in its middle, on the simulator's account, whose instances
/// become the nodes.
async fn relay_scale_runs((plane, kubectl): Parts) {
    plane.namespace(NAMESPACE).await;
    let simulate = simulate_over(&plane);
    cli_run::wait_until_settled(&plane).await;
    let account = install(&plane, &kubectl).await;
    // A GET does not repeat a run that an earlier test has left.
    remove_runs(&plane).await;
    let dir = tempfile::tempdir().unwrap();
    let mounted = plane.api::<ConfigMap>(NAMESPACE).get("rafay-relay-sop-runbooks").await.unwrap();
    let mounted = mounted.data.unwrap_or_default();
    let files: Vec<_> = mounted.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let rolled_back = cli_run::rolled_back_runbook();
    let mut volume = ConfigMapVolume::new(
        dir.path().join("runbooks"),
        &[("relay-scale.yaml", rolled_back.as_str())],
    );

    let mut command = command_of_service(&plane, &volume.dir).await;
    let environment = simulate.environment.iter();
    command.envs(environment.filter(|(name, _)| name.starts_with("AWS_")).cloned());
    command.env("KUBECONFIG", &account.kubeconfig).args(["--speed", SPEED]);
    let service = Serve::start(&mut command);
    let (code, started) = service.get("/run").await;
    assert_eq!(code, 200, "{started:#}");
    let status = service.wait_until_ended().await;
    assert_eq!(status["state"], "rolled_back", "{status:#}");

    volume.write(&files);
    // The lease of the cluster is released just after the end of the run.
    wait_until("the next run", async || service.get("/run").await.0 == 200).await;
    let status = service.wait_until_ended().await;
    assert_eq!(status["status"], "Success", "{status:#}");
    let file = format!("Runbook file: {}", volume.dir.join("relay-scale.yaml").display());
    assert!(status["logs"].to_string().contains(&file), "{status:#}");
    assert_eq!(audit::denied_calls(&plane, &account).await, [""; 0]);
    service.expect_clean_end();
    remove_runs(&plane).await;
}
