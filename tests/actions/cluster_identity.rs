//! How `scale_nodegroup` makes sure that the Kubernetes cluster is the runbook's EKS cluster.

use rafay_relay_sop::{journal::RunState, platform::KubernetesAccess};
use simulator::{Effect, Fault, Scenario};

use super::{GROUP, RELAY, runbook_yaml};
use test_support::TestCluster;

const DESCRIBE: &str = "eks:DescribeCluster";

fn scale_up() -> String {
    runbook_yaml(&format!(
        "  - {{id: it, action: scale_nodegroup, with: {{nodegroup: {GROUP}, desired: 4}}}}\n  \
         - {{id: nodes, action: wait_nodes, with: {{nodegroup: '{{{{ it }}}}', count: 4}}}}\n"
    ))
}

/// The default scenario with this many relay nodes at first.
fn scenario(nodes: u32) -> Scenario {
    let mut scenario = Scenario::default();
    for group in scenario.nodegroups.iter_mut().filter(|group| group.name == RELAY) {
        (group.min, group.desired, group.max) = (0, nodes, 4);
        group.protected.clear();
    }
    scenario
}

fn deny_describe(cluster: &TestCluster) {
    let (status, code) = (403, "AccessDeniedException".into());
    let effect = Effect::Fail { status, code, message: "no".into() };
    cluster.simulator.inject(Fault { matching: DESCRIBE.into(), nth: 1, times: 99, effect });
}

/// The access to a cluster by another name of the machine, with the certificate authority of the kubeconfig.
fn by_other_name(cluster: &TestCluster, directory: &tempfile::TempDir) -> KubernetesAccess {
    let path = directory.path().join("kubeconfig");
    let kubeconfig = cluster.simulator.kubeconfig().replace("127.0.0.1", "localhost");
    std::fs::write(&path, kubeconfig).unwrap();
    KubernetesAccess::Inferred { kubeconfig: Some(path), context: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_is_scaled_up_from_zero_where_the_endpoint_is_the_clusters() {
    let cluster = TestCluster::with_scenario(scenario(0)).await;
    cluster.run(&scale_up()).await.expect_success();
    assert_eq!(cluster.simulator.state().await.unwrap().nodegroups[RELAY].instances.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodegroup_is_scaled_up_from_zero_where_the_certificate_authority_is_the_clusters() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = TestCluster::with_scenario(scenario(0)).await;
    let access = by_other_name(&cluster, &directory);
    cluster.with_kubernetes(access).run(&scale_up()).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_proves_the_cluster_where_its_description_is_denied() {
    let cluster = TestCluster::with_scenario(scenario(3)).await;
    deny_describe(&cluster);
    cluster.run(&scale_up()).await.expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_nothing_proves_is_refused_with_what_was_compared() {
    let cluster = TestCluster::with_scenario(scenario(0)).await;
    deny_describe(&cluster);
    let ended = cluster.run(&scale_up()).await.expect_state(RunState::Failed);
    let error = ended.error();
    assert!(error.contains("its endpoint is unknown (eks:DescribeCluster"), "{error}");
    assert!(error.contains(&format!("nodegroup {RELAY} has no instance in service")), "{error}");

    // Another cluster of the same name, with nodes of the same names.
    for nodes in [0, 3] {
        let directory = tempfile::tempdir().unwrap();
        let (cluster, other) = (
            TestCluster::with_scenario(scenario(nodes)).await,
            TestCluster::with_scenario(Scenario { seed: 7, ..scenario(nodes) }).await,
        );
        let access = by_other_name(&other, &directory);
        let cluster = cluster.with_kubernetes(access);
        let ended = cluster.run(&scale_up()).await.expect_state(RunState::Failed);
        let failure = ended.failure();
        let expected = format!(
            "cannot verify that the Kubernetes cluster is EKS cluster rafay-cluster in us-west-2: its endpoint is {}, \
             but the API server is http://localhost:{} with another certificate authority, and ",
            cluster.simulator.kubernetes_url().as_str().trim_end_matches('/'),
            other.simulator.kubernetes_url().port().unwrap()
        );
        assert!(failure.message.contains(&expected), "{failure:?}");
        let hint = failure.hint.as_ref().unwrap();
        assert!(hint.contains("aws eks update-kubeconfig --region us-west-2 --name rafay-cluster"));
        assert_eq!(cluster.effective_calls(), [""; 0]);
    }
}
