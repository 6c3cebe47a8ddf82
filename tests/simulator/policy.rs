//! The permissions of clients under a policy.

use aws_sdk_eks::error::ProvideErrorMetadata;
use k8s_openapi::api::{
    authorization::v1::SelfSubjectAccessReview,
    core::v1::{ConfigMap, Node},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;
use simulator::{AccessPolicy, Options, Scenario, Simulator};

use super::{NAMESPACE, RELAY, aws_client, client};

#[tokio::test]
async fn a_denied_call_is_refused_in_each_services_format() {
    let iam = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["eks:DescribeNodegroup"],
        "Resource": "arn:aws:eks:us-west-2:123456789012:nodegroup/rafay-cluster/*",
    }]});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "sop", "namespace": NAMESPACE},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}],
    });
    let policy = AccessPolicy::default().allow_iam(&iam).unwrap().allow_role(&role).unwrap();
    let options = Options { policy: Some(policy), ..Options::default() };
    let simulator = Simulator::start(Scenario::default(), options).await.unwrap();

    let eks = aws_client!(aws_sdk_eks, simulator);
    let nodegroup = eks.describe_nodegroup().cluster_name("rafay-cluster").nodegroup_name(RELAY);
    nodegroup.send().await.unwrap();
    let denied = eks.list_nodegroups().cluster_name("rafay-cluster").send().await.unwrap_err();
    assert_eq!(denied.code(), Some("AccessDeniedException"));
    let wanted = "not authorized to perform: eks:ListNodegroups on resource: \
                  arn:aws:eks:us-west-2:123456789012:cluster/rafay-cluster";
    assert!(denied.message().unwrap().ends_with(wanted), "{:?}", denied.message());
    let denied = aws_client!(aws_sdk_ec2, simulator).describe_instances().send().await;
    assert_eq!(denied.unwrap_err().code(), Some("UnauthorizedOperation"));
    let groups = aws_client!(aws_sdk_autoscaling, simulator).describe_auto_scaling_groups().send();
    assert_eq!(groups.await.unwrap_err().code(), Some("AccessDenied"));
    aws_client!(aws_sdk_sts, simulator).get_caller_identity().send().await.unwrap();

    let client = client(&simulator);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    maps.get("rafay-relay-sop-config").await.unwrap();
    let nodes: Api<Node> = Api::all(client);
    let Err(kube::Error::Api(status)) = nodes.list(&ListParams::default()).await else { panic!() };
    assert_eq!((status.code, &*status.reason), (403, "Forbidden"));
    assert!(status.message.starts_with("nodes is forbidden: User"), "{}", status.message);
    let refused: Vec<u16> =
        simulator.calls().iter().map(|call| call.status).filter(|status| *status == 403).collect();
    assert_eq!(refused.len(), 4);
}

#[tokio::test]
async fn an_access_review_answers_by_the_roles() {
    let role = json!({
        "kind": "Role",
        "metadata": {"name": "sop", "namespace": NAMESPACE},
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]}],
    });
    let policy = AccessPolicy::default().allow_role(&role).unwrap();
    let options = Options { policy: Some(policy), ..Options::default() };
    let simulator = Simulator::start(Scenario::default(), options).await.unwrap();
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client(&simulator));
    for (verb, namespace, allowed) in
        [("patch", NAMESPACE, true), ("get", NAMESPACE, false), ("patch", "default", false)]
    {
        let review = serde_json::from_value(json!({"spec": {"resourceAttributes": {
            "verb": verb,
            "group": "apps",
            "resource": "deployments",
            "subresource": "scale",
            "namespace": namespace,
        }}}))
        .unwrap();
        let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
        assert_eq!(answer.status.unwrap().allowed, allowed, "{verb} in {namespace}");
    }
}
