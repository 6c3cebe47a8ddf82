//! Calls the service that writes to a state directory: it alone acts on its runs.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{CliError, Exit, stdout},
    journal::{DirectoryStore, RunId},
};

/// Resuming a run asks the cluster and the account for their identities.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How to authenticate to the service.
#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// File with the bearer token of the service that writes to the state directory
    #[arg(long, value_name = "FILE", env = "SOP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// Returns where the service that writes to the directory listens, if there is one.
pub(super) fn service_address(store: &DirectoryStore) -> Option<String> {
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
        CliError::Service(format!("the service at {address} cannot be reached: {error}"))
    };
    // A proxy does not reach this machine.
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
    let text = text::printable(&text);
    if is_done {
        let message =
            format!("the service at {address} was asked to {operation} run {id}: {text}\n");
        stdout::write(&message)?;
        return Ok(Exit::Success);
    }
    Err(CliError::Service(format!("the service at {address} refused: {text}")))
}
