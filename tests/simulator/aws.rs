//! The AWS services, called with their SDKs.

use aws_sdk_autoscaling as autoscaling;
use aws_sdk_ec2 as ec2;
use aws_sdk_eks::{
    self as eks,
    error::ProvideErrorMetadata,
    types::{NodegroupScalingConfig, NodegroupStatus, UpdateStatus},
};
use aws_sdk_sts as sts;
use simulator::{Scenario, Simulator, UpdateFailure};

use super::{RELAY, aws_client, start, start_at, wait_until};

const CLUSTER: &str = "rafay-cluster";

fn sizes(max: Option<i32>, desired: i32) -> NodegroupScalingConfig {
    NodegroupScalingConfig::builder().set_max_size(max).desired_size(desired).build()
}

async fn update(
    eks: &eks::Client,
    sizes: NodegroupScalingConfig,
    token: &str,
) -> Result<String, (String, String)> {
    let sent = eks
        .update_nodegroup_config()
        .cluster_name(CLUSTER)
        .nodegroup_name(RELAY)
        .scaling_config(sizes)
        .client_request_token(token)
        .send()
        .await;
    match sent {
        Ok(output) => Ok(output.update.unwrap().id.unwrap()),
        Err(error) => Err(code_and_message(&error)),
    }
}

fn code_and_message(error: &impl ProvideErrorMetadata) -> (String, String) {
    (error.code().unwrap_or_default().into(), error.message().unwrap_or_default().into())
}

async fn status_of(eks: &eks::Client, update: &str) -> eks::types::Update {
    let described = eks.describe_update().name(CLUSTER).nodegroup_name(RELAY).update_id(update);
    described.send().await.unwrap().update.unwrap()
}

async fn nodegroup(eks: &eks::Client) -> eks::types::Nodegroup {
    let described = eks.describe_nodegroup().cluster_name(CLUSTER).nodegroup_name(RELAY);
    described.send().await.unwrap().nodegroup.unwrap()
}

async fn group(simulator: &Simulator) -> autoscaling::types::AutoScalingGroup {
    let name = group_name(simulator).await;
    let client = aws_client!(aws_sdk_autoscaling, simulator);
    let described = client.describe_auto_scaling_groups().auto_scaling_group_names(name);
    described.send().await.unwrap().auto_scaling_groups.unwrap().remove(0)
}

async fn group_name(simulator: &Simulator) -> String {
    let eks = aws_client!(aws_sdk_eks, simulator);
    let groups = nodegroup(&eks).await.resources.unwrap().auto_scaling_groups.unwrap();
    groups[0].name.clone().unwrap()
}

