//! The annotations of the lease that say which run holds the cluster, and the fields that say which process.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::ResourceExt as _;

use super::LeaseTimes;

/// The group of all annotations of this program.
const PREFIX: &str = "sop.rafay.dev/";
/// The longest text that is put into an annotation, in bytes.
const MAX_TEXT: usize = 1024;

/// The run that holds a cluster, as others are told. Texts, because another version may have written them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunLock {
    /// The run's id.
    pub run: String,
    /// The runbook's name.
    pub runbook: String,
    /// The actor that started or resumed it.
    pub actor: String,
    /// When it took the lock.
    pub since: String,
    /// The host of its process.
    pub host: String,
    /// The id of its process, on that host.
    pub pid: String,
    /// Where its journal is, such as `directory /var/lib/sop`.
    pub store: String,
    /// An id of the store on its machine, where one process at most can write to it.
    pub store_id: Option<String>,
    /// The URL of the service that drives it, if it is one.
    pub url: Option<String>,
    /// Whether it may have changed something.
    pub has_changed: bool,
    /// Why it stopped, once it has.
    pub reason: Option<String>,
}

/// The reason of the lock of a run that is driven and has given its lease back for as long as it waits for persons.
pub(super) const WAITS_FOR_APPROVAL: &str = "waits for approval";

impl RunLock {
    /// Whether the run has given its lease back because it waits for persons.
    pub(super) fn waits_for_approval(&self) -> bool {
        self.reason.as_deref() == Some(WAITS_FOR_APPROVAL)
    }

    /// Reads the lock of a lease.
    pub fn of(lease: &Lease) -> Option<Self> {
        let text = |name: &str| lease.annotations().get(&format!("{PREFIX}{name}")).cloned();
        Some(Self {
            run: text("run").filter(|run| !run.is_empty())?,
            runbook: text("runbook").unwrap_or_default(),
            actor: text("actor").unwrap_or_default(),
            since: text("since").unwrap_or_default(),
            host: text("host").unwrap_or_default(),
            pid: text("pid").unwrap_or_default(),
            store: text("store").unwrap_or_default(),
            store_id: text("store-id"),
            url: text("url"),
            // A lock that does not say it is taken for one that has.
            has_changed: text("changed").is_none_or(|changed| changed != "false"),
            reason: text("reason"),
        })
    }

    /// Returns a sentence that says which run it is, who started it, where, and since when.
    pub fn describe(&self, is_running: bool) -> String {
        let Self { run, runbook, actor, since, host, pid, store, reason, .. } = self;
        let state = match (is_running, reason) {
            (true, _) => "is running on this cluster".to_owned(),
            (false, Some(reason)) => format!("is unfinished on this cluster ({reason})"),
            (false, None) => {
                "is unfinished on this cluster, and its process does not answer".to_owned()
            }
        };
        format!(
            "run {run} of runbook '{runbook}' {state}: started by {actor} on host {host} (process \
             {pid}, {store}), since {since}"
        )
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let has_changed = if self.has_changed { "true" } else { "false" };
        let pairs = [
            ("run", Some(self.run.as_str())),
            ("runbook", Some(&self.runbook)),
            ("actor", Some(&self.actor)),
            ("since", Some(&self.since)),
            ("host", Some(&self.host)),
            ("pid", Some(&self.pid)),
            ("store", Some(&self.store)),
            ("store-id", self.store_id.as_deref()),
            ("url", self.url.as_deref()),
            ("changed", Some(has_changed)),
            ("reason", self.reason.as_deref()),
        ];
        pairs
            .into_iter()
            .filter_map(|(name, value)| {
                let value = &value?[..value?.floor_char_boundary(MAX_TEXT)];
                Some((format!("{PREFIX}{name}"), value.to_owned()))
            })
            .collect()
    }
}

/// Replaces the lock of a lease. Annotations of others stay.
pub(super) fn set_lock(lease: &mut Lease, lock: Option<&RunLock>) {
    let annotations = lease.annotations_mut();
    annotations.retain(|name, _| !name.starts_with(PREFIX));
    annotations.extend(lock.map(RunLock::annotations).unwrap_or_default());
}

