//! Talks to the service that holds a state folder: what it owns, it does itself.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{Exit, Trouble, standard_output},
    journal::{FileStore, RunId},
};

/// Taking up a run asks the cluster and the account who they are.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the service may want to see.
#[derive(Debug, clap::Args)]
pub(super) struct Token {
    /// File with the bearer token of the service that holds the state folder
    #[arg(long, value_name = "FILE", env = "SOP_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// Where the service that holds the folder listens, if there is one.
pub(super) fn service(store: &FileStore) -> Option<String> {
    store.owner()?.address
}

/// Asks the service to do something with a run.
pub(super) async fn ask(
    address: &str,
    id: &RunId,
    verb: &str,
    token: &Token,
) -> Result<Exit, Trouble> {
    let unanswered = |error: reqwest::Error| {
        Trouble::Service(format!("the service at {address} does not answer: {error}"))
    };
    // A proxy for the world outside knows nothing of this machine.
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
    let mut request =
        client.map_err(unanswered)?.post(format!("http://{address}/runs/{id}/{verb}"));
    if let Some(path) = &token.token_file {
        let token = std::fs::read_to_string(path).map_err(|error| {
            Trouble::Usage(format!("cannot read the token file {}: {error}", path.display()))
        })?;
        request = request.bearer_auth(token.trim());
    }
    let answer = request.send().await.map_err(unanswered)?;
    let is_done = answer.status().is_success();
    let text = answer.text().await.map_err(unanswered)?;
    if is_done {
        let told = format!("the service at {address} was asked to {verb} run {id}: {text}\n");
        standard_output::write(&told)?;
        return Ok(Exit::Done);
    }
    Err(Trouble::Service(format!("the service at {address} refused: {text}")))
}
