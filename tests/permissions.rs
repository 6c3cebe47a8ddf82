//! The least permissions of a runbook: what is derived from its text, that a run and its undo succeed with exactly
//! that, and that each single one that is missing is found before anything is changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use rafay_relay_sop::{
    actions::{self, Access as Declared, AwsScope, Permission},
    engine::{CheckedRunbook, StartError},
    journal::RunState,
    permissions::{
        self, Access, AwsResource, Partition, RbacNames, Requirement, RunbookContext, Subject,
        merge, of_run, of_runbook, of_service,
    },
};
use runbook::{EvaluationScope, Source};
use serde_json::{Map, Value, json};
use simulator::{AccessPolicy, Effect, Fault, PlainGroup, Scenario};
use test_support::{ProgramOutput, Serve, SimulateProcess, TestCluster, program};

const RELAY_SCALE: &str = include_str!("../runbooks/relay-scale.yaml");

/// The requirements of a runbook with these inputs.
fn requirements(text: &str, inputs: Value) -> Vec<Requirement> {
    derive(text, inputs, &RunbookContext::default())
}

fn derive(text: &str, inputs: Value, context: &RunbookContext) -> Vec<Requirement> {
    let checked = CheckedRunbook::new(Source::new("test", text)).unwrap_or_else(|why| {
        panic!("{why}");
    });
    let Value::Object(given) = inputs else { panic!("inputs are a mapping") };
    let known = checked.runbook().bind_known(&given).unwrap();
    let scope = EvaluationScope::new(&known);
    let of_run = of_run(checked.runbook());
    merge(of_run.into_iter().chain(of_runbook(checked.runbook(), &scope, context)))
}

/// The lines that a step needs.
fn lines_of(requirements: &[Requirement], step: &str) -> Vec<String> {
    let is_of_step = |requirement: &&Requirement| {
        requirement.needed_by.iter().any(|need| need.to_string() == format!("test/{step}"))
    };
    requirements.iter().filter(is_of_step).map(Requirement::describe).collect()
}

#[test]
fn the_workloads_that_a_limit_keeps_are_read() {
    let text = "
name: test
inputs: {team: {type: string}}
limits: {keep_ready: [{namespace: '{{ inputs.team }}', deployment: cart, at_least: 1}]}
steps:
  - {id: restart, action: rollout_restart, with: {namespace: other, deployment: web}}
";
    let of_team = requirements(text, json!({"team": "shop"}));
    let expected =
        ["list pods in the namespace shop", "get deployments.apps cart in the namespace shop"];
    assert_eq!(lines_of(&of_team, "limits"), expected);
    let unknown = lines_of(&requirements(text, json!({})), "limits");
    assert!(unknown.iter().any(|line| line.starts_with("list pods in")), "{unknown:?}");
}

#[test]
fn a_namespace_and_a_name_limit_a_permission_where_the_runbook_has_them() {
    let needed = requirements(
        "
name: test
inputs: {team: {type: string}, app: {type: string, default: web}}
steps:
  - {id: literal, action: rollout_restart, with: {namespace: shop, deployment: cart}}
  - {id: by_input, action: scale_deployment, with: {namespace: 'ns-{{ inputs.app }}', deployment: '{{ inputs.app }}', factor: 2}}
  - {id: missing, action: list_pods, with: {namespace: '{{ inputs.team }}', selector: app=x}}
",
        json!({}),
    );
    assert_eq!(
        lines_of(&needed, "literal"),
        [
            "list nodes in the whole cluster",
            "list events in the namespace shop",
            "list pods in the namespace shop",
            "watch pods in the namespace shop",
            "get deployments.apps cart in the namespace shop",
            "list deployments.apps cart in the namespace shop",
            "patch deployments.apps cart in the namespace shop",
            "watch deployments.apps cart in the namespace shop",
            "list replicasets.apps in the namespace shop",
            "watch replicasets.apps in the namespace shop",
        ]
    );
    let by_input = lines_of(&needed, "by_input");
    assert!(by_input.contains(&"patch deployments/scale.apps web in the namespace ns-web".into()));
    // Neither `deployments` nor `replicasets`: the pods are selected.
    assert_eq!(
        lines_of(&needed, "missing"),
        ["list nodes in the whole cluster", "list pods in the namespace INPUT_TEAM"]
    );
    assert_eq!(permissions::placeholders(&needed), BTreeSet::from(["INPUT_TEAM"]));
}

