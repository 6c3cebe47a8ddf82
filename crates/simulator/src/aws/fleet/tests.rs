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
