//! What the caller may do, as the API server answers it: a SelfSubjectAccessReview, which every account may create. The
//! answer includes the cloud's own authorizers, which a list of rules does not.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};

use super::{Connection, KubernetesReader};
use crate::platform::error::Error;

/// Something that the caller may be allowed to do.
#[derive(Debug, Clone, Copy)]
pub struct AccessQuestion<'a> {
    /// The verb.
    pub verb: &'a str,
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The resource in the plural, with its subresource: `deployments/scale`.
    pub resource: &'a str,
    /// The namespace; `None` for all, or for a resource without namespaces.
    pub namespace: Option<&'a str>,
    /// The object; `None` for all.
    pub name: Option<&'a str>,
}

impl AccessQuestion<'_> {
    /// Returns the question as the API takes it.
    pub(super) fn attributes(self) -> ResourceAttributes {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource, None),
        };
        ResourceAttributes {
            group: Some(self.group.to_owned()),
            namespace: self.namespace.map(str::to_owned),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(self.verb.to_owned()),
            name: self.name.map(str::to_owned),
            ..ResourceAttributes::default()
        }
    }
}

impl KubernetesReader {
    /// Whether the caller may do something.
    ///
    /// # Errors
    /// The API server does not answer the question.
    pub async fn is_allowed(&self, question: AccessQuestion<'_>) -> Result<bool, Error> {
        self.connection.is_allowed(question).await
    }
}

impl Connection {
    pub(super) async fn is_allowed(&self, question: AccessQuestion<'_>) -> Result<bool, Error> {
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(question.attributes()),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let api = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let (call, params) = ("create selfsubjectaccessreview", PostParams::default());
        let reviewed = self.read(call, 1, || api.create(&params, &review)).await?;
        let no_answer = |why: String| Error::InvalidResponse {
            call: call.into(),
            server: self.server.as_str().into(),
            message: why.into(),
        };
        let status =
            reviewed.status.ok_or_else(|| no_answer("the response has no status".into()))?;
        match status.evaluation_error {
            // One of several authorizers did not answer, and no other one allows it.
            Some(why) if !status.allowed && status.denied != Some(true) => Err(no_answer(why)),
            _ => Ok(status.allowed),
        }
    }
}
