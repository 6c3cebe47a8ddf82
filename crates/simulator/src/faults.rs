//! Faults that a test or another process injects: the Nth call that matches fails, is delayed, is
//! throttled, or its connection breaks. Knows operations by their names only.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scenario::serde_duration;

/// A fault to be injected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A pattern of the affected operations, in the call log's names, in which `*` matches any
    /// characters: `eks:UpdateNodegroupConfig`, `watch nodes*`, `patch nodes/*`.
    pub matching: String,
    /// The number of the first matching call that is affected, from 1.
    #[serde(default = "one")]
    pub nth: u32,
    /// How many calls in a row are affected.
    #[serde(default = "one")]
    pub times: u32,
    /// The effect of the fault on an affected call.
    pub effect: Effect,
}

/// The effect of a fault on a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The call is rejected and has no effect.
    Fail {
        /// The HTTP status.
        status: u16,
        /// The service's own error code (`ServerException`), or for Kubernetes the reason
        /// (`InternalError`).
        code: String,
        /// The error message.
        #[serde(default)]
        message: String,
    },
    /// The call is performed after this much simulated time.
    Delay {
        /// The delay.
        #[serde(with = "serde_duration")]
        by: Duration,
    },
    /// The connection breaks without a response.
    Drop {
        /// Whether the connection breaks before the call is performed. Otherwise the call is
        /// performed and only its response is lost.
        before: bool,
    },
    /// The call is rejected as one of too many.
    Throttle,
}

fn one() -> u32 {
    1
}

/// The injected faults and how often each has matched.
#[derive(Debug, Default)]
pub(crate) struct FaultInjector {
    armed: Mutex<Vec<ArmedFault>>,
}

#[derive(Debug)]
struct ArmedFault {
    fault: Fault,
    matched: u32,
}

impl FaultInjector {
    pub(crate) fn inject(&self, fault: Fault) {
        self.armed().push(ArmedFault { fault, matched: 0 });
    }

    pub(crate) fn clear(&self) {
        self.armed().clear();
    }

    /// Counts the call for every fault that it matches, and returns the effect of the first fault
    /// that affects it.
    pub(crate) fn take(&self, operation: &str) -> Option<Effect> {
        let mut effect = None;
        for armed in self.armed().iter_mut() {
            if !matches_glob(&armed.fault.matching, operation) {
                continue;
            }
            armed.matched = armed.matched.saturating_add(1);
            let last = armed.fault.nth.saturating_add(armed.fault.times);
            if effect.is_none() && (armed.fault.nth..last).contains(&armed.matched) {
                effect = Some(armed.fault.effect.clone());
            }
        }
        effect
    }

    fn armed(&self) -> MutexGuard<'_, Vec<ArmedFault>> {
        // No code panics while it holds the lock.
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether `text` matches `glob`, in which `*` matches any characters, slashes included.
pub(crate) fn matches_glob(glob: &str, text: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else {
        return glob == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let tail = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_across_slashes() {
        assert!(matches_glob("watch nodes", "watch nodes"));
        assert!(!matches_glob("watch nodes", "watch nodes/n"));
        assert!(matches_glob("patch pods/*", "patch pods/space/name"));
        assert!(matches_glob("* pods/*/eviction", "create pods/a/b/eviction"));
        assert!(!matches_glob("a*bc", "abd"));
        assert!(!matches_glob("ab*b", "ab"));
    }

    #[test]
    fn a_fault_affects_the_given_number_of_calls_from_the_nth() {
        let faults = FaultInjector::default();
        faults.inject(Fault {
            matching: "eks:*".to_owned(),
            nth: 2,
            times: 2,
            effect: Effect::Throttle,
        });
        let hit: Vec<bool> = ["eks:A", "ec2:A", "eks:B", "eks:C", "eks:D"]
            .iter()
            .map(|name| faults.take(name).is_some())
            .collect();
        assert_eq!(hit, [false, false, true, true, false]);
    }
}
