//! Runs that go on: a resume or a rollback of a run that this service does not drive.

use super::{
    super::{checks::Wanted, error::ApiError, responses::Started, views},
    Service,
};
use crate::{
    engine::{CheckedResume, CheckedRunbook, ResumePreflight, ResumeRequest, StartError},
    journal::{ResumeMode, RunId, StoreError},
    runbook_dir::{self, FoundRunbook},
};

impl Service {
    pub(in crate::server) async fn resume(
        &self,
        id: &RunId,
        mut request: ResumeRequest,
        runbook: Option<&str>,
        actor: &str,
    ) -> Result<Started, ApiError> {
        let mode = request.mode;
        let found = match runbook {
            Some(name) => Some(self.find_runbook(name).await?),
            None => None,
        };
        let writer = {
            let _reading = self.shared.reading.acquire().await;
            self.wait_until_released(id).await?;
            self.ensure_not_live(id).await?;
            self.shared.engine.open(id).await?
        };
        let check = move |_: &Wanted| {
            if let Some(FoundRunbook { source, origin, library }) = found {
                request.runbook =
                    Some(CheckedRunbook::with_origin(source, origin.to_string(), &library)?);
            }
            Ok::<_, ApiError>(CheckedResume::new(writer, request)?)
        };
        let checked = self.shared.checks.run(check).await??;
        let prepare = move |service: Self| async move {
            service.shared.engine.prepare_checked_resume(checked).await
        };
        let preflight = self.prepare_on_runs_runtime(prepare).await??;
        // Before the run is resumed: it reads a file, which may be on a disk that does not answer.
        let note = self.change_note(&preflight).await?;
        let actor = actor.to_owned();
        let accept = move |service: Self| async move {
            service.accept_resume(preflight, mode, &actor).await
        };
        let mut response = self.accept_on_runs_runtime(accept).await??;
        response.note = note;
        Ok(response)
    }

    /// Returns a note where the file of a run's runbook is no longer the text with which the run continues.
    async fn change_note(&self, preflight: &ResumePreflight) -> Result<Option<String>, ApiError> {
        if preflight.rolls_back() {
            return Ok(None);
        }
        let run = preflight.run();
        let (origin, name) = (preflight.origin().map(str::to_owned), run.spec.runbook.clone());
        let text = preflight.checked().source().text().to_owned();
        let note = move |_: &Wanted| runbook_dir::change_note(origin.as_deref(), &name, &text);
        self.shared.checks.run(note).await
    }

    async fn accept_resume(
        &self,
        preflight: ResumePreflight,
        mode: ResumeMode,
        actor: &str,
    ) -> Result<Started, ApiError> {
        let admission = self.admit().await?;
        // Another request may have resumed the run meanwhile.
        self.ensure_not_live(preflight.run().id()).await?;
        let accepted = self.shared.engine.resume(preflight, actor).await?;
        let response = views::resumed(accepted.run(), mode);
        self.drive(&admission, accepted);
        Ok(response)
    }

    /// Checks that this service does not drive a run now, nor another process of it.
    async fn ensure_not_live(&self, id: &RunId) -> Result<(), ApiError> {
        if !self.is_live(id) && !self.is_live_elsewhere(id).await? {
            return Ok(());
        }
        let head = self.store().head(id).await?;
        let (state, target) = (head.state(true), Box::new(head.target));
        Err(StartError::Unfinished { run: id.clone(), state, target, cause: None }.into())
    }

    /// Waits for the moment between the last event of a run and the end of its driver, in which it still is active.
    async fn wait_until_released(&self, id: &RunId) -> Result<(), StoreError> {
        if self.is_live(id) && !self.store().head(id).await?.state(true).is_active() {
            self.shared.active.wait_until_released(id).await;
        }
        Ok(())
    }
}
