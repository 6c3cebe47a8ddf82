//! Calls the service that writes to a state directory: it alone acts on its runs.

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use crate::{
    cli::{CliError, Exit, stdout, store::OpenStore},
    journal::RunId,
    server::read_token,
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

/// Returns where the service that alone writes to the store listens, if there is one.
pub(super) fn service_address(store: &OpenStore) -> Option<String> {
    store.owner()?.address
}

/// Asks the service to do something with a run. `body` is null where the operation needs no more.
pub(super) async fn request_operation(
    address: &str,
    id: &RunId,
    operation: &str,
    body: Value,
    token: &TokenArgs,
) -> Result<Exit, CliError> {
    // A lock that was written by an earlier version has an address without a scheme.
    let url = match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    };
    if url.starts_with("https://") {
        let message = format!("the service at {url} speaks TLS, which this subcommand does not");
        let hint = format!("`curl --cacert FILE -X POST {url}/runs/{id}/{operation}`");
        return Err(CliError::usage_with_hint(message, hint));
    }
    let unanswered = |error: reqwest::Error| {
        CliError::Service(format!("the service at {address} cannot be reached: {error}"))
    };
    // A proxy does not reach this machine.
    let client = reqwest::Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build();
    let mut request = client.map_err(unanswered)?.post(format!("{url}/runs/{id}/{operation}"));
    if !body.is_null() {
        request = request.json(&body);
    }
    if let Some(path) = &token.token_file {
        let token = read_token(path).map_err(|error| CliError::Usage(error.to_string()))?;
        request = request.bearer_auth(token);
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
