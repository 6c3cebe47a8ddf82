//! Each AWS call of the program, its pages, and its errors.

use std::{collections::BTreeSet, sync::Arc};

use clock::Clock;
use rafay_relay_sop::{
    platform::{AwsAccess, KubernetesAccess, Platform, PlatformOptions, WriteFence},
    platform::{
        ErrorKind,
        aws::{AwsReader, Scaling, UpdateStatus},
    },
};
use serde_json::json;

use super::{
    Moto, REGION,
    aws_account::{AwsAccount, Sizes, group_name},
    request_log::RequestLog,
};
use crate::harness::{Test, test};

/// A second of back-off takes ten milliseconds.
const SPEED: f64 = 100.0;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("moto::calls::nodegroups_are_listed_by_the_page", list_nodegroups),
        test("moto::calls::nodegroups_are_described", describe_nodegroups),
        test("moto::calls::an_update_changes_only_the_given_sizes", update_nodegroup_config),
        test("moto::calls::unknown_updates_are_not_an_error", updates),
        test("moto::calls::groups_are_described_fifty_at_a_time", describe_groups),
        test("moto::calls::fifty_instances_are_protected_in_one_call", protect_fifty),
        test("moto::calls::instances_are_described_by_the_page", describe_instances),
        test("moto::calls::an_idle_group_has_no_activities", activities),
        test("moto::calls::the_caller_identity_is_read", identity),
        test("moto::calls::a_server_error_is_distinguished_from_a_refusal", server_error),
    ]
}

/// The program's own clients, pointed at moto.
fn platform(moto: &Moto) -> Platform {
    Platform::new(PlatformOptions {
        clock: Clock::scaled(SPEED).unwrap(),
        kubernetes: KubernetesAccess::Endpoint { url: "http://127.0.0.1:9/".parse().unwrap() },
        aws: AwsAccess::Endpoint { url: moto.url.parse().unwrap() },
        environment: [].into(),
    })
}

async fn reader(moto: &Moto) -> AwsReader {
    platform(moto).reader().aws(REGION).await.unwrap()
}

/// `prefix-000`, `prefix-001`, …
fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number:03}")).collect()
}

/// moto's pages, as EKS's, have a hundred names.
async fn list_nodegroups(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    let names = numbered("workers", 205);
    for name in &names {
        account.bare_nodegroup(name, &[], Sizes(0, 1, 0)).await;
    }
    let reader = reader(&moto).await;
    assert_eq!(reader.list_nodegroups("prod").await.unwrap(), names);
    let described = reader.describe_nodegroups("prod", &names).await.unwrap();
    let described: Vec<String> = described.into_iter().map(|found| found.name).collect();
    assert_eq!(described, names, "in the order of the names");
}

async fn describe_nodegroups(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    let labels = [("Name", "relay"), ("tier", "edge")];
    let made = account.bare_nodegroup("relay", &labels, Sizes(1, 6, 3)).await;
    let reader = reader(&moto).await;
    let found = reader.describe_nodegroup("prod", "relay").await.unwrap().unwrap();
    assert_eq!((found.min, found.max, found.desired), (1, 6, 3));
    assert_eq!((found.cluster.as_str(), found.status.as_str()), ("prod", "ACTIVE"));
    assert_eq!(found.labels, labels.map(|(key, value)| (key.into(), value.into())).into());
    assert_eq!(found.auto_scaling_groups, [group_name(&made)]);
    assert_eq!(Some(found.arn), made.nodegroup_arn);

    assert_eq!(reader.describe_nodegroup("prod", "another").await.unwrap(), None);
    let error = reader.describe_nodegroup("staging", "relay").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("No cluster found for name: staging"), "{error}");
    let plane_and_moto = ["another".to_owned(), "relay".to_owned()];
    assert_eq!(reader.describe_nodegroups("prod", &plane_and_moto).await.unwrap().len(), 1);
}

async fn update_nodegroup_config(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    account.bare_nodegroup("relay", &[], Sizes(1, 3, 3)).await;
    let writer =
        platform(&moto).writer("token-1", &WriteFence::unlimited()).aws(REGION).await.unwrap();
    let larger = Scaling { min: None, max: Some(6), desired: Some(6) };
    let requests = RequestLog::start(&moto);
    let update = writer.update_nodegroup_config("prod", "relay", &larger.into()).await.unwrap();
    assert_eq!(update.status, UpdateStatus::Successful);
    assert!(!update.id.is_empty() && update.errors.is_empty() && update.created_at.is_some());
    assert_eq!(account.sizes("relay").await, Sizes(1, 6, 6));
    // EKS takes a repetition by its token; moto has no use for one.
    let scaling = json!({"maxSize": 6, "desiredSize": 6});
    let asked = json!({"clientRequestToken": "token-1", "scalingConfig": scaling});
    assert_eq!(requests.updates(), [asked]);

    let error =
        writer.update_nodegroup_config("prod", "another", &larger.into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.starts_with("eks:UpdateNodegroupConfig prod/another (AWS us-west-2): "), "{text}");
}

