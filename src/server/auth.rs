//! Who may start and stop runs.

use std::{net::IpAddr, path::Path, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header::AUTHORIZATION},
    middleware::Next,
    response::Response,
};

use super::{
    csrf,
    error::ApiError,
    token::{TokenFile, TokenFileError},
};

/// The requirements of a request.
#[derive(Debug, Clone)]
pub struct Access {
    /// The file with the token that mutating requests must carry; without one anybody may.
    token: Option<Arc<TokenFile>>,
    pub(super) reach: Reach,
}

/// The machines that can reach the address on which the service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// This machine only. Requests must be addressed to a loopback name or to this host, so that a page whose name was
    /// rebound to 127.0.0.1 cannot reach the service.
    ThisMachine {
        /// The host of the address, as the person who started the service wrote it.
        host: String,
    },
    /// Others, too.
    Network {
        /// The names by which browsers address the service. An IP address and `localhost` need no entry.
        names: Vec<String>,
    },
}

impl Access {
    /// Anybody who can reach the service may do anything.
    pub fn anonymous(reach: Reach) -> Self {
        Self { token: None, reach }
    }

    /// Mutating requests must carry the token of a file.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn with_token_file(reach: Reach, path: &Path) -> Result<Self, TokenFileError> {
        Ok(Self { token: Some(Arc::new(TokenFile::open(path)?)), reach })
    }

    /// Returns whether a page at this host may be one of the service. Without a token, and on a network, any page can
    /// have its own name resolved to the address of the service.
    pub(super) fn knows_name(&self, host: &str) -> bool {
        let Reach::Network { names } = &self.reach else { return true };
        self.token.is_some()
            || host.parse::<IpAddr>().is_ok()
            || csrf::is_loopback(host)
            || names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// The layer in front of every mutating route.
pub(super) async fn require_token(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(token) = &access.token else { return Ok(next.run(request).await) };
    let Some(given) = request.headers().get(AUTHORIZATION).and_then(bearer_token) else {
        return Err(ApiError::unauthorized("this needs the header `Authorization: Bearer TOKEN`"));
    };
    match token.has_token(given) {
        Ok(true) => Ok(next.run(request).await),
        Ok(false) => Err(ApiError::invalid_token("the token is not the service's")),
        Err(error) => {
            tracing::error!(%error, "no token is accepted");
            Err(ApiError::unavailable("the service cannot use its token file; see its log"))
        }
    }
}

/// Returns the token of a header. The name of a scheme is written in any case.
fn bearer_token(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_written_in_any_case() {
        let token = |text| bearer_token(&HeaderValue::from_static(text)).map(str::to_owned);
        for text in ["Bearer abc", "bearer abc", "BEARER  abc", " Bearer abc "] {
            assert_eq!(token(text).as_deref(), Some("abc"), "{text}");
        }
        for text in ["Basic abc", "Bearer", "abc", "Bearerabc"] {
            assert_eq!(token(text), None, "{text}");
        }
    }
}