#[test]
fn a_namespace_is_followed_through_the_outputs_of_steps() {
    let steps = "
name: test
steps:
  - {id: pods, action: list_pods, with: {namespace: shop, selector: app=x}}
  - {id: whole, action: delete_pods, with: {pods: '{{ pods.pods }}'}}
  - {id: some, action: delete_pods, with: {pods: \"{{ pods.pods | rejectattr('ready') | list }}\", evict: true}}
  - {id: by_hand, action: delete_pods, with: {pods: [{namespace: other, name: a, uid: b}]}}
";
    let computed = "  - {id: computed, action: delete_pods, with: {pods: '{{ pods.pods + whole.deleted }}'}}\n";
    let needed = requirements(&format!("{steps}{computed}"), json!({}));
    assert!(lines_of(&needed, "whole").contains(&"list pods in the whole cluster".into()));
    let in_shop = requirements(steps, json!({}));
    assert_eq!(
        lines_of(&in_shop, "whole"),
        [
            "list nodes in the whole cluster",
            "delete pods in the namespace shop",
            "list pods in the namespace shop",
            "watch pods in the namespace shop",
        ]
    );
    let some = lines_of(&in_shop, "some");
    assert!(some.contains(&"create pods/eviction in the namespace shop".into()), "{some:?}");
    assert!(!some.contains(&"delete pods in the namespace shop".into()), "{some:?}");
    let by_hand = lines_of(&in_shop, "by_hand");
    assert!(by_hand.contains(&"delete pods in the namespace other".into()), "{by_hand:?}");
    // What is computed could be of any namespace, and that is said.
    let wide = needed.iter().find(|one| one.describe() == "delete pods in the whole cluster");
    let notes: Vec<&String> = wide.unwrap().notes.iter().collect();
    assert_eq!(notes, ["every namespace: which one is known only when pods, whole has run"]);
}

#[test]
fn different_values_have_different_placeholders() {
    let needed = requirements(
        "
name: test
inputs: {env: {type: string}, east: {type: string}}
steps:
  - {id: one, action: read_config, with: {namespace: a}}
  - {id: two, action: read_config, with: {namespace: b}}
  - {id: g1, action: find_nodegroup, with: {region: '{{ one.region }}', cluster: '{{ one.cluster }}', labels: {a: b}}}
  - {id: g2, action: find_nodegroup, with: {region: '{{ two.region }}', cluster: '{{ two.cluster }}', labels: {a: b}}}
  - {id: g3, action: find_nodegroup, with: {region: '{{ inputs.east }}', cluster: c, labels: {a: b}}}
  - {id: pods, action: list_pods, with: {namespace: '{{ inputs.env }}-core', selector: a=b}}
",
        json!({}),
    );
    let placeholders: Vec<&str> = permissions::placeholders(&needed).into_iter().collect();
    let expected = [
        "ACCOUNT_ID",
        "CLUSTER",
        "CLUSTER_OF_TWO",
        "INPUT_EAST",
        "NAMESPACE_OF_PODS",
        "REGION",
        "REGION_OF_TWO",
    ];
    assert_eq!(placeholders, expected);
}

#[test]
fn a_name_that_would_widen_an_arn_is_not_valid() {
    for name in ["*", "a/b", "${aws:username}", "a?", ""] {
        let text = format!(
            "name: test\nsteps:\n  - {{id: g, action: find_nodegroup, with: {{region: us-west-2, cluster: '{name}', labels: {{a: b}}}}}}\n"
        );
        let error = CheckedRunbook::new(Source::new("test", &text)).err();
        assert!(matches!(error, Some(StartError::InvalidRunbook { .. })), "{name}");
    }
}

#[test]
fn a_cluster_is_followed_from_the_step_that_names_it() {
    let text = "
name: test
steps:
  - {id: group, action: find_nodegroup, with: {region: cn-north-1, cluster: blue, labels: {a: b}}}
  - {id: up, action: scale_nodegroup, with: {nodegroup: '{{ group }}', desired: 3}}
  - {id: ready, action: wait_nodes, with: {nodegroup: '{{ up }}', count: 3}}
  - {id: named, action: get_protection, with: {nodegroup: {region: us-gov-west-1, cluster: red, name: n1}}}
";
    let needed = requirements(text, json!({}));
    let ready = lines_of(&needed, "ready");
    let nodegroup =
        "eks:DescribeNodegroup on arn:aws-cn:eks:cn-north-1:ACCOUNT_ID:nodegroup/blue/*/*";
    assert!(ready.contains(&nodegroup.into()), "{ready:?}");
    let policy = permissions::policy(&needed).unwrap().to_string();
    assert!(policy.contains("arn:aws-cn:eks:cn-north-1:ACCOUNT_ID:nodegroup/blue/*/*"), "{policy}");
    let gov = "arn:aws-us-gov:eks:us-gov-west-1:ACCOUNT_ID:nodegroup/red/n1/*";
    assert!(policy.contains(gov), "{policy}");
    assert!(!policy.contains("CLUSTER") && !policy.contains("REGION"), "{policy}");
}

#[test]
fn a_policy_has_no_statement_that_is_wider_than_its_api_demands() {
    let needed = requirements(RELAY_SCALE, json!({}));
    let policy = permissions::policy(&needed).unwrap();
    for statement in policy["Statement"].as_array().unwrap() {
        let condition = statement["Condition"]["StringEquals"].as_object();
        if statement["Resource"] == "*" {
            let keys: Vec<&String> = condition.unwrap().keys().collect();
            assert_eq!(keys, ["aws:RequestedRegion"], "{statement}");
        } else {
            assert!(!statement["Resource"].to_string().contains("\"*\""), "{statement}");
        }
        assert!(!statement["Action"].to_string().contains('*'), "{statement}");
    }
}

#[test]
fn the_permissions_for_an_object_follow_from_its_kind() {
    let text = "
name: test
inputs: {names: {type: list of string, default: [web, api]}}
steps:
  - id: read
    for_each: '{{ inputs.names }}'
    action: get_object
    with: {api_version: apps/v1, kind: Deployment, namespace: shop, name: '{{ each }}', fields: {name: {path: .metadata.name, type: string}}}
  - {id: change, action: patch_object, with: {api_version: v1, kind: Node, name: one, patch: {metadata: {labels: {a: b}}}}}
  - {id: wait, action: wait_object, with: {api_version: example.com/v1, kind: Relay, resource: relays, namespace: shop, name: '{{ read[0].name }}', gone: true}}
";
    let needed = requirements(text, json!({}));
    let of_step = |step: &str| -> Vec<String> {
        let is_meant =
            |need: &permissions::Need| need.to_string().starts_with(&format!("test/{step}"));
        let of = needed.iter().filter(|one| one.needed_by.iter().any(is_meant));
        of.map(Requirement::describe).collect()
    };
    assert_eq!(of_step("read").len(), 2, "{:?}", of_step("read"));
    assert!(of_step("read").iter().all(|line| line.contains("deployments.apps")));
    let change = of_step("change");
    assert!(change.iter().all(|line| line.contains("nodes") && line.contains("one")), "{change:?}");
    let wait = of_step("wait");
    assert!(wait.iter().all(|line| line.contains("relays.example.com")), "{wait:?}");
    assert_eq!((change.len(), wait.len()), (2, 2), "{change:?} {wait:?}");
}

/// The extract of the Service Authorization Reference: for each action, its access level and the resource types that it
/// can be limited to.
fn reference() -> Value {
    serde_json::from_str(include_str!("fixtures/iam/service-authorization.json")).unwrap()
}

#[test]
fn every_aws_action_is_limited_by_what_the_service_authorization_reference_says() {
    let reference = reference();
    let declared = actions::all().iter().flat_map(|action| action.permissions);
    for Permission { access, .. } in declared {
        let Declared::Aws { action, scope } = access else { continue };
        let entry = &reference["actions"][action];
        assert!(entry.is_object(), "{action} is not an action of AWS");
        // A type that is required is always checked; of the others, those that the call names.
        let types = entry["resourceTypes"].as_object().unwrap();
        let is_required = |kind: &str| types.get(kind) == Some(&json!(true));
        match scope {
            AwsScope::Region(_) => assert!(types.is_empty(), "{action} can be limited: {types:?}"),
            AwsScope::Cluster(_) => assert!(is_required("cluster"), "{action}: {types:?}"),
            AwsScope::Nodegroup(_) => {
                assert!(is_required("nodegroup"), "{action}: {types:?}");
                assert!(!types.contains_key("cluster"), "{action} is checked on the cluster, too");
            }
            AwsScope::ClusterAndNodegroup(_) => {
                assert!(is_required("cluster"), "{action}: {types:?}");
                assert!(types.contains_key("nodegroup"), "{action}: {types:?}");
            }
            AwsScope::AutoScalingGroup(_) | AwsScope::NamedAutoScalingGroup(_) => {
                assert!(is_required("autoScalingGroup"), "{action}: {types:?}");
                let keys = entry["conditionKeys"].to_string();
                assert!(keys.contains("autoscaling:ResourceTag/${TagKey}"), "{action}: {keys}");
            }
        }
        let reads = matches!(entry["accessLevel"].as_str(), Some("Read" | "List"));
        assert_eq!(permissions::is_read(action), reads, "{action}: {}", entry["accessLevel"]);
    }
    let simulate = &reference["actions"]["iam:SimulatePrincipalPolicy"];
    assert!(simulate["resourceTypes"].to_string().contains("role"), "{simulate}");
}

#[test]
fn every_arn_has_the_form_that_the_service_authorization_reference_says() {
    let reference = reference();
    let forms: Vec<String> =
        ["eks:cluster", "eks:nodegroup", "autoscaling:autoScalingGroup", "iam:role"]
            .map(|kind| reference["resources"][kind].as_str().unwrap().to_owned())
            .into();
    let has_form = |arn: &str| {
        let same = |form: &String| {
            let (form, arn): (Vec<&str>, Vec<&str>) =
                (form.split([':', '/']).collect(), arn.split([':', '/']).collect());
            let fits = |(form, part): (&&str, &&str)| form.contains("${") || form == part;
            form.len() == arn.len() && form.iter().zip(&arn).all(fits)
        };
        forms.iter().any(same)
    };
    let mut requirements = requirements(RELAY_SCALE, json!({}));
    let own = AwsResource::Role {
        partition: Partition::Aws,
        account: permissions::Value::Known("123456789012".into()),
        role: permissions::Value::Known("sop".into()),
    };
    requirements.extend(of_service(&permissions::Value::Known("sop".into()), Some(&own)));
    let mut count = 0;
    for requirement in &requirements {
        let Access::Aws(access) = &requirement.access else { continue };
        for arn in permissions::arns(&access.resource).iter().filter(|arn| *arn != "*") {
            assert!(has_form(arn), "{arn}");
            count += 1;
        }
    }
    assert!(count > 8, "{count}");
}

/// The exact policy and roles of requirements, for the simulator. IAM may be asked about them.
fn policy_of(requirements: &[Requirement]) -> AccessPolicy {
    let subject = Subject::Group("sop".into());
    let names = RbacNames { role: "sop".into(), subject };
    let ask = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iam:SimulatePrincipalPolicy", "Resource": "*"},
    ]});
    let mut policy = AccessPolicy::default().allow_iam(&ask).unwrap();
    if let Some(document) = permissions::policy(requirements) {
        policy = policy.allow_iam(&document).unwrap();
    }
    for role in permissions::roles(requirements, &names) {
        let [role, _] = role.to_json();
        policy = policy.allow_role(&role).unwrap();
    }
    policy
}

