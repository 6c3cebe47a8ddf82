//! Who may read, and who may start and stop runs. A client shows a token in a header; a browser that has shown one has
//! a cookie. What a token is worth is decided by a file, or by the cluster.

use std::{convert::Infallible, fmt, net::IpAddr, path::Path, sync::Arc};

use async_trait::async_trait;
use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse as _, Redirect, Response},
    routing::MethodRouter,
};
use url::form_urlencoded;

use super::{
    Service, csrf,
    error::ApiError,
    page,
    token::{TokenFile, TokenFileError},
};

/// The name of the cookie of a browser that has logged in.
pub(super) const COOKIE: &str = "sop_session";

/// The requirements of a request.
#[derive(Debug, Clone)]
pub struct Access {
    authentication: Authentication,
    anonymous_reads: AnonymousReads,
    pub(super) reach: Reach,
    /// Whether browsers use HTTPS, so that a cookie is never sent without.
    pub(super) uses_tls: bool,
}

/// How the service knows its clients.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// Not at all: anybody who can reach it may do anything.
    None,
    /// By one token, which every client has.
    Token(TokenOfFile),
    /// By tokens that are another's to judge.
    Delegated(Arc<dyn Authenticator>),
}

/// The token of a file.
#[derive(Debug, Clone)]
pub struct TokenOfFile(Arc<TokenFile>);

/// A judge of tokens, such as a Kubernetes API server.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// Returns the name of the client with this token, if it has a right; any client that is known, without one.
    ///
    /// # Errors
    /// The token is not valid, or its client does not have the right; or that cannot be found out.
    async fn authenticate(
        &self,
        token: &str,
        right: Option<Right>,
    ) -> Result<String, UnknownClient>;
}

/// Why a client may not do what it asks for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UnknownClient {
    /// The token is not valid.
    #[error("the token is not valid: {0}")]
    InvalidToken(String),
    /// The client does not have the right.
    #[error("{client} may not {right}{}", .reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")))]
    Forbidden {
        /// The name of the client.
        client: String,
        /// The right.
        right: Right,
        /// The judge's own words.
        reason: Option<String>,
    },
    /// The judge does not answer.
    #[error("the token could not be checked: {0}")]
    Unavailable(String),
}

/// A right on runs, in the terms of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Right {
    /// The verb: `create`, `get`, `list`, `update`.
    pub verb: &'static str,
    /// With what of a run, such as `cancel`.
    pub subresource: Option<&'static str>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runbookruns", self.verb)?;
        self.subresource.map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

/// The reads of clients without a token, in a service that knows its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AnonymousReads {
    /// Nothing but /health and /ready.
    None,
    /// Also /status and /metrics.
    Status,
    /// Also the page, runs with their inputs and outputs, and runbooks. Journals and plans need a token all the same.
    All,
}

/// The requirements of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing: a probe.
    Nothing,
    /// To see whether a run succeeds.
    Status,
    /// To see runs and runbooks.
    Read,
    /// To see the texts and everything that a run has read.
    Private(Right),
    /// To change something.
    Change(Right),
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

/// The client of a request, for the journal: a name that the cluster knows, or the address. The one token of a service
/// does not name its user.
#[derive(Debug, Clone)]
pub(super) struct Actor(pub(super) String);

impl Authentication {
    /// Knows clients by the token of a file.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn token_file(path: &Path) -> Result<Self, TokenFileError> {
        Ok(Self::Token(TokenOfFile(Arc::new(TokenFile::open(path)?))))
    }
}

impl Access {
    /// Returns the requirements of a service.
    pub fn new(
        reach: Reach,
        authentication: Authentication,
        anonymous_reads: AnonymousReads,
    ) -> Self {
        Self { authentication, anonymous_reads, reach, uses_tls: false }
    }

    /// Anybody who can reach the service may do anything.
    pub fn anonymous(reach: Reach) -> Self {
        Self::new(reach, Authentication::None, AnonymousReads::All)
    }

    /// Knows clients in another way.
    #[must_use]
    pub fn with_authentication(
        self,
        authentication: Authentication,
        anonymous_reads: AnonymousReads,
    ) -> Self {
        Self { authentication, anonymous_reads, ..self }
    }

    /// Says that browsers use HTTPS.
    #[must_use]
    pub fn over_tls(self) -> Self {
        Self { uses_tls: true, ..self }
    }

    /// Whether browsers can log in.
    pub(super) fn has_login(&self) -> bool {
        !matches!(self.authentication, Authentication::None)
    }

