//! The calls for the Kubernetes Events of runs.
//!
//! `kube::runtime::events::Recorder` is not used: it counts two events as one that differ in their notes only, so of
//! the steps of a run that were completed within six minutes the first alone would be seen.

use k8s_openapi::api::events::v1::{Event, EventSeries};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{RunObjects, client::WRITE_TIMEOUT};
use crate::platform::{PROGRAM, error::Error};

impl RunObjects {
    /// Creates a Kubernetes Event. One of this name is taken for it: the response to an earlier attempt was lost.
    ///
    /// # Errors
    /// The call failed.
    pub async fn create_kubernetes_event(&self, event: &Event) -> Result<(), Error> {
        match self.create(event).await {
            Err(error) if error.code() == "AlreadyExists" => Ok(()),
            result => result.map(drop),
        }
    }

    /// Sets how often a Kubernetes Event has happened.
    ///
    /// # Errors
    /// The call failed; the code is `NotFound` where the API server has removed the event by its age.
    pub async fn count_kubernetes_event(
        &self,
        name: &str,
        series: &EventSeries,
    ) -> Result<(), Error> {
        let (api, call) = (self.api::<Event>(), self.call::<Event>("patch", name));
        let params = PatchParams { field_manager: Some(PROGRAM.into()), ..Default::default() };
        let patch = Patch::Merge(json!({"series": series}));
        let sent = api.patch(name, &params, &patch);
        self.connection.send(&call, WRITE_TIMEOUT, sent).await.map(drop)
    }
}
