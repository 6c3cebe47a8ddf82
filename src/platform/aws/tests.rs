//! The AWS clients against hand-written answers in the services' own wire formats.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::platform::test_server::{CannedResponse, RecordedRequest, TestServer};
use crate::platform::{
    AwsAccess, ErrorKind, KubernetesAccess, Platform, PlatformOptions, WriteFence,
};
use clock::Clock;

use super::{Scaling, UpdateStatus};

/// A thousand times as fast: a back-off of seconds takes milliseconds.
fn platform(url: &url::Url) -> Platform {
    Platform::new(PlatformOptions {
        clock: Clock::scaled(1_000.0).unwrap(),
        kubernetes: KubernetesAccess::Endpoint { url: url.clone() },
        aws: AwsAccess::Endpoint { url: url.clone() },
        environment: BTreeMap::new(),
    })
}

async fn reader(server: &TestServer) -> super::AwsReader {
    platform(&server.url).reader().aws("us-west-2").await.unwrap()
}

async fn writer(server: &TestServer) -> super::AwsWriter {
    let writer = platform(&server.url).writer("token-1", &WriteFence::unlimited());
    writer.aws("us-west-2").await.unwrap()
}

fn eks_error(status: u16, code: &str, message: &str) -> CannedResponse {
    CannedResponse::Json(status, json!({"__type": code, "message": message}))
}

fn query_error(status: u16, code: &str, message: &str) -> CannedResponse {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
         <RequestId>r</RequestId></ErrorResponse>"
    );
    CannedResponse::Text(status, body)
}

fn nodegroup(name: &str) -> Json {
    json!({"nodegroup": {
        "nodegroupName": name, "clusterName": "c", "nodegroupArn": "arn", "status": "RESTING",
        "labels": {"Name": "relay"},
        "taints": [
            {"key": "dedicated", "value": "relay", "effect": "NO_SCHEDULE"},
            {"key": "own", "effect": "SOME_DAY"},
        ],
        "scalingConfig": {"minSize": 1, "maxSize": 4, "desiredSize": 2},
        "resources": {"autoScalingGroups": [{"name": "asg-1"}]},
        "health": {"issues": [{
            "code": "AsgInstanceLaunchFailures", "message": "no capacity", "resourceIds": ["asg-1"],
        }]},
    }})
}

fn update(status: &str) -> Json {
    json!({"update": {
        "id": "u-1", "status": status, "type": "ConfigUpdate", "createdAt": 1_700_000_000.5,
        "params": [{"type": "DesiredSize", "value": "4"}, {"type": "MaxSize", "value": "8"}],
        "errors": [{"errorCode": "NodeCreationFailure", "errorMessage": "no", "resourceIds": ["i-1", "i-2"]}],
    }})
}

#[tokio::test]
async fn a_nodegroup_is_read_with_values_this_program_does_not_know() {
    let server = TestServer::start(|_| CannedResponse::Json(200, nodegroup("relay"))).await;
    let found = reader(&server).await.describe_nodegroup("c", "relay").await;
    let found = found.unwrap().unwrap();
    assert_eq!((found.min, found.max, found.desired), (1, 4, 2));
    assert_eq!(found.status, "RESTING");
    assert_eq!(found.labels["Name"], "relay");
    let taints = found.taints.iter().map(|t| [&t.key, &t.value, &t.effect].map(String::as_str));
    assert_eq!(
        taints.collect::<Vec<_>>(),
        [["dedicated", "relay", "NoSchedule"], ["own", "", "SOME_DAY"]]
    );
    assert_eq!(found.auto_scaling_groups, ["asg-1"]);
    assert_eq!(found.health, ["AsgInstanceLaunchFailures: no capacity (asg-1)"]);
    let request = &server.requests()[0];
    assert_eq!(request.line, "GET /clusters/c/node-groups/relay");
    assert!(request.header("user-agent").contains("rafay-relay-sop"));
    assert!(request.header("authorization").contains("/us-west-2/eks/"), "it is signed as usual");
}