/// moto has no such calls; EKS has both.
async fn updates(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    account.bare_nodegroup("relay", &[], Sizes(1, 3, 3)).await;
    let reader = reader(&moto).await;
    assert_eq!(reader.list_updates("prod", "relay").await.unwrap(), [""; 0]);
    assert_eq!(reader.describe_update("prod", "relay", "an-id").await.unwrap(), None);
}

async fn describe_groups(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    let mut names = numbered("workers", 120);
    for name in &names {
        account.group(name, Sizes(0, 9, 0)).await;
    }
    account.group("relay", Sizes(1, 9, 2)).await;
    names.extend(["nobody-s".to_owned(), "relay".to_owned()]);
    let found = reader(&moto).await.describe_auto_scaling_groups(&names).await.unwrap();
    assert_eq!(found.len(), 121, "and not the one that is not there");
    let relay = found.iter().find(|group| group.name == "relay").unwrap();
    assert_eq!((relay.min, relay.max, relay.desired), (1, 9, 2));
    assert_eq!(relay.tags["eks:cluster-name"], "prod");
    let [first, second] = relay.instances.as_slice() else { panic!("{relay:?}") };
    assert!(first.is_in_service() && second.is_protectable() && !first.protected);
    assert_eq!(first.health, "Healthy");
    assert!(first.zone.starts_with(REGION), "{}", first.zone);
    assert_eq!(first.launched_from.as_deref(), Some("nodes:1"));
}

async fn protect_fifty(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    account.group("relay", Sizes(0, 60, 60)).await;
    let before = account.protections("relay").await;
    let fifty: Vec<String> = before.into_keys().take(50).collect();
    let writer =
        platform(&moto).writer("token-1", &WriteFence::unlimited()).aws(REGION).await.unwrap();
    writer.set_instance_protection("relay", &fifty, true).await.unwrap();
    let protected = |now: std::collections::BTreeMap<String, bool>| -> Vec<String> {
        now.into_iter().filter(|(_, protected)| *protected).map(|(id, _)| id).collect()
    };
    assert_eq!(protected(account.protections("relay").await), fifty);
    writer.set_instance_protection("relay", &fifty[..20], false).await.unwrap();
    assert_eq!(protected(account.protections("relay").await), fifty[20..]);
}

/// A page has a hundred reservations, and these instances have one each; a filter takes two hundred ids.
async fn describe_instances(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    let mut ids = BTreeSet::new();
    for _ in 0..205 {
        let run = account.ec2.run_instances().image_id("ami-12c6146b").min_count(1).max_count(1);
        let made = run.send().await.unwrap().instances.unwrap().remove(0);
        ids.insert(made.instance_id.unwrap());
    }
    let gone = ids.first().unwrap().clone();
    account.ec2.terminate_instances().instance_ids(&gone).send().await.unwrap();
    let mut asked: Vec<String> = ids.iter().cloned().collect();
    asked.push("i-0123456789abcdef0".into());
    let found = reader(&moto).await.describe_instances(&asked).await.unwrap();
    let found_ids: BTreeSet<String> = found.iter().map(|found| found.id.clone()).collect();
    assert_eq!(found_ids, ids, "and not the one that is not there");
    for instance in &found {
        let ended = instance.id == gone;
        assert_eq!(instance.state, if ended { "terminated" } else { "running" });
        assert_eq!(instance.state_reason.is_some(), ended, "{instance:?}");
        assert!(instance.launched_at.is_some() && instance.zone.starts_with(REGION));
    }
    let living = found.iter().find(|instance| instance.id != gone).unwrap();
    assert!(living.private_dns.ends_with(".us-west-2.compute.internal"), "{living:?}");
}

async fn activities(moto: Arc<Moto>) {
    let account = AwsAccount::new(&moto, "prod").await;
    account.group("relay", Sizes(0, 9, 2)).await;
    let since = jiff::Timestamp::UNIX_EPOCH;
    assert_eq!(reader(&moto).await.scaling_activities("relay", since).await.unwrap(), []);
}

async fn identity(moto: Arc<Moto>) {
    let identity = platform(&moto).aws_identity().await.unwrap();
    assert_eq!(identity.account, "123456789012");
    assert!(identity.arn.starts_with("arn:aws:sts::123456789012:"), "{}", identity.arn);
}

/// moto's own mistake: where EKS says `ResourceNotFoundException`, it stumbles and answers with a page.
async fn server_error(moto: Arc<Moto>) {
    AwsAccount::new(&moto, "prod").await;
    let error = reader(&moto).await.list_nodegroups("staging").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Transient, "500"));
    let text = error.to_string();
    assert!(text.starts_with("eks:ListNodegroups staging (AWS us-west-2): HTTP 500"), "{text}");
}
