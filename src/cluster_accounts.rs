//! The accounts of a cluster as the clients of the service: a token is the cluster's to judge, and what its user may do
//! with runs is ruled by the roles of the cluster, as it is for kubectl.
//!
//! This module joins the service to the platform; neither knows the other.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use crate::{
    platform::kubernetes::{AccessQuestion, KubernetesReader, TokenUser},
    server::{Authenticator, Right, UnknownClient},
};

/// The API group of runs.
const GROUP: &str = "sop.rafay.dev";

/// For how long an answer of the cluster holds: a page asks for many things at once. A role that is taken from a user
/// is his for so long.
const ANSWER_AGE: Duration = Duration::from_secs(10);

/// How many answers are kept. A client that sends many invalid tokens must not fill the memory.
const MAX_ANSWERS: usize = 1000;

/// Knows clients by the tokens of their Kubernetes accounts.
pub struct ClusterAccounts {
    cluster: KubernetesReader,
    /// The namespace in which the users' rights on runs count.
    namespace: String,
    /// Whom the tokens must be meant for.
    audiences: Vec<String>,
    answers: Mutex<HashMap<Question, (Instant, Answer)>>,
}

/// A token, as its hash, and a right.
type Question = ([u8; 32], Option<Right>);
type Answer = Result<String, UnknownClient>;

impl fmt::Debug for ClusterAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, audiences, .. } = self;
        f.debug_struct("ClusterAccounts")
            .field("namespace", namespace)
            .field("audiences", audiences)
            .finish_non_exhaustive()
    }
}

impl ClusterAccounts {
    /// Returns the accounts of a cluster. Their rights are those on runs in `namespace`.
    pub fn new(cluster: KubernetesReader, namespace: String, audiences: Vec<String>) -> Self {
        Self { cluster, namespace, audiences, answers: Mutex::default() }
    }

    async fn ask(&self, token: &str, right: Option<Right>) -> Answer {
        let unavailable =
            |error: crate::platform::Error| UnknownClient::Unavailable(error.to_string());
        let reviewed = self.cluster.review_token(token, &self.audiences).await;
        let user = reviewed.map_err(unavailable)?.map_err(UnknownClient::InvalidToken)?;
        let client = format!("kubernetes:{}", user.name);
        let Some(right) = right else { return Ok(client) };
        self.ensure_right(&user, &client, right).await?;
        Ok(client)
    }

    async fn ensure_right(
        &self,
        user: &TokenUser,
        client: &str,
        right: Right,
    ) -> Result<(), UnknownClient> {
        let subresource = right.subresource.map(|name| format!("/{name}")).unwrap_or_default();
        let question = AccessQuestion {
            verb: right.verb,
            group: GROUP,
            resource: &format!("runbookruns{subresource}"),
            namespace: Some(&self.namespace),
            name: None,
        };
        let answer = self.cluster.is_allowed_to(user, question).await;
        let answer = answer.map_err(|error| UnknownClient::Unavailable(error.to_string()))?;
        match answer.is_allowed {
            true => Ok(()),
            false => {
                let (client, reason) = (client.to_owned(), answer.reason);
                Err(UnknownClient::Forbidden { client, right, reason })
            }
        }
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Question, (Instant, Answer)>> {
        // Each change is one call: a panic leaves nothing half done.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Authenticator for ClusterAccounts {
    async fn authenticate(
        &self,
        token: &str,
        right: Option<Right>,
    ) -> Result<String, UnknownClient> {
        let question = (Sha256::digest(token.as_bytes()).into(), right);
        let is_new = |asked: &Instant| asked.elapsed() < ANSWER_AGE;
        if let Some((_, answer)) = self.answers().get(&question).filter(|(asked, _)| is_new(asked))
        {
            return answer.clone();
        }
        let answer = self.ask(token, right).await;
        // A cluster that does not answer may do so in a moment.
        if !matches!(answer, Err(UnknownClient::Unavailable(_))) {
            let mut answers = self.answers();
            if answers.len() >= MAX_ANSWERS {
                answers.retain(|_, (asked, _)| is_new(asked));
            }
            if answers.len() < MAX_ANSWERS {
                answers.insert(question, (Instant::now(), answer.clone()));
            }
        }
        answer
    }
}
