//! Talks to the service that holds a state folder: what it owns, it does itself.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{CliError, Exit, stdout},
    journal::{FileStore, RunId},
};

/// Taking up a run asks the cluster and the account who they are.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What the service may want to see.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// File with the bearer token of the service that holds the state folder
    #[arg(long, value_name = "FILE", env = "SOP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// Where the service that holds the folder listens, if there is one.
pub(super) fn service_address(store: &FileStore) -> Option<String> {
    store.owner()?.address
}

/// Asks the service to do something with a run.
pub(super) async fn request_operation(
    address: &str,
    id: &RunId,
    operation: &str,
    token: &TokenArgs,
) -> Result<Exit, CliError> {
    let unanswered = |error: reqwest::Error| {
        CliError::Service(format!("the service at {address} does not answer: {error}"))
    };
    // A proxy for the world outside knows nothing of this machine.
    let client = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build();
    let mut request =
        client.map_err(unanswered)?.post(format!("http://{address}/runs/{id}/{operation}"));
    if let Some(path) = &token.token_file {
        let token = std::fs::read_to_string(path).map_err(|error| {
            CliError::Usage(format!("cannot read the token file {}: {error}", path.display()))
        })?;
        request = request.bearer_auth(token.trim());
    }
    let response = request.send().await.map_err(unanswered)?;
    let is_done = response.status().is_success();
    let text = response.text().await.map_err(unanswered)?;
    if is_done {
        let message =
            format!("the service at {address} was asked to {operation} run {id}: {text}\n");
        stdout::write(&message)?;
        return Ok(Exit::Success);
    }
    Err(CliError::Service(format!("the service at {address} refused: {text}")))
}
