//! Tests of the account with a simulated time: which change happens in which second.

use jiff::SignedDuration;

use super::*;
use crate::scenario::LaunchFailure;

const NODEGROUP: &str = "relay-services-1a2b3c";

struct Account {
    fleet: Fleet,
    start: Timestamp,
}

impl Account {
    fn of(scenario: &Scenario) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut account = Self { fleet: Fleet::new(scenario, Clock::real(), start), start };
        account.at(0);
        account
    }

    fn moment(&self, second: i64) -> Timestamp {
        self.start.checked_add(SignedDuration::from_secs(second)).unwrap()
    }

    /// Advances to a second and returns the actions on Nodes: `+` register, `!` make ready, `-`
    /// remove, `d` drain.
    fn at(&mut self, second: i64) -> Vec<&'static str> {
        let (actions, _) = self.fleet.advance(self.moment(second));
        actions
            .iter()
            .map(|action| match action {
                NodeAction::Register { ready: true, .. } => "+!",
                NodeAction::Register { ready: false, .. } => "+",
                NodeAction::MakeReady { .. } => "!",
                NodeAction::Remove { .. } => "-",
                NodeAction::Drain { .. } => "d",
            })
            .collect()
    }

    /// Returns the second at which there is more to do.
    fn due(&mut self, second: i64) -> Option<i64> {
        let (_, due) = self.fleet.advance(self.moment(second));
        due.map(|due| due.duration_since(self.start).as_secs())
    }

    fn group(&mut self) -> &mut AutoScalingGroup {
        let name = self.fleet.nodegroups[NODEGROUP].group.clone();
        self.fleet.groups.get_mut(&name).unwrap()
    }

    fn lifecycles(&mut self) -> Vec<&'static str> {
        let name = self.group().name.clone();
        self.fleet.members(&name).map(|member| member.lifecycle.as_str()).collect()
    }

    fn update(&mut self, second: i64, desired: u32, max: u32) -> Result<String, UpdateError> {
        let change = ConfigChange {
            nodegroup: NODEGROUP.to_owned(),
            max: Some(max),
            desired: Some(desired),
            ..ConfigChange::default()
        };
        let now = self.moment(second);
        self.fleet.start_update(change, None, None, now).map(|(update, _)| update.id)
    }

    fn status(&self, id: &str) -> &'static str {
        self.fleet.updates.iter().find(|update| update.id == id).unwrap().status.as_str()
    }
}

#[test]
fn initial_instances_are_in_service_at_once() {
    let mut account = Account {
        fleet: Fleet::new(&Scenario::default(), Clock::real(), Timestamp::UNIX_EPOCH),
        start: Timestamp::UNIX_EPOCH,
    };
    assert_eq!(account.at(0), ["+!"; 6]);
    assert!(account.at(1).is_empty());
    assert_eq!(account.due(1), None);
}

#[test]
fn a_launched_instance_boots_registers_and_becomes_ready_in_the_configured_times() {
    let mut account = Account::of(&Scenario::default());
    account.group().max = 5;
    account.group().desired = 5;
    // The second launch is the slow one: 90 s instead of 40 s.
    assert!(account.at(1).is_empty());
    assert_eq!(account.lifecycles()[3..], ["Pending", "Pending"]);
    assert_eq!(account.due(2), Some(41));
    assert_eq!(account.at(41), ["+"]);
    assert_eq!(account.lifecycles()[3..], ["InService", "Pending"]);
    assert_eq!(account.at(49), ["!"]);
    assert_eq!(account.at(91), ["+"]);
    assert_eq!(account.at(99), ["!"]);
    assert_eq!(account.due(99), None);
}

#[test]
fn an_update_reaches_the_group_after_a_delay_and_ends_later() {
    let mut account = Account::of(&Scenario::default());
    let id = account.update(0, 6, 6).unwrap();
    assert_eq!(account.update(1, 6, 6), Err(UpdateError::InUse));
    account.at(2);
    assert_eq!(
        (account.group().desired, account.fleet.nodegroups[NODEGROUP].sizes.desired),
        (3, 3)
    );
    account.at(3);
    assert_eq!(
        (account.group().desired, account.fleet.nodegroups[NODEGROUP].sizes.desired),
        (6, 6)
    );
    account.at(19);
    assert_eq!(account.status(&id), "InProgress");
    account.at(20);
    assert_eq!(account.status(&id), "Successful");
    assert_eq!(account.fleet.nodegroups[NODEGROUP].status, "ACTIVE");
}

#[test]
fn a_failed_launch_is_retried_after_the_retry_time() {
    let mut scenario = Scenario::default();
    let message = "no capacity".to_owned();
    scenario.nodegroups[0].launch_failures.push(LaunchFailure { times: 2, message });
    let mut account = Account::of(&scenario);
    account.group().desired = 4;
    assert_eq!(account.due(1), Some(31));
    assert_eq!(account.due(31), Some(61));
    account.at(61);
    let statuses: Vec<_> = account.group().activities.iter().map(|a| a.status.as_str()).collect();
    assert_eq!(statuses, ["Failed", "Failed", "InProgress"]);
}