/// The requirements of a runbook on the default scenario.
fn on_default_scenario(text: &str) -> Vec<Requirement> {
    let context = RunbookContext {
        region: Some("us-west-2".into()),
        cluster: Some("rafay-cluster".into()),
        account: Some("123456789012".into()),
    };
    derive(text, json!({}), &context)
}

/// relay-scale with a last step that fails, so that all of it is rolled back.
fn relay_scale_that_fails() -> String {
    let text = RELAY_SCALE.replace("on_failure: stop", "on_failure: rollback");
    text + "
  - id: fail
    action: assert
    with: {that: false, message: \"roll all of it back\"}
    on_failure: rollback
"
}

#[tokio::test]
async fn relay_scale_succeeds_with_exactly_the_derived_permissions() {
    let policy = policy_of(&on_default_scenario(RELAY_SCALE));
    let cluster = TestCluster::with_policy(Scenario::default(), policy).await;
    cluster.run(RELAY_SCALE).await.expect_success();
    assert_eq!(denied_calls(&cluster), [""; 0]);
}

#[tokio::test]
async fn relay_scale_is_rolled_back_with_exactly_the_derived_permissions() {
    let text = relay_scale_that_fails();
    let policy = policy_of(&on_default_scenario(&text));
    let cluster = TestCluster::with_policy(Scenario::default(), policy).await;
    cluster.run(&text).await.expect_state(RunState::RolledBack);
    assert_eq!(denied_calls(&cluster), [""; 0]);
}

/// What acts on groups, of a nodegroup and by themselves, with an undo of all that has one.
const GROUP_ACTIONS: &str = "
name: groups
defaults: {retry: {attempts: 1}, on_failure: rollback, timeout: 2h}
steps:
  - {id: all, action: list_nodegroups, with: {region: us-west-2, cluster: rafay-cluster}}
  - {id: relay, action: find_nodegroup, with: {region: us-west-2, cluster: rafay-cluster, name: relay-services-1a2b3c}}
  - {id: workers, action: find_auto_scaling_group, with: {region: us-west-2, name: workers}}
  - {id: keep, action: suspend_processes, with: {nodegroup: '{{ relay }}', processes: [AZRebalance]}}
  - {id: stop, action: suspend_processes, with: {auto_scaling_group: '{{ workers }}', processes: [AZRebalance]}}
  - {id: protect, action: set_protection, with: {auto_scaling_group: '{{ workers }}', instances: '{{ workers.instances }}', protected: true}}
  - {id: more, action: scale_auto_scaling_group, with: {auto_scaling_group: '{{ workers }}', desired: 3}}
  - {id: labels, action: set_nodegroup, with: {nodegroup: '{{ relay }}', max: 9, labels: {a: b}}}
  - {id: end, action: terminate_instances, with: {nodegroup: '{{ relay }}', instances: ['{{ relay.instances[0] }}']}}
  - {id: gone, action: terminate_instances, with: {auto_scaling_group: '{{ workers }}', instances: ['{{ workers.instances[0] }}']}}
  - {id: version, action: update_nodegroup_version, with: {nodegroup: '{{ relay }}'}}
";

fn scenario_of_groups() -> Scenario {
    let group = PlainGroup {
        name: "workers".into(),
        tags: BTreeMap::new(),
        min: 1,
        max: 4,
        desired: 2,
        instance_type: "m5.large".into(),
        ..PlainGroup::default()
    };
    Scenario { auto_scaling_groups: vec![group], ..Scenario::default() }
}

#[tokio::test]
async fn actions_on_groups_succeed_and_are_undone_with_exactly_the_derived_permissions() {
    let failing = format!(
        "{GROUP_ACTIONS}  - {{id: last, action: assert, with: {{that: false, message: on purpose}}}}\n"
    );
    for (text, state) in
        [(GROUP_ACTIONS, RunState::Succeeded), (failing.as_str(), RunState::RolledBack)]
    {
        let policy = policy_of(&on_default_scenario(text));
        let cluster = TestCluster::with_policy(scenario_of_groups(), policy).await;
        cluster.run(text).await.expect_state(state);
        assert_eq!(denied_calls(&cluster), [""; 0]);
    }
}

/// The group that a runbook names is known before the run, and so is whether it may be changed.
#[tokio::test]
async fn a_missing_permission_on_a_named_group_is_found_before_anything_is_changed() {
    let all = on_default_scenario(GROUP_ACTIONS);
    let is_on_group = |one: &&Requirement| {
        matches!(&one.access, Access::Aws(access)
            if matches!(&access.resource, AwsResource::AutoScalingGroup { .. }))
    };
    let on_groups: Vec<&Requirement> = all.iter().filter(is_on_group).collect();
    assert_eq!(on_groups.len(), 5, "{on_groups:?}");
    for missing in on_groups {
        let arn = "arn:aws:autoscaling:us-west-2:123456789012:autoScalingGroup:*:autoScalingGroupName/workers";
        assert!(missing.describe().ends_with(arn), "{}", missing.describe());
        let rest: Vec<Requirement> =
            all.iter().filter(|one| one.access != missing.access).cloned().collect();
        let cluster = TestCluster::with_policy(scenario_of_groups(), policy_of(&rest)).await;
        let refused = cluster.accept(GROUP_ACTIONS, json!({})).await.err();
        assert!(matches!(refused, Some(StartError::NotPermitted(_))), "{}", missing.describe());
        assert_eq!(cluster.effective_calls(), [""; 0]);
    }
}

#[test]
fn a_group_whose_name_has_a_wildcard_does_not_widen_a_policy() {
    let text = "
name: test
steps:
  - {id: stop, action: suspend_processes, with: {auto_scaling_group: {region: us-west-2, name: 'a*?$b'}, processes: [Launch]}}
  - {id: found, action: find_auto_scaling_group, with: {region: us-west-2, tags: {a: b}}}
";
    let policy = permissions::policy(&requirements(text, json!({}))).unwrap().to_string();
    assert!(policy.contains("autoScalingGroupName/a${*}${?}${$}b"), "{policy}");
    let by_tags = format!(
        "{text}  - {{id: start, action: resume_processes, with: {{auto_scaling_group: '{{{{ found }}}}', processes: [Launch]}}}}\n"
    );
    let needed = requirements(&by_tags, json!({}));
    let wide = needed.iter().find(|one| one.describe().contains("ResumeProcesses")).unwrap();
    let notes: Vec<&String> = wide.notes.iter().collect();
    assert_eq!(
        notes,
        ["every Auto Scaling group of the region: which one is known only when found has run"]
    );
}

fn denied_calls(cluster: &TestCluster) -> Vec<String> {
    let denied = cluster.simulator.calls().into_iter().filter(|call| call.status == 403);
    denied.map(|call| call.operation).collect()
}

#[tokio::test]
async fn each_single_missing_permission_is_found_before_anything_is_changed() {
    let all = on_default_scenario(RELAY_SCALE);
    let mut optional = 0;
    for missing in &all {
        let rest: Vec<Requirement> =
            all.iter().filter(|one| one.access != missing.access).cloned().collect();
        let cluster = TestCluster::with_policy(Scenario::default(), policy_of(&rest)).await;
        let accepted = cluster.accept(RELAY_SCALE, json!({})).await;
        if missing.is_optional {
            optional += 1;
            assert!(accepted.is_ok(), "{} is optional", missing.describe());
            continue;
        }
        let shown = missing.describe();
        match accepted.err() {
            Some(StartError::NotPermitted(report)) => {
                let found: Vec<&Requirement> =
                    report.required().map(|missing| &missing.requirement).collect();
                assert_eq!(found.len(), 1, "{shown}: {found:?}");
                assert_eq!(
                    access_without_names(&found[0].access),
                    access_without_names(&missing.access)
                );
                assert_eq!(found[0].needed_by, missing.needed_by, "{shown}");
                assert_eq!(report.rules_to_add().len(), 1, "{:?}", report.rules_to_add());
            }
            // The cluster itself cannot be identified.
            Some(StartError::Platform(error)) if shown.contains("namespaces kube-system") => {
                assert!(error.to_string().contains("namespaces"), "{error}");
            }
            Some(other) => panic!("{shown}: {other}"),
            None => panic!("{shown} is missing, and the run was accepted"),
        }
        assert_eq!(cluster.effective_calls(), [""; 0], "{shown}");
    }
    assert!(all.len() - optional > 28, "{} of {} are required", all.len() - optional, all.len());
}

/// The verb or the action, and the resource: names that the leading steps read are not known in the text.
fn access_without_names(access: &Access) -> String {
    match access {
        Access::Kubernetes(access) => format!("{access:?}"),
        Access::Aws(access) => access.action.clone(),
    }
}

#[tokio::test]
async fn an_optional_permission_is_not_needed() {
    let text = relay_scale_that_fails();
    let all = on_default_scenario(&text);
    let required: Vec<Requirement> = all.iter().filter(|one| !one.is_optional).cloned().collect();
    assert!(required.len() < all.len());
    let cluster = TestCluster::with_policy(Scenario::default(), policy_of(&required)).await;
    cluster.run(&text).await.expect_state(RunState::RolledBack);
}

#[tokio::test]
async fn everything_that_is_missing_is_reported_at_once_with_the_rules_to_add() {
    let read = json!({"Statement": [{
        "Effect": "Allow",
        "Action": ["eks:DescribeNodegroup", "autoscaling:DescribeAutoScalingGroups"],
        "Resource": "*",
    }]});
    let nothing = policy_of(&[]).allow_iam(&read).unwrap();
    let identity = json!({"kind": "ClusterRole", "metadata": {"name": "id"}, "rules": [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
    ]});
    let policy = nothing.allow_role(&identity).unwrap();
    let cluster = TestCluster::with_policy(Scenario::default(), policy).await;
    let text = "
name: test
steps:
  - {id: restart, action: rollout_restart, with: {namespace: rafay-core, deployment: rafay-sentry}}
  - id: protect
    action: set_protection
    with: {nodegroup: {region: us-west-2, cluster: rafay-cluster, name: relay-services-1a2b3c}, instances: [i-0123456789abcdef0], protected: true}
";
    let error = cluster.accept(text, json!({})).await.err().unwrap();
    let message = error.to_string();
    for expected in [
        "the account lacks permissions: ",
        "get,list,watch,patch deployments.apps rafay-sentry in the namespace rafay-core (for test/restart)",
        "create leases.coordination.k8s.io in the namespace kube-system (for every run (the lease of the cluster))",
        "autoscaling:SetInstanceProtection on arn:aws:autoscaling:us-west-2:123456789012:autoScalingGroup:*:autoScalingGroupName/eks-* (for test/protect)",
        "ec2:DescribeInstances on * (for test/protect)",
    ] {
        assert!(message.contains(expected), "{expected} is not in {message}");
    }
    let hint = error.hint().unwrap();
    for expected in [
        "to a Role in the namespace rafay-core: ",
        "{apiGroups: [apps], resources: [deployments], resourceNames: [rafay-sentry], verbs: [get, list, watch, patch]}",
        "to the IAM policy: {",
        r#""autoscaling:ResourceTag/eks:cluster-name":"rafay-cluster""#,
    ] {
        assert!(hint.contains(expected), "{expected} is not in {hint}");
    }
}

#[tokio::test]
async fn a_change_that_iam_may_not_be_asked_about_is_reported_as_not_checkable() {
    let all = on_default_scenario(RELAY_SCALE);
    let names = RbacNames { role: "sop".into(), subject: Subject::Group("sop".into()) };
    let mut policy = AccessPolicy::default();
    policy = policy.allow_iam(&permissions::policy(&all).unwrap()).unwrap();
    for role in permissions::roles(&all, &names) {
        policy = policy.allow_role(&role.to_json()[0]).unwrap();
    }
    let cluster = TestCluster::with_policy(Scenario::default(), policy).await;
    let checked = CheckedRunbook::new(Source::new("test", RELAY_SCALE)).unwrap();
    let preflight = cluster.engine.prepare(checked, &Map::new()).await.unwrap();
    let report = cluster.engine.check_permissions(&preflight).await;
    assert!(report.missing.is_empty(), "{:?}", report.missing);
    let unchecked: BTreeMap<String, &str> = report
        .unchecked
        .iter()
        .map(|unchecked| (unchecked.requirement.describe(), unchecked.reason.as_str()))
        .collect();
    assert_eq!(unchecked.len(), 2, "{unchecked:?}");
    for (permission, reason) in unchecked {
        let is_change = permission.starts_with("eks:UpdateNodegroupConfig ")
            || permission.starts_with("autoscaling:SetInstanceProtection ");
        assert!(is_change, "{permission}");
        assert_eq!(reason, "not checkable without iam:SimulatePrincipalPolicy");
    }
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_in_time_is_not_waited_for() {
    let policy = policy_of(&on_default_scenario(RELAY_SCALE));
    let cluster = TestCluster::with_policy(Scenario::default(), policy).await;
    cluster.simulator.inject(Fault {
        matching: "post *selfsubjectaccessreviews".into(),
        nth: 1,
        times: 1000,
        effect: Effect::Delay { by: Duration::from_hours(24) },
    });
    let checked = CheckedRunbook::new(Source::new("test", RELAY_SCALE)).unwrap();
    let preflight = cluster.engine.prepare(checked, &Map::new()).await.unwrap();
    let report = cluster.engine.check_permissions(&preflight).await;
    assert!(report.missing.is_empty(), "{:?}", report.missing);
    for unchecked in &report.unchecked {
        assert!(matches!(unchecked.requirement.access, Access::Kubernetes(_)), "{unchecked:?}");
        assert_eq!(unchecked.reason, "no answer within 15 s");
    }
    assert!(report.unchecked.len() > 30, "{}", report.unchecked.len());
}

/// `simulate` under the generated policy and roles, of which these words are changed.
fn simulate_with(dir: &Path, roles: (&str, &str), policy: (&str, &str)) -> SimulateProcess {
    let read = |path: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
    };
    let changed = |text: String, (old, new): (&str, &str)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    };
    let target =
        [("ACCOUNT_ID", "123456789012"), ("REGION", "us-west-2"), ("CLUSTER", "rafay-cluster")];
    let document = target.into_iter().fold(read("k8s/iam-policy.json"), changed);
    let (iam, role) = (dir.join("iam.json"), dir.join("roles.yaml"));
    std::fs::write(&iam, changed(document, policy)).unwrap();
    std::fs::write(&role, changed(read("k8s/base/rbac.yaml"), roles)).unwrap();
    let (iam, role) = (iam.display().to_string(), role.display().to_string());
    SimulateProcess::with_arguments(600.0, &["--iam-policy", &iam, "--role", &role])
}

