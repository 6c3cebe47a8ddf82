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
use serde_json::{Value, json};
use simulator::{AccessPolicy, Effect, Fault, Options, Scenario, Simulator};

use super::{NAMESPACE, RELAY, aws_client, client, start};

/// The role whose policies decide what the clients may do.
const ROLE: &str = "arn:aws:iam::123456789012:role/rafay-relay-sop-role";

async fn start_with(statements: Value) -> Simulator {
    let document = json!({"Version": "2012-10-17", "Statement": statements});
    let policy = AccessPolicy::default().allow_iam(&document).unwrap();
    let options = Options { policy: Some(policy), ..Options::default() };
    Simulator::start(Scenario::default(), options).await.unwrap()
}

/// Calls a service of the query protocol in a region. Returns the status and the body of the response.
async fn query(
    simulator: &Simulator,
    service: &str,
    region: &str,
    parameters: &str,
) -> (u16, String) {
    let scope = format!("Credential=simulator/20260101/{region}/{service}/aws4_request");
    let response = reqwest::Client::new()
        .post(simulator.aws_url().clone())
        .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, Signature=0"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(parameters.to_owned())
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Calls `SimulatePrincipalPolicy` about the clients' role, with further parameters.
async fn simulate(simulator: &Simulator, parameters: &str) -> (u16, String) {
    let parameters = format!(
        "Action=SimulatePrincipalPolicy&Version=2010-05-08&PolicySourceArn={ROLE}&{parameters}"
    );
    query(simulator, "iam", "us-west-2", &parameters).await
}

/// Returns the contents of every element of this name.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&start).skip(1).map(|rest| rest.split(&end).next().unwrap()).collect()
}

/// Returns the groups of the nodegroups by the names of these, with their ARNs and tags.
async fn groups(simulator: &Simulator) -> Vec<aws_sdk_autoscaling::types::AutoScalingGroup> {
    let client = aws_client!(aws_sdk_autoscaling, simulator);
    client.describe_auto_scaling_groups().send().await.unwrap().auto_scaling_groups.unwrap()
}

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

#[tokio::test]
async fn a_group_has_the_tags_that_eks_sets_and_an_arn_with_an_id() {
    let simulator = start(Scenario::default()).await;
    let groups = groups(&simulator).await;
    let name_of = |group: &aws_sdk_autoscaling::types::AutoScalingGroup| {
        group.auto_scaling_group_name.clone().unwrap()
    };
    let relay = groups.iter().find(|group| name_of(group).contains(RELAY)).unwrap();
    let tags: Vec<(String, String)> = relay
        .tags()
        .iter()
        .map(|tag| (tag.key.clone().unwrap(), tag.value.clone().unwrap()))
        .collect();
    let expected = [
        ("eks:cluster-name", "rafay-cluster"),
        ("eks:nodegroup-name", RELAY),
        ("k8s.io/cluster-autoscaler/enabled", "true"),
        ("k8s.io/cluster-autoscaler/rafay-cluster", "owned"),
        ("kubernetes.io/cluster/rafay-cluster", "owned"),
    ];
    assert_eq!(tags, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut ids = Vec::new();
    for group in &groups {
        let arn = group.auto_scaling_group_arn.clone().unwrap();
        let id = arn
            .strip_prefix("arn:aws:autoscaling:us-west-2:123456789012:autoScalingGroup:")
            .and_then(|rest| {
                rest.strip_suffix(&format!(":autoScalingGroupName/{}", name_of(group)))
            })
            .unwrap()
            .to_owned();
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{arn}");
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), groups.len());
}

