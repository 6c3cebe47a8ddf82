//! What stands for the exporter in a program that is built without the feature `otlp`: it says so, and sends nothing.

use std::time::Duration;

use super::{Traces, settings::Settings};

/// No exporter.
pub enum Exporter {}

/// The program cannot send traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no traces are sent: this program is built without the feature `otlp`")]
pub struct ExporterError;

impl Exporter {
    /// Returns that there is none.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: Settings) -> Result<Self, ExporterError> {
        Err(ExporterError)
    }

    /// Returns the observer of this exporter, of which there is none.
    pub fn traces(&self) -> Traces {
        match *self {}
    }

    /// Ends this exporter, of which there is none.
    #[expect(clippy::unused_async, reason = "the exporter that there is waits")]
    pub async fn end(self, _: Duration) {
        match self {}
    }
}