const AS_GENERATED: (&str, &str) = ("", "");

#[test]
fn the_program_says_that_the_generated_permissions_suffice() {
    let dir = tempfile::tempdir().unwrap();
    let simulate = simulate_with(dir.path(), AS_GENERATED, AS_GENERATED);
    for arguments in [
        &["permissions", "relay-scale", "--check"][..],
        &["run", "relay-scale", "--check-permissions"],
    ] {
        let mut command = program();
        command.envs(simulate.environment.iter().cloned()).args(arguments);
        let output = ProgramOutput::run(&mut command).expect_exit_code(0);
        assert!(
            output.stdout.ends_with(" allowed, 0 missing, 0 not checked\n"),
            "{}",
            output.stdout
        );
    }
}

#[test]
fn the_roles_of_people_do_not_take_the_place_of_those_of_the_service() {
    let mut command = program();
    command.args(["permissions", "relay-scale", "--format", "rbac", "--group", "rafay-relay-sop"]);
    let output = ProgramOutput::run(&mut command).expect_exit_code(0);
    assert!(output.stdout.contains("\n  name: rafay-relay-sop-people\n"), "{}", output.stdout);
    assert!(!output.stdout.contains("\n  name: rafay-relay-sop\n  "), "{}", output.stdout);
    assert_eq!(output.stderr, "", "roles have no placeholder");
}