#[tokio::test]
async fn a_missing_nodegroup_is_none_and_a_missing_cluster_an_error() {
    let server = TestServer::start(|request| match request.number {
        0 => eks_error(404, "ResourceNotFoundException", "No node group found for name: x."),
        _ => eks_error(404, "ResourceNotFoundException", "No cluster found for name: c."),
    })
    .await;
    let reader = reader(&server).await;
    assert_eq!(reader.describe_nodegroup("c", "x").await.unwrap(), None);
    let error = reader.describe_nodegroup("c", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "eks:DescribeNodegroup c/x (AWS us-west-2): ResourceNotFoundException: No cluster found for name: c."
    );
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let server = TestServer::start(|request| match request.line.as_str() {
        "GET /clusters/c/node-groups" => {
            // a page may be empty while more remain
            CannedResponse::Json(200, json!({"nodegroups": [], "nextToken": "1"}))
        }
        "GET /clusters/c/node-groups?nextToken=1" => {
            CannedResponse::Json(200, json!({"nodegroups": ["a"], "nextToken": "2"}))
        }
        "GET /clusters/c/node-groups?nextToken=2" => {
            CannedResponse::Json(200, json!({"nodegroups": ["b"]}))
        }
        line if line.starts_with("GET /clusters/c/updates") => {
            CannedResponse::Json(200, json!({"updateIds": ["u-1"]}))
        }
        line => {
            let name = line.rsplit('/').next().unwrap();
            CannedResponse::Json(200, nodegroup(name))
        }
    })
    .await;
    let reader = reader(&server).await;
    let names = reader.list_nodegroups("c").await.unwrap();
    assert_eq!(names, ["a", "b"]);
    let described = reader.describe_nodegroups("c", &names).await.unwrap();
    assert_eq!(described.iter().map(|found| &found.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(reader.list_updates("c", "a").await.unwrap(), ["u-1"]);
    assert_eq!(server.lines().last().unwrap(), "GET /clusters/c/updates?nodegroupName=a");
}

#[tokio::test]
async fn a_change_carries_the_token_and_what_is_set() {
    let server = TestServer::start(|_| CannedResponse::Json(200, update("InProgress"))).await;
    let scaling = Scaling { min: None, max: Some(8), desired: Some(4) };
    let sent = writer(&server).await.update_nodegroup_config("c", "relay", &scaling.into()).await;
    let sent = sent.unwrap();
    assert_eq!((sent.id.as_str(), &sent.status), ("u-1", &UpdateStatus::InProgress));
    assert_eq!(sent.scaling, scaling);
    assert_eq!(sent.created_at.unwrap().to_string(), "2023-11-14T22:13:20.5Z");
    let request = &server.requests()[0];
    assert_eq!(request.line, "POST /clusters/c/node-groups/relay/update-config");
    let body =
        json!({"clientRequestToken": "token-1", "scalingConfig": {"maxSize": 8, "desiredSize": 4}});
    assert_eq!(request.json(), body);
}

#[tokio::test]
async fn a_change_during_another_is_busy_and_not_repeated() {
    let server = TestServer::start(|_| {
        let message = "Nodegroup cannot be updated as it is currently not in Active State";
        eks_error(409, "ResourceInUseException", message)
    })
    .await;
    let writer = writer(&server).await;
    let error =
        writer.update_nodegroup_config("c", "g", &Scaling::default().into()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Busy, "ResourceInUseException"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_update_is_followed() {
    let server = TestServer::start(|request| match request.number {
        0 => CannedResponse::Json(200, update("Failed")),
        1 => CannedResponse::Json(200, update("Paused")),
        // a server that does not have the call
        2 => CannedResponse::Text(404, "<!doctype html>\n<title>404 Not Found</title>".into()),
        _ => eks_error(404, "ResourceNotFoundException", "No update found for ID: u-1"),
    })
    .await;
    let reader = reader(&server).await;
    let failed = reader.describe_update("c", "g", "u-1").await.unwrap().unwrap();
    assert_eq!(failed.status, UpdateStatus::Failed);
    assert_eq!(failed.errors, ["NodeCreationFailure: no (i-1, i-2)"]);
    let paused = reader.describe_update("c", "g", "u-1").await.unwrap().unwrap();
    assert_eq!(paused.status, UpdateStatus::Unknown("Paused".into()));
    for _ in 0..2 {
        assert_eq!(reader.describe_update("c", "g", "u-1").await.unwrap(), None);
    }
    assert_eq!(server.lines()[0], "GET /clusters/c/updates/u-1?nodegroupName=g");
}

#[tokio::test]
async fn throttling_is_waited_out_in_the_clock_s_time() {
    let server = TestServer::start(|request| match request.number {
        0..4 => eks_error(429, "TooManyRequestsException", "Rate exceeded"),
        _ => CannedResponse::Json(200, nodegroup("g")),
    })
    .await;
    let reader = reader(&server).await;
    let start = Instant::now();
    assert!(reader.describe_nodegroup("c", "g").await.unwrap().is_some());
    assert_eq!(server.requests().len(), 5);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_time_out_is_not_divided_by_the_clock_s_speed() {
    let server = TestServer::start(|_| {
        let response = CannedResponse::Json(200, nodegroup("g"));
        CannedResponse::After(Duration::from_millis(700), Box::new(response))
    })
    .await;
    let reader = reader(&server).await;
    assert!(reader.describe_nodegroup("c", "g").await.unwrap().is_some());
    assert_eq!(server.requests().len(), 1);
}

/// The form field of a query-protocol request.
fn field(request: &RecordedRequest, name: &str) -> String {
    url::form_urlencoded::parse(request.body.as_bytes())
        .find(|(known, _)| known == name)
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

fn group(name: &str) -> String {
    format!(
        "<member><AutoScalingGroupName>{name}</AutoScalingGroupName><MinSize>1</MinSize><MaxSize>4</MaxSize>\
         <DesiredCapacity>2</DesiredCapacity><NewInstancesProtectedFromScaleIn>true</NewInstancesProtectedFromScaleIn>\
         <Instances><member><InstanceId>i-1</InstanceId><AvailabilityZone>us-west-2a</AvailabilityZone>\
         <LifecycleState>Levitating</LifecycleState><HealthStatus>Healthy</HealthStatus>\
         <ProtectedFromScaleIn>true</ProtectedFromScaleIn><InstanceType>m5.large</InstanceType>\
         <LaunchTemplate><LaunchTemplateName>t</LaunchTemplateName><Version>3</Version></LaunchTemplate>\
         </member></Instances><SuspendedProcesses><member><ProcessName>AZRebalance</ProcessName></member>\
         </SuspendedProcesses><Tags><member><Key>k</Key><Value>v</Value></member></Tags></member>"
    )
}

fn groups(members: &str, next: &str) -> CannedResponse {
    CannedResponse::Text(
        200,
        format!(
            "<DescribeAutoScalingGroupsResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\">\
             <DescribeAutoScalingGroupsResult><AutoScalingGroups>{members}</AutoScalingGroups>{next}\
             </DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>"
        ),
    )
}

#[tokio::test]
async fn groups_are_read_in_all_their_pages() {
    let server = TestServer::start(|request| match field(request, "NextToken").as_str() {
        "" => groups("", "<NextToken>more</NextToken>"),
        _ => groups(&group("asg-1"), ""),
    })
    .await;
    let reader = reader(&server).await;
    let found = reader.describe_auto_scaling_groups(&["asg-1".into()]).await.unwrap();
    let [group] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((group.name.as_str(), group.min, group.max, group.desired), ("asg-1", 1, 4, 2));
    assert!(group.new_instances_protected);
    assert_eq!(group.suspended_processes, ["AZRebalance"]);
    assert_eq!(group.tags["k"], "v");
    let instance = &group.instances[0];
    assert_eq!((instance.id.as_str(), instance.lifecycle.as_str()), ("i-1", "Levitating"));
    assert_eq!(instance.launched_from.as_deref(), Some("t:3"));
    assert!(instance.protected && !instance.is_in_service() && !instance.is_protectable());
    assert_eq!(field(&server.requests()[1], "AutoScalingGroupNames.member.1"), "asg-1");
}

#[tokio::test]
async fn without_names_no_group_is_asked_for() {
    let server = TestServer::start(|_| groups(&group("another-owner"), "")).await;
    let found = reader(&server).await.describe_auto_scaling_groups(&[]).await;
    assert_eq!(found.unwrap(), []);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn activities_are_read_back_to_a_time() {
    let activity = |id: &str, start: &str, end: &str| {
        format!(
            "<member><ActivityId>{id}</ActivityId><AutoScalingGroupName>g</AutoScalingGroupName>\
             <Description>Launching</Description><Cause>c</Cause><StartTime>{start}</StartTime>{end}\
             <StatusCode>Failed</StatusCode><StatusMessage>no capacity</StatusMessage></member>"
        )
    };
    let page = [
        activity("new", "2024-01-01T12:00:00Z", "<EndTime>2024-01-01T12:01:00Z</EndTime>"),
        activity("going-on", "2024-01-01T09:00:00Z", ""),
        activity("old", "2024-01-01T08:00:00Z", "<EndTime>2024-01-01T08:01:00Z</EndTime>"),
    ]
    .concat();
    let server = TestServer::start(move |_| {
        CannedResponse::Text(
            200,
            format!(
                "<DescribeScalingActivitiesResponse><DescribeScalingActivitiesResult><Activities>{page}</Activities>\
                 <NextToken>older</NextToken></DescribeScalingActivitiesResult></DescribeScalingActivitiesResponse>"
            ),
        )
    })
    .await;
    let since = "2024-01-01T10:00:00Z".parse().unwrap();
    let found = reader(&server).await.scaling_activities("g", since).await.unwrap();
    let ids: Vec<_> = found.iter().map(|activity| activity.id.as_str()).collect();
    assert_eq!(ids, ["new", "going-on"]);
    assert!(found[0].has_failed());
    assert_eq!(found[0].message.as_deref(), Some("no capacity"));
    assert_eq!(server.requests().len(), 1, "older pages are not asked for");
}

#[tokio::test]
async fn protection_is_one_call() {
    let server = TestServer::start(|request| match request.number {
        0 => CannedResponse::Text(
            200,
            "<SetInstanceProtectionResponse><SetInstanceProtectionResult/></SetInstanceProtectionResponse>".into(),
        ),
        _ => query_error(400, "ValidationError", "The instance i-2 is not in InService or Standby."),
    })
    .await;
    let writer = writer(&server).await;
    let ids = ["i-1".to_owned(), "i-2".to_owned()];
    writer.set_instance_protection("g", &ids, true).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(field(request, "Action"), "SetInstanceProtection");
    assert_eq!(field(request, "InstanceIds.member.2"), "i-2");
    assert_eq!(field(request, "ProtectedFromScaleIn"), "true");
    let error = writer.set_instance_protection("g", &ids, true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn instances_are_asked_for_by_a_filter() {
    let server = TestServer::start(|_| {
        CannedResponse::Text(
            200,
            "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><reservationSet><item>\
             <instancesSet><item><instanceId>i-1</instanceId><instanceState><code>48</code><name>terminated</name>\
             </instanceState><privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName><placement>\
             <availabilityZone>us-west-2a</availabilityZone></placement><reason>User initiated</reason>\
             <stateReason><code>Client.UserInitiatedShutdown</code><message>it was shut down</message></stateReason>\
             </item></instancesSet></item></reservationSet></DescribeInstancesResponse>"
                .into(),
        )
    })
    .await;
    let ids: Vec<String> = (0..201).map(|n| format!("i-{n}")).collect();
    let found = reader(&server).await.describe_instances(&ids).await.unwrap();
    assert_eq!(found[0].state, "terminated");
    assert_eq!(found[0].state_reason.as_deref(), Some("it was shut down"));
    assert_eq!(
        (found[0].private_dns.as_str(), found[0].zone.as_str()),
        ("ip-10-0-0-1.ec2.internal", "us-west-2a")
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "200 at once");
    assert_eq!(field(&requests[0], "Filter.1.Name"), "instance-id");
    assert_eq!(field(&requests[1], "Filter.1.Value.1"), "i-200");
}

#[tokio::test]
async fn the_identity_is_asked_of_sts() {
    let server = TestServer::start(|_| {
        CannedResponse::Text(
            200,
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::123:user/me</Arn>\
             <UserId>u</UserId><Account>123</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
                .into(),
        )
    })
    .await;
    let identity = platform(&server.url).aws_identity().await.unwrap();
    assert_eq!((identity.account.as_str(), identity.region), ("123", None));
}

#[tokio::test]
async fn a_refusal_has_its_kind_and_hint() {
    let cases = [
        (400, "ExpiredTokenException", ErrorKind::Denied, "log in again"),
        (
            403,
            "AccessDeniedException",
            ErrorKind::Denied,
            "allow `eks:ListNodegroups` in the role's policy",
        ),
        (403, "UnrecognizedClientException", ErrorKind::Denied, "check the credentials"),
        (403, "SomethingNew", ErrorKind::Denied, "check the credentials"),
        (400, "InvalidParameterException", ErrorKind::Invalid, ""),
        (400, "ClientException", ErrorKind::Invalid, ""),
        (500, "ServerException", ErrorKind::Transient, ""),
        (400, "ThrottlingException", ErrorKind::Transient, ""),
    ];
    for (status, code, kind, hint) in cases {
        let server = TestServer::start(move |_| eks_error(status, code, "so it is")).await;
        let error = reader(&server).await.list_nodegroups("c").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, code));
        let message = format!("eks:ListNodegroups c (AWS us-west-2): {code}: so it is");
        assert_eq!(error.to_string(), message);
        assert!(error.hint().unwrap_or_default().starts_with(hint), "{:?}", error.hint());
    }
}

#[tokio::test]
async fn another_service_at_the_address_is_recognized() {
    let server =
        TestServer::start(|_| CannedResponse::Text(200, "<html>Welcome</html>".into())).await;
    let error = reader(&server).await.list_nodegroups("c").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.hint().unwrap().contains("AWS_ENDPOINT_URL"), "{error}");
}

#[tokio::test]
async fn an_unreachable_address_is_reported() {
    let url: url::Url = "http://127.0.0.1:1".parse().unwrap();
    let reader = platform(&url).reader().aws("us-west-2").await.unwrap();
    let error = reader.list_nodegroups("c").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(error.to_string(), "eks:ListNodegroups c (AWS us-west-2): connection refused");
    let hint = "check the address, that the server runs, and that this machine can reach it";
    assert_eq!(error.hint(), Some(hint));
}