    /// Returns whether a page at this host may be one of the service. Without a token, and on a network, any page can
    /// have its own name resolved to the address of the service.
    pub(super) fn knows_name(&self, host: &str) -> bool {
        let Reach::Network { names } = &self.reach else { return true };
        self.has_login()
            || host.parse::<IpAddr>().is_ok()
            || csrf::is_loopback(host)
            || names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Puts a route behind what it requires.
    pub(super) fn guard(
        &self,
        route: MethodRouter<Service>,
        needs: Needs,
    ) -> MethodRouter<Service> {
        let route = match needs {
            Needs::Nothing => return route,
            _ => route.route_layer(middleware::from_fn_with_state((self.clone(), needs), require)),
        };
        match needs {
            Needs::Change(_) => route.route_layer(middleware::from_fn_with_state(
                self.clone(),
                csrf::reject_browser_get,
            )),
            // What is only read may be asked for by any link: another site's page gets no answer.
            Needs::Nothing | Needs::Status | Needs::Read | Needs::Private(_) => route,
        }
    }

    /// Whether a client without a token may use a route.
    fn is_open(&self, needs: Needs) -> bool {
        match needs {
            _ if !self.has_login() => true,
            Needs::Nothing => true,
            Needs::Status => self.anonymous_reads != AnonymousReads::None,
            Needs::Read => self.anonymous_reads == AnonymousReads::All,
            Needs::Private(_) | Needs::Change(_) => false,
        }
    }

    /// Returns the name of the client, where its token has one.
    ///
    /// # Errors
    /// The client may not do that.
    async fn client(&self, token: &Shown<'_>, needs: Needs) -> Result<Option<String>, ApiError> {
        match &self.authentication {
            Authentication::None => Ok(None),
            Authentication::Token(TokenOfFile(file)) => {
                let is_known = match token {
                    Shown::Header(token) => file.has_token(token),
                    Shown::Cookie(session) => file.has_session(session),
                };
                match is_known {
                    Ok(true) => Ok(None),
                    Ok(false) => Err(ApiError::invalid_token("the token is not the service's")),
                    Err(error) => {
                        tracing::error!(%error, "no token is accepted");
                        let message = "the service cannot use its token file; see its log";
                        Err(ApiError::unavailable(message))
                    }
                }
            }
            Authentication::Delegated(judge) => {
                let right = match needs {
                    Needs::Nothing => None,
                    Needs::Status | Needs::Read => Some(Right { verb: "list", subresource: None }),
                    Needs::Private(right) | Needs::Change(right) => Some(right),
                };
                let (Shown::Header(token) | Shown::Cookie(token)) = token;
                match judge.authenticate(token, right).await {
                    Ok(client) => Ok(Some(client)),
                    Err(error @ UnknownClient::Unavailable(_)) => {
                        tracing::error!(%error, "a client was refused");
                        Err(ApiError::unavailable(&error.to_string()))
                    }
                    Err(error @ UnknownClient::InvalidToken(_)) => {
                        Err(ApiError::unauthorized(&error.to_string()))
                    }
                    Err(error @ UnknownClient::Forbidden { .. }) => {
                        Err(ApiError::forbidden(&error.to_string()))
                    }
                }
            }
        }
    }

    /// Returns what a browser that shows a token gets as a cookie: nothing from which the token of a file can be had,
    /// and the token itself where another judges it.
    ///
    /// # Errors
    /// The token is not valid.
    pub(super) async fn log_in(&self, token: &str) -> Result<String, ApiError> {
        self.client(&Shown::Header(token), Needs::Nothing).await?;
        Ok(match &self.authentication {
            Authentication::Token(_) => TokenFile::session_of(token),
            Authentication::None | Authentication::Delegated(_) => token.to_owned(),
        })
    }
}

/// The token or the session that a client shows.
enum Shown<'a> {
    Header(&'a str),
    Cookie(&'a str),
}

impl<'a> Shown<'a> {
    fn of(headers: &'a HeaderMap) -> Option<Self> {
        let token = headers.get(header::AUTHORIZATION).and_then(bearer_token).map(Self::Header);
        token.or_else(|| cookie(headers).map(Self::Cookie))
    }
}

/// The layer in front of every route that needs something.
async fn require(
    State((access, needs)): State<(Access, Needs)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(shown) = Shown::of(request.headers()) else {
        if access.is_open(needs) {
            return Ok(next.run(request).await);
        }
        let error = ApiError::unauthorized("this needs the header `Authorization: Bearer TOKEN`");
        return ask_to_log_in(&request, error);
    };
    match access.client(&shown, needs).await {
        Ok(name) => {
            if let Some(name) = name {
                request.extensions_mut().insert(Actor(name));
            }
            Ok(next.run(request).await)
        }
        // A token that is not needed is not judged: a browser keeps a cookie that has become invalid.
        Err(_) if access.is_open(needs) => Ok(next.run(request).await),
        Err(error) => ask_to_log_in(&request, error),
    }
}

/// Sends a browser to the login; a program is told what is missing.
fn ask_to_log_in(request: &Request, error: ApiError) -> Result<Response, ApiError> {
    let is_page = request.method() == Method::GET && page::prefers_html(request.headers());
    if !is_page || error.status() == axum::http::StatusCode::SERVICE_UNAVAILABLE {
        return Err(error);
    }
    let next = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    Ok(Redirect::to(&format!("/login?{query}")).into_response())
}

/// Returns the token of a header. The name of a scheme is written in any case.
fn bearer_token(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Returns the value of the cookie of a browser that has logged in.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let headers = headers.get_all(header::COOKIE).into_iter();
    let cookies = headers.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(';'));
    cookies
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE && !value.is_empty()).then_some(value))
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        let peer = || match parts.extensions.get::<ConnectInfo<std::net::SocketAddr>>() {
            Some(ConnectInfo(peer)) => format!("http:{}", peer.ip()),
            None => "http".into(),
        };
        Ok(known.unwrap_or_else(|| Self(peer())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let cookies = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, text.parse().unwrap());
            cookie(&headers).map(str::to_owned)
        };
        assert_eq!(cookies("a=b; sop_session=c; d=e").as_deref(), Some("c"));
        assert_eq!(cookies("sop_session="), None);
        assert_eq!(cookies("xsop_session=c"), None);
    }

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