#[test]
fn an_input_that_cannot_be_used_is_an_error_and_no_placeholder() {
    let run = |input: &str| {
        let mut command = program();
        command.args(["permissions", "relay-scale", "--input", input]);
        ProgramOutput::run(&mut command).expect_exit_code(3).stderr
    };
    let error = run("namespace=a/b");
    assert!(error.starts_with("error: invalid input 'namespace': must be a namespace"), "{error}");
    assert!(run("scale_factor=9").contains("invalid input 'scale_factor'"));
    assert!(run("other=1").contains("unknown input 'other'"));
}

#[tokio::test]
async fn a_run_that_lacks_a_permission_starts_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let simulate = simulate_with(
        dir.path(),
        ("verbs: [get, patch, delete]", "verbs: [get, patch]"),
        ("eks:UpdateNodegroupConfig", "eks:UpdateNodegroupVersion"),
    );
    let missing = [
        "delete pods in the namespace rafay-core (for relay-scale/delete_old)",
        "eks:UpdateNodegroupConfig on ",
    ];
    let state = tempfile::tempdir().unwrap();
    let mut command = simulate.program(state.path());
    let output = ProgramOutput::run_async(command.args(["run", "relay-scale", "--yes"])).await;
    let output = output.expect_exit_code(3);
    let service = Serve::start(simulate.program(dir.path()).arg("serve"));
    let (status, body) = service.post("/run?runbook=relay-scale", json!({})).await;
    assert_eq!((status.as_u16(), &body["failure"]["kind"]), (502, &json!("denied")), "{body:#}");
    for expected in missing {
        assert!(output.stderr.contains(expected), "{}", output.stderr);
        assert!(body["error"].as_str().unwrap().contains(expected), "{body:#}");
    }
    let (_, runs) = service.get("/runs").await;
    assert_eq!(runs["runs"], json!([]), "{runs:#}");
    let mut command = program();
    command.envs(simulate.environment.iter().cloned());
    let check = command.args(["permissions", "relay-scale", "--check"]);
    let checked = ProgramOutput::run_async(check).await.expect_exit_code(1);
    for expected in missing {
        assert!(checked.stdout.contains(expected), "{}", checked.stdout);
    }
    assert_eq!(test_support::effective_calls(&simulate.calls().await), [""; 0]);
    // A person may know better.
    let mut command = simulate.program(state.path());
    command.args(["run", "relay-scale", "--yes", "--no-permission-check", "--speed", "600"]);
    let output = ProgramOutput::run_async(&mut command).await.expect_exit_code(1);
    assert!(output.stdout.contains("AccessDenied"), "{}", output.stdout);
}

