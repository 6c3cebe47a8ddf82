//! The log of every call that a client of the simulator made, in the order of arrival. Does not
//! interpret the calls.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use clock::Clock;

use super::authorize::RequiredPermission;

/// One call that a client made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedCall {
    /// The number of the call in the order of arrival, from 1. Clearing the log does not restart
    /// the numbers.
    pub number: u64,
    /// The time of arrival.
    pub at: Timestamp,
    /// The service: `kubernetes`, `eks`, `autoscaling`, `ec2`, `iam` or `sts`.
    pub service: String,
    /// The operation: `eks:UpdateNodegroupConfig`, `patch nodes/NAME`, `list pods/NAMESPACE`.
    pub operation: String,
    /// The relevant parameters, on one line.
    pub request: String,
    /// Whether the operation may change something.
    pub mutating: bool,
    /// Whether the call did change something.
    pub effective: bool,
    /// The HTTP status of the response; 0 while there is none.
    pub status: u16,
}

/// A call as the caller made it, before it is performed.
#[derive(Debug, Clone)]
pub(crate) struct CallInfo {
    pub(crate) service: &'static str,
    pub(crate) name: String,
    pub(crate) summary: String,
    pub(crate) mutating: bool,
    pub(crate) permission: RequiredPermission,
}

/// Every call so far.
#[derive(Debug)]
pub(crate) struct CallLog {
    clock: Clock,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    calls: Vec<RecordedCall>,
}

impl CallLog {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::default() }
    }

    /// Adds a call that has just arrived and returns its number.
    pub(crate) fn begin(&self, operation: &CallInfo) -> u64 {
        let mut entries = self.entries();
        entries.last += 1;
        let number = entries.last;
        entries.calls.push(RecordedCall {
            number,
            at: self.clock.now(),
            service: operation.service.to_owned(),
            operation: operation.name.clone(),
            request: operation.summary.clone(),
            mutating: operation.mutating,
            effective: false,
            status: 0,
        });
        number
    }

    /// Records how the call ended.
    pub(crate) fn finish(&self, number: u64, status: u16, effective: bool) {
        let mut entries = self.entries();
        if let Some(call) = entries.calls.iter_mut().rev().find(|call| call.number == number) {
            call.status = status;
            call.effective = effective;
        }
    }

    pub(crate) fn list(&self) -> Vec<RecordedCall> {
        self.entries().calls.clone()
    }

    pub(crate) fn clear(&self) {
        self.entries().calls.clear();
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // No code panics while it holds the lock, and every update of the list is a single step.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
