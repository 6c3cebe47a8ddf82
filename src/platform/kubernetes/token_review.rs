//! Whose token it is, and what its user may do, as the API server answers: a TokenReview and a SubjectAccessReview. The
//! account that asks needs the role `system:auth-delegator`.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::api::{Api, PostParams};

use super::{AccessQuestion, KubernetesReader};
use crate::platform::error::Error;

/// A user of the cluster, as the API server knows it by a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUser {
    /// The name, such as `system:serviceaccount:ops:ann`.
    pub name: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The answer to whether a user may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessAnswer {
    /// Whether it may.
    pub is_allowed: bool,
    /// The authorizer's own words.
    pub reason: Option<String>,
}

impl KubernetesReader {
    /// Returns the user of a token that is meant for one of the audiences; or why the token is not valid.
    ///
    /// # Errors
    /// The API server does not answer the question.
    pub async fn review_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Result<TokenUser, String>, Error> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(audiences.to_vec()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::<TokenReview>::all(self.connection.client.clone());
        let (call, params) = ("create tokenreview", PostParams::default());
        let reviewed = self.connection.read(call, 1, || api.create(&params, &review)).await?;
        let status = reviewed.status.unwrap_or_default();
        // An API server that does not know audiences returns none, and has checked none.
        let confirmed = status.audiences.unwrap_or_default();
        let is_meant = confirmed.iter().any(|audience| audiences.contains(audience));
        let user = status.user.unwrap_or_default();
        match (status.authenticated, user.username) {
            (Some(true), Some(name)) if is_meant => {
                let (uid, groups) = (user.uid, user.groups.unwrap_or_default());
                Ok(Ok(TokenUser { name, uid, groups, extra: user.extra.unwrap_or_default() }))
            }
            (Some(true), Some(_)) => {
                Ok(Err(format!("it is not meant for the audience {}", audiences.join(" or "))))
            }
            _ => Ok(Err(status.error.unwrap_or_else(|| "the cluster does not know it".into()))),
        }
    }

    /// Returns whether a user may do something.
    ///
    /// # Errors
    /// The API server does not answer the question.
    pub async fn is_allowed_to(
        &self,
        user: &TokenUser,
        question: AccessQuestion<'_>,
    ) -> Result<AccessAnswer, Error> {
        let spec = SubjectAccessReviewSpec {
            resource_attributes: Some(question.attributes()),
            user: Some(user.name.clone()),
            uid: user.uid.clone(),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.connection.client.clone());
        let (call, params) = ("create subjectaccessreview", PostParams::default());
        let reviewed = self.connection.read(call, 1, || api.create(&params, &review)).await?;
        let status = reviewed.status.unwrap_or_default();
        let reason = status.reason.filter(|reason| !reason.is_empty()).or(status.evaluation_error);
        Ok(AccessAnswer { is_allowed: status.allowed, reason })
    }
}
