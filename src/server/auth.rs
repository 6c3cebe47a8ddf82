//! Who may start and stop runs.

use std::{path::Path, sync::Arc};

use axum::{
    extract::{Request, State},
    http::header::AUTHORIZATION,
    middleware::Next,
    response::Response,
};
use sha2::{Digest as _, Sha256};

use super::error::ApiError;

/// A token shorter than this can be guessed.
const MIN_TOKEN_LENGTH: usize = 16;

/// The requirements of a request.
#[derive(Debug, Clone)]
pub struct Access {
    /// SHA-256 of the token that mutating requests must carry; without one anybody may.
    token: Option<Arc<[u8; 32]>>,
    /// Whether the service listens on loopback only: then requests must be addressed to it by a loopback name, so
    /// that a page whose name was rebound to 127.0.0.1 cannot reach it.
    pub(super) loopback_only: bool,
}

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("cannot read the token file {path}: {source}")]
    ReadFailed {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The token is too short.
    #[error(
        "the token in {path} is shorter than {MIN_TOKEN_LENGTH} characters: anybody could guess it"
    )]
    TooShort {
        /// The file.
        path: String,
    },
}

impl Access {
    /// Anybody who can reach the service may do anything.
    pub fn anonymous(loopback_only: bool) -> Self {
        Self { token: None, loopback_only }
    }

    /// Mutating requests must carry the token of a file.
    ///
    /// # Errors
    /// The file cannot be read, or its token is too short.
    pub fn with_token_file(loopback_only: bool, path: &Path) -> Result<Self, TokenFileError> {
        let display_path = || path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenFileError::ReadFailed { path: display_path(), source })?;
        let token = text.trim();
        if token.len() < MIN_TOKEN_LENGTH {
            return Err(TokenFileError::TooShort { path: display_path() });
        }
        Ok(Self { token: Some(Arc::new(hash(token))), ..Self::anonymous(loopback_only) })
    }
}

/// Hashes are compared, so that the time of the comparison tells nothing of the token.
fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The layer in front of every mutating route.
pub(super) async fn require_token(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(token) = &access.token else { return Ok(next.run(request).await) };
    let given = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match given {
        Some(given) if hash(given.trim()) == **token => Ok(next.run(request).await),
        Some(_) => Err(ApiError::forbidden("the token is not the service's")),
        None => Err(ApiError::unauthorized("this needs the header `Authorization: Bearer TOKEN`")),
    }
}
