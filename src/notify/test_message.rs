//! A message that tells of no run, to find out whether a sink takes messages: `notify test`.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    attempt::{Outcome, Problem, attempt},
    config::Webhook,
    forms::{Links, message},
    notice::Notice,
};
use crate::platform::http::HttpClient;

/// The result of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestResult {
    /// The receiver has taken the message, and answered with this status.
    Delivered(u16),
    /// The receiver has not taken it.
    NotDelivered {
        /// Why.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
}

/// Sends a test to a webhook, once.
pub async fn send_test(webhook: &Webhook, links: &Links, actor: &str) -> TestResult {
    let notice = Notice::test(Timestamp::now(), actor);
    let client = HttpClient::for_posts();
    let problem = match attempt(&client, &Arc::new(webhook.clone()), &notice, links).await {
        Outcome::Delivered(status) => return TestResult::Delivered(status),
        Outcome::Refused(problem)
        | Outcome::Failed(problem)
        | Outcome::Unavailable { problem, .. } => problem,
    };
    let Problem { message, hint } = problem;
    TestResult::NotDelivered { message, hint }
}

/// Returns the body that a test would have.
pub fn test_body(webhook: &Webhook, links: &Links, actor: &str) -> String {
    message(webhook.form, &Notice::test(Timestamp::now(), actor), links).body
}