#[tokio::test]
async fn a_condition_compares_the_region_of_the_call_and_the_tags_of_its_group() {
    let simulator = start_with(json!([
        {
            "Effect": "Allow",
            "Action": ["autoscaling:DescribeAutoScalingGroups", "eks:ListNodegroups"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": "us-west-2"}},
        },
        {
            "Effect": "Allow",
            "Action": "ec2:DescribeInstances",
            "Resource": "*",
            "Condition": {"StringEquals": {"ec2:Region": "us-west-2"}},
        },
        {
            "Effect": "Allow",
            "Action": "autoscaling:SetInstanceProtection",
            "Resource": "arn:aws:autoscaling:us-west-2:123456789012:autoScalingGroup:*:autoScalingGroupName/eks-*",
            "Condition": {
                "StringEquals": {"autoscaling:ResourceTag/eks:cluster-name": "rafay-cluster"},
                "StringLike": {"aws:ResourceTag/eks:nodegroup-name": "relay-services-1*"},
            },
        },
    ]))
    .await;
    let describe = "Action=DescribeAutoScalingGroups&Version=2011-01-01";
    let instances = "Action=DescribeInstances&Version=2016-11-15";
    assert_eq!(query(&simulator, "autoscaling", "us-west-2", describe).await.0, 200);
    assert_eq!(query(&simulator, "autoscaling", "eu-west-1", describe).await.0, 403);
    assert_eq!(query(&simulator, "ec2", "us-west-2", instances).await.0, 200);
    assert_eq!(query(&simulator, "ec2", "eu-west-1", instances).await.0, 403);
    let eks = aws_client!(aws_sdk_eks, simulator);
    eks.list_nodegroups().cluster_name("rafay-cluster").send().await.unwrap();

    let autoscaling = aws_client!(aws_sdk_autoscaling, simulator);
    for group in groups(&simulator).await {
        let name = group.auto_scaling_group_name.as_deref().unwrap();
        let ids = group.instances().iter().map(|instance| instance.instance_id.clone().unwrap());
        let set = autoscaling
            .set_instance_protection()
            .auto_scaling_group_name(name)
            .set_instance_ids(Some(ids.collect()))
            .protected_from_scale_in(true)
            .send()
            .await;
        if name.contains(RELAY) {
            set.unwrap();
            continue;
        }
        let denied = set.unwrap_err();
        assert_eq!(denied.code(), Some("AccessDenied"), "{name}");
        let expected = format!(
            "User: arn:aws:sts::123456789012:assumed-role/rafay-relay-sop-role/simulator is not \
             authorized to perform: autoscaling:SetInstanceProtection on resource: {}",
            group.auto_scaling_group_arn.as_deref().unwrap()
        );
        assert_eq!(denied.message(), Some(&*expected));
    }
}

/// AWS does not document which of the two is checked.
#[tokio::test]
async fn the_updates_of_a_nodegroup_are_read_where_the_cluster_and_the_nodegroup_are_allowed() {
    let cluster = "arn:aws:eks:us-west-2:123456789012:cluster/rafay-cluster";
    let nodegroup =
        "arn:aws:eks:us-west-2:123456789012:nodegroup/rafay-cluster/relay-services-1a2b3c/*";
    for (resources, is_allowed) in
        [(vec![cluster], false), (vec![nodegroup], false), (vec![cluster, nodegroup], true)]
    {
        let simulator = start_with(json!({
            "Effect": "Allow",
            "Action": ["eks:ListUpdates", "eks:DescribeUpdate"],
            "Resource": resources,
        }))
        .await;
        let eks = aws_client!(aws_sdk_eks, simulator);
        let listed = eks.list_updates().name("rafay-cluster").nodegroup_name(RELAY).send().await;
        assert_eq!(listed.is_ok(), is_allowed, "{resources:?}");
        let described =
            eks.describe_update().name("rafay-cluster").nodegroup_name(RELAY).update_id("none");
        let code = described.send().await.unwrap_err().code().map(str::to_owned);
        let expected =
            if is_allowed { "ResourceNotFoundException" } else { "AccessDeniedException" };
        assert_eq!(code.as_deref(), Some(expected), "{resources:?}");
    }
}

#[tokio::test]
async fn iam_simulates_the_policy_of_the_clients() {
    let simulator = start_with(json!([
        {"Effect": "Allow", "Action": "iam:SimulatePrincipalPolicy", "Resource": ROLE},
        {
            "Effect": "Allow",
            "Action": "eks:*",
            "Resource": "arn:aws:eks:*:*:nodegroup/rafay-cluster/*",
            "Condition": {"StringEquals": {"aws:RequestedRegion": "us-west-2"}},
        },
        {
            "Effect": "Deny",
            "Action": "eks:UpdateNodegroupConfig",
            "Resource": "arn:aws:eks:*:*:nodegroup/rafay-cluster/core/*",
        },
    ]))
    .await;
    let (relay, core, other) = (
        "arn:aws:eks:us-west-2:1:nodegroup/rafay-cluster/relay/u",
        "arn:aws:eks:us-west-2:1:nodegroup/rafay-cluster/core/u",
        "arn:aws:eks:us-west-2:1:nodegroup/other/relay/u",
    );
    let of_actions = "ActionNames.member.1=eks:UpdateNodegroupConfig&\
                      ActionNames.member.2=ec2:DescribeInstances&\
                      ActionNames.member.3=iam:SimulatePrincipalPolicy";
    let region = "ContextEntries.member.1.ContextKeyName=aws:RequestedRegion&\
                  ContextEntries.member.1.ContextKeyType=string&\
                  ContextEntries.member.1.ContextKeyValues.member.1=us-west-2";

    // One result for each action, on all resources if none is named. IAM adds no context.
    let (status, xml) = simulate(&simulator, of_actions).await;
    assert_eq!(status, 200, "{xml}");
    assert!(xml.contains("xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\""), "{xml}");
    assert_eq!(elements(&xml, "EvalDecision"), ["implicitDeny"; 3]);
    assert_eq!(elements(&xml, "IsTruncated"), ["false"]);
    assert!(!xml.contains("ResourceSpecificResults"), "{xml}");

    // The decision of an action is the most restrictive one of its resources.
    let resources = |arns: &[&str]| {
        let numbered = (1..).zip(arns);
        let parts: Vec<String> =
            numbered.map(|(number, arn)| format!("ResourceArns.member.{number}={arn}")).collect();
        format!("{}&ActionNames.member.1=eks:UpdateNodegroupConfig", parts.join("&"))
    };
    for (arns, decision, each) in [
        (vec![relay], "allowed", vec!["allowed"]),
        (vec![relay, other], "implicitDeny", vec!["allowed", "implicitDeny"]),
        (vec![relay, other, core], "explicitDeny", vec!["allowed", "implicitDeny", "explicitDeny"]),
    ] {
        let (_, xml) = simulate(&simulator, &format!("{}&{region}", resources(&arns))).await;
        assert_eq!(elements(&xml, "EvalDecision"), [decision], "{xml}");
        assert_eq!(elements(&xml, "EvalResourceDecision"), each, "{xml}");
        let named = elements(&xml, "EvalResourceName");
        let named: Vec<&str> = named.into_iter().filter(|name| !name.contains('$')).collect();
        assert_eq!(named, arns);
    }

    // Without the region, the statement does not apply, and its key is missing.
    let (_, xml) = simulate(&simulator, &resources(&[relay])).await;
    assert_eq!(elements(&xml, "EvalDecision"), ["implicitDeny"]);
    let missing = "<member>aws:RequestedRegion</member>";
    assert_eq!(elements(&xml, "MissingContextValues"), [missing; 2]);

    // Pages.
    let (_, first) = simulate(&simulator, &format!("{of_actions}&MaxItems=2")).await;
    assert_eq!(elements(&first, "EvalActionName").len(), 2);
    assert_eq!(elements(&first, "IsTruncated"), ["true"]);
    let marker = elements(&first, "Marker")[0];
    let rest = format!("{of_actions}&MaxItems=2&Marker={marker}");
    let (_, second) = simulate(&simulator, &rest).await;
    assert_eq!(elements(&second, "EvalActionName"), ["iam:SimulatePrincipalPolicy"]);
    assert_eq!(elements(&second, "IsTruncated"), ["false"]);
}

#[tokio::test]
async fn iam_refuses_what_it_cannot_simulate() {
    let simulator = start(Scenario::default()).await;
    let action = "ActionNames.member.1=eks:ListClusters";
    // Without a policy, clients may do everything.
    let (_, xml) = simulate(&simulator, action).await;
    assert_eq!(elements(&xml, "EvalDecision"), ["allowed"]);
    let session = "arn:aws:sts::123456789012:assumed-role/rafay-relay-sop-role/simulator";
    for (principal, status, code) in [
        ("arn:aws:iam::123456789012:role/another", 404, "NoSuchEntity"),
        ("arn:aws:iam::123456789012:user/simulator", 404, "NoSuchEntity"),
        ("arn:aws:iam::210987654321:role/rafay-relay-sop-role", 403, "AccessDenied"),
        (session, 400, "InvalidInput"),
        ("", 400, "ValidationError"),
    ] {
        let parameters =
            format!("Action=SimulatePrincipalPolicy&PolicySourceArn={principal}&{action}");
        let (actual, xml) = query(&simulator, "iam", "us-east-1", &parameters).await;
        assert_eq!((actual, elements(&xml, "Code")), (status, vec![code]), "{principal}");
    }
    for (parameters, code) in [
        ("", "ValidationError"),
        ("ActionNames.member.1=ListClusters", "InvalidInput"),
        ("ActionNames.member.1=a:B&ResourceArns.member.1=nodegroup", "InvalidInput"),
        ("ActionNames.member.1=a:B&ResourcePolicy=x", "InvalidInput"),
        ("ActionNames.member.1=a:B&MaxItems=0", "ValidationError"),
        ("ActionNames.member.1=a:B&Marker=x", "InvalidInput"),
    ] {
        let (status, xml) = simulate(&simulator, parameters).await;
        assert_eq!((status, elements(&xml, "Code")), (400, vec![code]), "{parameters}");
    }
    let (_, xml) = query(&simulator, "iam", "us-east-1", "Action=ListRoles").await;
    assert_eq!(elements(&xml, "Code"), ["InvalidAction"]);
}

#[tokio::test]
async fn a_simulation_needs_a_permission_and_is_recorded_and_disturbed_like_other_calls() {
    let simulator = start_with(json!([
        {"Effect": "Allow", "Action": "eks:ListClusters", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "iam:SimulatePrincipalPolicy",
            "Resource": ROLE,
            // IAM is a global service: a call to it is made in one region.
            "Condition": {"StringEquals": {"aws:RequestedRegion": "us-east-1"}},
        },
    ]))
    .await;
    let action = "ActionNames.member.1=eks:ListClusters";
    let another = "Action=SimulatePrincipalPolicy&ActionNames.member.1=a:B&\
                   PolicySourceArn=arn:aws:iam::123456789012:role/another";
    let (status, xml) = query(&simulator, "iam", "us-east-1", another).await;
    assert_eq!((status, elements(&xml, "Code")), (403, vec!["AccessDenied"]));
    let message = "User: arn:aws:sts::123456789012:assumed-role/rafay-relay-sop-role/simulator is \
                   not authorized to perform: iam:SimulatePrincipalPolicy on resource: \
                   arn:aws:iam::123456789012:role/another";
    assert_eq!(elements(&xml, "Message"), [message]);

    let fault = |nth: u32, effect: Effect| Fault {
        matching: "iam:SimulatePrincipalPolicy".into(),
        nth,
        times: 1,
        effect,
    };
    let broken =
        Effect::Fail { status: 500, code: "ServiceFailure".into(), message: "broken".into() };
    simulator.inject(fault(1, Effect::Throttle));
    simulator.inject(fault(2, broken));
    simulator.inject(fault(3, Effect::Delay { by: std::time::Duration::from_millis(60) }));
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (status, xml) = simulate(&simulator, action).await;
        let code = elements(&xml, "Code").first().map(|code| (*code).to_owned());
        answers.push((status, code));
    }
    let expected = [
        (400, Some("Throttling".to_owned())),
        (500, Some("ServiceFailure".to_owned())),
        (200, None),
    ];
    assert_eq!(answers, expected);
    let calls = simulator.calls();
    let recorded: Vec<(&str, &str, bool, u16)> = calls
        .iter()
        .map(|call| (&*call.service, &*call.operation, call.mutating, call.status))
        .collect();
    let operation = "iam:SimulatePrincipalPolicy";
    let expected = [403, 400, 500, 200].map(|status| ("iam", operation, false, status));
    assert_eq!(recorded, expected);
}