/// Notes in a lease which run held it last and has left no lock.
pub(super) fn set_last_run(lease: &mut Lease, run: &str) {
    lease.annotations_mut().insert(format!("{PREFIX}last-run"), run.to_owned());
}

/// Whether no other run has held a lease since this run did.
pub(super) fn is_continued(lease: &Lease, run: &str) -> bool {
    let last = ["run", "last-run"]
        .into_iter()
        .find_map(|name| lease.annotations().get(&format!("{PREFIX}{name}")));
    last.is_some_and(|last| last == run)
}

/// Returns the process that holds a lease.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}

/// Whether a lease says that it was renewed within its duration, or in what is the future here. A guess, because it
/// compares two clocks: it decides how long a process waits before it gives up, never that it may go on.
pub(super) fn seems_renewed(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let Some(MicroTime(renewed)) = spec.renew_time else { return false };
    now.duration_since(renewed).as_secs() < i64::from(spec.lease_duration_seconds.unwrap_or(0))
}

/// Returns how long a lease must be seen unchanged before it may be taken.
pub(super) fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    Some(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Returns how often the holder of a lease renews it.
pub(super) fn renewal(lease: &Lease, times: LeaseTimes) -> Duration {
    LeaseTimes { duration: duration(lease).unwrap_or(times.duration) }.renewal()
}

/// Writes into a lease that a process holds it, from now on or still.
pub(super) fn hold(lease: &mut Lease, holder: &str, duration: Duration, now: Timestamp) {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    if spec.holder_identity.as_deref() != Some(holder) {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    }
    spec.holder_identity = Some(holder.to_owned());
    spec.lease_duration_seconds = Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
    spec.renew_time = Some(MicroTime(now));
}

/// Writes into a lease that no process holds it.
pub(super) fn release(lease: &mut Lease) {
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = None;
    // As client-go leaves it: the next process need not wait.
    spec.lease_duration_seconds = Some(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> RunLock {
        RunLock {
            run: "20261126t110000z-relay-scale-1a2b".into(),
            runbook: "relay-scale".into(),
            actor: "cli:ann".into(),
            store: "directory /var/lib/sop".into(),
            url: Some("http://10.0.0.7:8080".into()),
            has_changed: true,
            ..RunLock::default()
        }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written_and_leaves_what_is_not_its() {
        let mut lease = Lease::default();
        lease.annotations_mut().insert("example.com/team".into(), "relay".into());
        assert_eq!(RunLock::of(&lease), None);
        set_lock(&mut lease, Some(&lock()));
        assert_eq!(RunLock::of(&lease), Some(lock()));
        set_lock(&mut lease, None);
        assert_eq!(RunLock::of(&lease), None);
        assert_eq!(lease.annotations().len(), 1);
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut lease = Lease::default();
        let reason = Some("ü".repeat(MAX_TEXT));
        set_lock(&mut lease, Some(&RunLock { reason, ..lock() }));
        let read = RunLock::of(&lease).unwrap().reason.unwrap();
        assert_eq!(read, "ü".repeat(MAX_TEXT / 2));
    }

    #[test]
    fn a_lock_that_does_not_say_whether_it_changed_something_has() {
        let mut lease = Lease::default();
        lease.annotations_mut().insert("sop.rafay.dev/run".into(), "a-run".into());
        assert!(RunLock::of(&lease).unwrap().has_changed);
    }

    #[test]
    fn holding_renewing_and_releasing_are_counted_as_one_transition() {
        let mut lease = Lease::default();
        let now = Timestamp::UNIX_EPOCH;
        let duration = Duration::from_secs(60);
        hold(&mut lease, "me", duration, now);
        hold(&mut lease, "me", duration, now + duration);
        let spec = lease.spec.as_ref().unwrap();
        assert_eq!(spec.acquire_time, Some(MicroTime(now)));
        assert_eq!(spec.lease_transitions, Some(1));
        assert!(seems_renewed(&lease, now + 2 * duration - Duration::from_secs(1)));
        assert!(!seems_renewed(&lease, now + 2 * duration));
        assert!(seems_renewed(&lease, now), "written by a clock that is ahead");
        release(&mut lease);
        assert_eq!(holder(&lease), None);
    }
}