#[test]
fn scale_in_terminates_the_oldest_of_the_fullest_zone_and_never_a_protected_instance() {
    let mut account = Account::of(&Scenario::default());
    account.group().max = 4;
    account.group().desired = 4;
    account.at(1);
    account.at(200);
    // The first zone has two members: the first initial instance, which is protected, and the
    // newest.
    account.group().min = 0;
    account.group().desired = 0;
    account.at(201);
    let expected = ["InService", "InService", "Terminating", "Terminating"];
    assert_eq!(account.lifecycles(), expected);
    assert_eq!(account.at(221), ["-", "-"]);
    assert_eq!(account.lifecycles(), ["InService", "InService"]);
    let notes = account.group().activities.iter().filter(|activity| {
        activity.message.as_deref().is_some_and(|m| m.contains("protected from scale-in"))
    });
    assert_eq!(notes.count(), 1, "reported once, not at every advance");
}

const LIVE: &str = "
cluster_objects:
  - apiVersion: v1
    kind: Node
    metadata: {name: ip-10-0-16-11.us-west-2.compute.internal, uid: n1}
    status:
      addresses: [{type: InternalIP, address: 10.0.16.11}]
      conditions: [{type: Ready, status: 'True'}]
  - {apiVersion: v1, kind: Node, metadata: {name: joining, uid: n2}, status: {conditions: [{type: Ready, status: 'False'}]}}
  - {apiVersion: v1, kind: Node, metadata: {name: lost, uid: n3}, status: {conditions: [{type: Ready, status: Unknown}]}}
nodegroups:
  - name: relay-services-1a2b3c
    min: 1
    max: 3
    desired: 3
    group_desired: 5
    group_max: 6
    auto_scaling_group: asg-live
    more_groups: [asg-second]
    zones: [us-west-2b, us-west-2c]
    boot: 100s
    node_ready: 10s
    terminate: 50s
    instances:
      - {id: i-0000000000000000a, node: ip-10-0-16-11.us-west-2.compute.internal, zone: us-west-2b, address: 10.0.16.11}
      - {id: i-0000000000000000b, node: joining, zone: us-west-2c, launched: '2025-12-31T23:58:30Z'}
      - {id: i-0000000000000000c, node: lost, zone: us-west-2c, protected: true}
      - {id: i-0000000000000000d, zone: us-west-2b, lifecycle: Pending, launched: '2025-12-31T23:59:00Z'}
      - {id: i-0000000000000000e, zone: us-west-2b, lifecycle: Terminating}
";

#[test]
fn listed_instances_go_on_from_their_state_and_a_group_from_its_size() {
    let mut account = Account::of(&Scenario::from_yaml(LIVE).unwrap());
    // Four are active and five are desired, so that one more is launched at once.
    let launched = ["InService", "InService", "InService", "Pending", "Terminating", "Pending"];
    assert_eq!(account.lifecycles(), launched);
    assert_eq!(account.group().name, "asg-live");
    assert_eq!((account.group().min, account.group().max), (1, 6));
    assert_eq!(account.fleet.groups["asg-second"].desired, 0);
    let newest = account.group().members.last().unwrap().clone();
    let newest = account.fleet.instances[&newest].clone();
    // Zone b has two members that are not being terminated, as has zone c; the first one of the list is taken.
    assert_eq!(newest.zone, "us-west-2b");
    assert_ne!(newest.address, "10.0.16.11", "an address of the snapshot is not given again");
    assert!(account.at(19).is_empty());
    assert_eq!(account.at(20), ["!"], "launched 90 s before, Ready 110 s after its launch");
    assert_eq!(account.at(40), ["+"], "the pending one has booted");
    assert_eq!(account.at(50), ["!"]);
    // The terminating one has no Node. The Node that has been lost never becomes Ready.
    assert_eq!(account.at(100), ["+"]);
    assert_eq!(account.at(110), ["!"]);
    assert_eq!(account.lifecycles(), ["InService"; 5]);
    assert_eq!(account.due(1000), None);
}

#[test]
fn a_group_without_capacity_has_the_listed_instances_and_no_others_at_the_start() {
    let text = "
cluster_objects: [{apiVersion: v1, kind: Namespace, metadata: {name: kube-system, uid: u}}]
nodegroups:
  - {name: relay-services-1a2b3c, max: 2, desired: 2, suspended_processes: [Launch]}
auto_scaling_groups:
  - {name: workers, max: 2, desired: 1, instances: [{id: i-0000000000000000f, zone: us-west-2a}]}
";
    let mut account = Account::of(&Scenario::from_yaml(text).unwrap());
    assert!(account.lifecycles().is_empty());
    assert_eq!(account.fleet.members("workers").count(), 1);
}