#[tokio::test]
async fn a_service_on_a_node_that_the_run_changes_says_so() {
    for is_warned in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let simulate = simulate_with(dir.path(), AS_GENERATED, AS_GENERATED);
        let state = simulate.state().await;
        let on = |is_of_relay: bool| {
            let of_relay = |group: &Option<String>| {
                group.as_ref().is_some_and(|group| group.starts_with("relay-services"))
            };
            let mut nodes = state.nodes.iter();
            nodes.find(|(_, node)| of_relay(&node.nodegroup) == is_of_relay).unwrap().0.clone()
        };
        let node = on(is_warned);
        let mut command = simulate.program(dir.path());
        let service = Serve::start(command.arg("serve").env("SOP_NODE_NAME", &node));
        let (status, body) = service.post("/run?runbook=relay-scale", json!({})).await;
        assert_eq!(status.as_u16(), 200, "{body:#}");
        let warned = body["warnings"][0].as_str().unwrap_or_default();
        assert_eq!(
            warned.starts_with(&format!("this process runs on node {node} of nodegroup relay-")),
            is_warned,
            "{body:#}"
        );
    }
}

/// The files in `k8s/` that are generated from the runbook.
#[test]
fn the_generated_manifests_are_current() {
    for (path, arguments) in
        [("k8s/base/rbac.yaml", ["--format", "rbac"]), ("k8s/iam-policy.json", ["--format", "iam"])]
    {
        let printed = program()
            .args(["permissions", "runbooks/relay-scale.yaml", "--service"])
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let printed = String::from_utf8(printed.stdout).unwrap();
        if std::env::var_os("UPDATE_FIXTURES").is_some() {
            std::fs::write(&file, &printed).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(kept, printed, "{path}: run this test with UPDATE_FIXTURES=1");
    }
}

/// Each item has its own name in its own namespace, also through a call.
#[test]
fn every_item_of_a_loop_has_its_permissions() {
    let text = "\
name: loop
steps:
- id: scale
  for_each: [{n: one, d: a}, {n: two, d: b}]
  action: scale_deployment
  with: {namespace: \"{{ each.n }}\", deployment: \"{{ each.d }}\", replicas: 1}
- id: call
  for_each: {three: c, four: d}
  call: inner
  with: {n: \"{{ each.key }}\", d: \"{{ each.value }}\"}
---
name: inner
inputs: {n: {type: string}, d: {type: string}}
steps:
- id: scale
  action: scale_deployment
  with: {namespace: \"{{ inputs.n }}\", deployment: \"{{ inputs.d }}\", replicas: 1}
";
    let checked = test_support::checked(text).unwrap();
    let scope = EvaluationScope::new(&serde_json::Map::new());
    let context = permissions::RunbookContext::default();
    let found = permissions::of_runbook(checked.runbook(), &scope, &context);
    let named = |requirement: &permissions::Requirement| match &requirement.access {
        permissions::Access::Kubernetes(access) if access.resource == "deployments/scale" => {
            let namespace = access.place.namespace()?.known()?.to_owned();
            Some((namespace, access.name.as_ref()?.known()?.to_owned()))
        }
        _ => None,
    };
    let named: std::collections::BTreeSet<(String, String)> =
        found.iter().filter_map(named).collect();
    let expected = [("four", "d"), ("one", "a"), ("three", "c"), ("two", "b")];
    assert_eq!(named, expected.map(|(n, d)| (n.to_owned(), d.to_owned())).into());
}