#[tokio::test]
async fn an_update_is_in_progress_then_done_and_only_one_at_a_time() {
    let simulator = start_at(Scenario::default(), 10.0).await;
    let eks = aws_client!(aws_sdk_eks, simulator);
    let id = update(&eks, sizes(Some(6), 6), "one").await.unwrap();
    // A call with the same token returns the same update.
    assert_eq!(update(&eks, sizes(Some(6), 6), "one").await.unwrap(), id);
    let (code, message) = update(&eks, sizes(None, 5), "two").await.unwrap_err();
    assert_eq!(code, "ResourceInUseException");
    assert_eq!(message, "Nodegroup cannot be updated as it is currently not in Active State");
    let described = status_of(&eks, &id).await;
    assert_eq!(described.status, Some(UpdateStatus::InProgress));
    assert_eq!(nodegroup(&eks).await.status, Some(NodegroupStatus::Updating));
    let params: Vec<(String, String)> = described
        .params
        .unwrap()
        .into_iter()
        .map(|param| (param.r#type.unwrap().as_str().to_owned(), param.value.unwrap()))
        .collect();
    assert_eq!(params, [("MaxSize".into(), "6".into()), ("DesiredSize".into(), "6".into())]);
    wait_until("the end of the update", || async {
        (status_of(&eks, &id).await.status? == UpdateStatus::Successful).then_some(())
    })
    .await;
    let nodegroup = nodegroup(&eks).await;
    assert_eq!(nodegroup.status, Some(NodegroupStatus::Active));
    let scaling = nodegroup.scaling_config.unwrap();
    assert_eq!(
        (scaling.min_size, scaling.max_size, scaling.desired_size),
        (Some(3), Some(6), Some(6))
    );
    let updates = eks.list_updates().name(CLUSTER).nodegroup_name(RELAY).send().await.unwrap();
    assert_eq!(updates.update_ids.unwrap(), [id]);
    let effective_calls = simulator.calls().iter().filter(|call| call.effective).count();
    assert_eq!(effective_calls, 1);
}

#[tokio::test]
async fn nodegroup_sizes_are_validated_after_merging() {
    let simulator = start(Scenario::default()).await;
    let eks = aws_client!(aws_sdk_eks, simulator);
    let (code, message) = update(&eks, sizes(None, 6), "a").await.unwrap_err();
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(message, "Desired capacity 6 can't be greater than max size 4");
    let (_, message) = update(&eks, sizes(None, 2), "b").await.unwrap_err();
    assert_eq!(message, "Minimum capacity 3 can't be greater than desired size 2");
    let missing = eks.describe_nodegroup().cluster_name(CLUSTER).nodegroup_name("x").send().await;
    assert!(missing.unwrap_err().into_service_error().is_resource_not_found_exception());
    let empty = eks.update_nodegroup_config().cluster_name(CLUSTER).nodegroup_name(RELAY).send();
    assert!(empty.await.unwrap_err().into_service_error().is_invalid_parameter_exception());
}

#[tokio::test]
async fn a_failed_update_changes_nothing() {
    let mut scenario = Scenario::default();
    scenario.nodegroups[0].update_failures.push(UpdateFailure {
        nth: 1,
        code: "NodeCreationFailure".into(),
        message: "Instances failed to join the kubernetes cluster".into(),
    });
    let simulator = start(scenario).await;
    let eks = aws_client!(aws_sdk_eks, simulator);
    let id = update(&eks, sizes(Some(6), 6), "a").await.unwrap();
    let failed = wait_until("the failure", || async {
        Some(status_of(&eks, &id).await).filter(|u| u.status == Some(UpdateStatus::Failed))
    })
    .await;
    let errors = failed.errors.unwrap();
    assert_eq!(errors[0].error_code.as_ref().unwrap().as_str(), "NodeCreationFailure");
    let nodegroup = nodegroup(&eks).await;
    assert_eq!(nodegroup.status, Some(NodegroupStatus::Active));
    assert_eq!(nodegroup.scaling_config.unwrap().desired_size, Some(3));
}

#[tokio::test]
async fn nodegroups_are_listed_by_the_page() {
    let simulator = start(Scenario::default()).await;
    let eks = aws_client!(aws_sdk_eks, simulator);
    let pages = eks.list_nodegroups().cluster_name(CLUSTER).max_results(2).into_paginator();
    let names: Vec<String> = pages.items().send().try_collect().await.unwrap();
    assert_eq!(names, ["core-services", RELAY, "relay-services-canary"]);
}

#[tokio::test]
async fn auto_scaling_groups_and_ec2_return_the_same_instances() {
    let simulator = start(Scenario::default()).await;
    let group = group(&simulator).await;
    assert_eq!(
        (group.min_size, group.max_size, group.desired_capacity),
        (Some(3), Some(4), Some(3))
    );
    let instances = group.instances.unwrap();
    let protected: Vec<bool> =
        instances.iter().map(|instance| instance.protected_from_scale_in.unwrap()).collect();
    assert_eq!(protected, [true, true, false]);
    let ids: Vec<String> = instances.iter().map(|i| i.instance_id.clone().unwrap()).collect();
    assert!(ids.iter().all(|id| id.starts_with("i-0") && id.len() == 19), "{ids:?}");

    let ec2 = aws_client!(aws_sdk_ec2, simulator);
    let found = ec2.describe_instances().set_instance_ids(Some(ids.clone())).send().await.unwrap();
    let described: Vec<_> =
        found.reservations.unwrap().into_iter().flat_map(|r| r.instances.unwrap()).collect();
    assert_eq!(described.len(), 3);
    let state = described[0].state.as_ref().unwrap().name.as_ref().unwrap();
    assert_eq!(*state, ec2::types::InstanceStateName::Running);
    let facts = simulator.state().await.unwrap();
    let dns = described[0].private_dns_name.clone().unwrap();
    assert_eq!(facts.nodes[&dns].instance, described[0].instance_id);
    let missing = ec2.describe_instances().instance_ids("i-00000000000000000").send().await;
    assert_eq!(code_and_message(&missing.unwrap_err()).0, "InvalidInstanceID.NotFound");

    let client = aws_client!(aws_sdk_autoscaling, simulator);
    let pages = client.describe_auto_scaling_groups().max_records(1).into_paginator();
    let all: Vec<_> = pages.items().send().try_collect().await.unwrap();
    assert_eq!(all.len(), 3);
    let pages = client.describe_auto_scaling_instances().max_records(2).into_paginator();
    let all: Vec<_> = pages.items().send().try_collect().await.unwrap();
    assert_eq!(all.len(), 6);
}

#[tokio::test]
async fn protection_is_set_for_fifty_at_most_and_only_in_service() {
    let simulator = start_at(Scenario::default(), 30.0).await;
    let group = group(&simulator).await;
    let name = group.auto_scaling_group_name.unwrap();
    let ids: Vec<String> =
        group.instances.unwrap().into_iter().map(|i| i.instance_id.unwrap()).collect();
    let client = aws_client!(aws_sdk_autoscaling, simulator);
    let protect = |ids: Vec<String>, protected: bool| {
        client
            .set_instance_protection()
            .auto_scaling_group_name(&name)
            .set_instance_ids(Some(ids))
            .protected_from_scale_in(protected)
            .send()
    };
    protect(ids.clone(), true).await.unwrap();
    protect(ids.clone(), true).await.unwrap();
    let effective_calls: Vec<bool> = simulator
        .calls()
        .iter()
        .filter(|call| call.operation == "autoscaling:SetInstanceProtection")
        .map(|call| call.effective)
        .collect();
    assert_eq!(effective_calls, [true, false], "the second changed nothing");
    let many = vec![ids[0].clone(); 51];
    assert_eq!(code_and_message(&protect(many, true).await.unwrap_err()).0, "ValidationError");

    let eks = aws_client!(aws_sdk_eks, simulator);
    update(&eks, sizes(Some(6), 6), "grow").await.unwrap();
    let pending = wait_until("a pending instance", || async {
        let instances = self::group(&simulator).await.instances.unwrap();
        let pending = instances
            .into_iter()
            .find(|i| i.lifecycle_state.as_ref().unwrap().as_str() == "Pending")?;
        pending.instance_id
    })
    .await;
    let (code, message) =
        code_and_message(&protect(vec![pending.clone()], true).await.unwrap_err());
    assert_eq!(code, "ValidationError");
    let expected =
        format!("The instance {pending} is not in InService or EnteringStandby or Standby.");
    assert_eq!(message, expected);
}

#[tokio::test]
async fn sts_returns_an_account_and_other_regions_are_empty() {
    let simulator = start(Scenario::default()).await;
    let sts = aws_client!(aws_sdk_sts, simulator);
    let identity: sts::operation::get_caller_identity::GetCallerIdentityOutput =
        sts.get_caller_identity().send().await.unwrap();
    assert_eq!(identity.account.as_deref(), Some("123456789012"));
    let session = "arn:aws:sts::123456789012:assumed-role/rafay-relay-sop-role/simulator";
    assert_eq!(identity.arn.as_deref(), Some(session));
    let elsewhere = eks::Config::builder()
        .behavior_version(super::BehaviorVersion::latest())
        .region(eks::config::Region::new("eu-central-1"))
        .endpoint_url(simulator.aws_url().as_str())
        .credentials_provider(super::credentials())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let eks = eks::Client::from_conf(elsewhere);
    assert!(eks.list_clusters().send().await.unwrap().clusters.unwrap().is_empty());
}
