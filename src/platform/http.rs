//! Plain HTTP requests: probes of addresses that a runbook names, which carry no credentials, and posts to addresses
//! that the configuration names. They follow no redirect, use no proxy, and reach no link-local address: those of the
//! metadata and credential services of a cloud answer every caller.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body::Body;
use tokio::time::timeout;
use url::{Host, Url};

use super::PROGRAM;
use super::error::{causes, error_chain};
use super::transport;

/// The longest part of a response that is read.
pub const MAX_PROBE_RESPONSE: usize = 64 << 10;

/// The longest address.
const MAX_URL: usize = 2048;

/// An address that a request may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget(Url);

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedUrl {
    /// The URL cannot be read.
    #[error("not a valid URL: {0}")]
    Invalid(String),
    /// The URL is too long.
    #[error("the URL is longer than {MAX_URL} bytes")]
    TooLong,
    /// The scheme is not one of HTTP.
    #[error("the scheme of the URL is {0:?}, not http or https")]
    Scheme(String),
    /// The URL has a user or a password, which would be in the journal and in the logs.
    #[error("the URL has a user name or a password")]
    UserInfo,
    /// The host is or has a link-local address.
    #[error("{0} is a link-local address, where the credentials of this machine can be asked for")]
    LinkLocal(IpAddr),
}

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeMethod {
    /// The response with its body.
    Get,
    /// The response without its body.
    Head,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResponse {
    /// The status.
    pub status: u16,
    /// The beginning of the body, at most [`MAX_PROBE_RESPONSE`] bytes.
    pub body: String,
    /// Whether the body is longer than that.
    pub is_cut: bool,
    /// The time until the response was read.
    pub elapsed: Duration,
}

/// The response to a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostResponse {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// The beginning of the body, at most [`MAX_PROBE_RESPONSE`] bytes.
    pub body: String,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The address must not be called.
    #[error(transparent)]
    Refused(#[from] RefusedUrl),
    /// No response came in time.
    #[error("no response within {0:?}")]
    TimedOut(Duration),
    /// This machine does not trust the certificate of the server.
    #[error("{0}")]
    Untrusted(String),
    /// The connection or the response failed.
    #[error("{0}")]
    Failed(String),
}

impl HttpTarget {
    /// Returns the target of this address.
    ///
    /// # Errors
    /// The address is not a valid one of HTTP, has user information, or is link-local. The name of a host is resolved
    /// when a request is sent, and is refused then if it is link-local.
    pub fn parse(text: &str) -> Result<Self, RefusedUrl> {
        if text.len() > MAX_URL {
            return Err(RefusedUrl::TooLong);
        }
        let url = Url::parse(text).map_err(|error| RefusedUrl::Invalid(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RefusedUrl::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RefusedUrl::UserInfo);
        }
        let address = match url.host() {
            None => return Err(RefusedUrl::Invalid("it names no host".to_owned())),
            Some(Host::Domain(_)) => None,
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        };
        match address.filter(|address| is_link_local(*address)) {
            Some(address) => Err(RefusedUrl::LinkLocal(address)),
            None => Ok(Self(url)),
        }
    }

    /// Returns the address without its query, for messages.
    pub fn text(&self) -> String {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.to_string()
    }

    /// Returns the scheme, the host and the port: a path may be a secret.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether what is sent is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether it is this machine, by the name `localhost` or by its address.
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

/// Sends requests. Each has a connection of its own, so that it says something of the server as it is now.
#[derive(Debug)]
pub struct HttpClient {
    /// Made by the first request: it reads the certificates of the system.
    connector: OnceLock<Connector>,
    reach: HttpReach,
}

/// The addresses that requests are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpReach {
    /// Every address.
    Everywhere,
    /// Those of this machine: beside a simulated cluster.
    ThisMachine,
    /// None: beside a cluster in this process, whose time is not the network's.
    Nowhere,
}

impl HttpClient {
    pub(super) fn new(reach: HttpReach) -> Self {
        Self { connector: OnceLock::new(), reach }
    }

    fn connector(&self) -> &Connector {
        self.connector.get_or_init(|| {
            Connector::builder()
                .pool_max_idle_per_host(0)
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_with_resolver(Resolver)
        })
    }

    /// Returns a client for addresses that the configuration of this program names.
    pub fn for_posts() -> Self {
        Self::new(HttpReach::Everywhere)
    }

    /// Posts a body and reads the beginning of the response.
    ///
    /// # Errors
    /// The host is link-local, a header is not valid, or there is no response within the limit.
    pub async fn post(
        &self,
        target: &HttpTarget,
        headers: &[(String, String)],
        body: String,
        limit: Duration,
    ) -> Result<PostResponse, ProbeError> {
        let posting = self.post_unlimited(target, headers, body);
        timeout(limit, posting).await.unwrap_or(Err(ProbeError::TimedOut(limit)))
    }

    async fn post_unlimited(
        &self,
        target: &HttpTarget,
        headers: &[(String, String)],
        body: String,
    ) -> Result<PostResponse, ProbeError> {
        let mut request = request("POST", target, SdkBody::from(body))?;
        for (name, value) in headers {
            let added = request.headers_mut().try_insert(name.clone(), value.clone());
            // The error would show the value, which may be a secret.
            added.map_err(|_| ProbeError::Failed(format!("the header {name} is not valid")))?;
        }
        let response = self.connector().call(request).await.map_err(|error| to_error(&error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").map(str::to_owned);
        let (body, _) = read_beginning(response.into_body()).await?;
        Ok(PostResponse { status, retry_after, body })
    }

    /// Returns whether requests to the target are sent. Beside a simulated cluster, only those to this machine are.
    pub fn sends_to(&self, target: &HttpTarget) -> bool {
        match self.reach {
            HttpReach::Everywhere => true,
            HttpReach::ThisMachine => target.is_loopback(),
            HttpReach::Nowhere => false,
        }
    }

    /// Sends one request and reads the beginning of the response.
    ///
    /// # Errors
    /// The host is link-local, or there is no response within the limit.
    pub async fn send(
        &self,
        method: ProbeMethod,
        target: &HttpTarget,
        limit: Duration,
    ) -> Result<ProbeResponse, ProbeError> {
        // The first request makes the connector, which is no time of the server's.
        self.connector();
        let start = Instant::now();
        let sending = self.send_unlimited(method, target, start);
        timeout(limit, sending).await.unwrap_or(Err(ProbeError::TimedOut(limit)))
    }

    async fn send_unlimited(
        &self,
        method: ProbeMethod,
        target: &HttpTarget,
        start: Instant,
    ) -> Result<ProbeResponse, ProbeError> {
        let method = match method {
            ProbeMethod::Get => "GET",
            ProbeMethod::Head => "HEAD",
        };
        let mut request = request(method, target, SdkBody::empty())?;
        request.headers_mut().insert("accept", "*/*");
        let response = self.connector().call(request).await.map_err(|error| to_error(&error))?;
        let status = response.status().as_u16();
        let (body, is_cut) = read_beginning(response.into_body()).await?;
        Ok(ProbeResponse { status, body, is_cut, elapsed: start.elapsed() })
    }
}

fn request(method: &str, target: &HttpTarget, body: SdkBody) -> Result<HttpRequest, ProbeError> {
    let mut request = HttpRequest::new(body);
    let mut address = target.0.clone();
    address.set_fragment(None);
    let invalid = |error: &dyn std::error::Error| ProbeError::Failed(error.to_string());
    request.set_method(method).map_err(|error| invalid(&error))?;
    request.set_uri(address.as_str()).map_err(|error| invalid(&error))?;
    request.headers_mut().insert("user-agent", PROGRAM);
    Ok(request)
}

/// Reads at most [`MAX_PROBE_RESPONSE`] bytes, and returns whether there are more.
async fn read_beginning(mut body: SdkBody) -> Result<(String, bool), ProbeError> {
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| ProbeError::Failed(error_chain(error.as_ref())))?;
        read.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        if read.len() > MAX_PROBE_RESPONSE {
            read.truncate(MAX_PROBE_RESPONSE);
            return Ok((String::from_utf8_lossy(&read).into_owned(), true));
        }
    }
    Ok((String::from_utf8_lossy(&read).into_owned(), false))
}

fn to_error(error: &(dyn std::error::Error + 'static)) -> ProbeError {
    match causes(error).find_map(|cause| cause.downcast_ref::<RefusedUrl>()) {
        Some(refused) => ProbeError::Refused(refused.clone()),
        None => match transport::untrusted_certificate(&error_chain(error)) {
            Some(message) => ProbeError::Untrusted(message),
            None => ProbeError::Failed(transport::classify(error).message),
        },
    }
}

/// The name resolution of the system. A name that has a link-local address is refused.
#[derive(Debug, Clone, Copy)]
struct Resolver;

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            let found = tokio::net::lookup_host((name, 0)).await.map_err(ResolveDnsError::new)?;
            check_addresses(found.map(|address| address.ip()).collect())
                .map_err(ResolveDnsError::new)
        })
    }
}

fn check_addresses(addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, RefusedUrl> {
    match addresses.iter().find(|address| is_link_local(**address)) {
        Some(address) => Err(RefusedUrl::LinkLocal(*address)),
        None => Ok(addresses),
    }
}

/// Returns whether an address is link-local, or one of those that AWS uses in the same way (`fd00:ec2::/32`), also
/// where an IPv4 address is written as one of IPv6.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_link_local_v4(address),
        IpAddr::V6(address) => {
            let segments = address.segments();
            let is_own = segments[0] & 0xffc0 == 0xfe80 || segments[..2] == [0xfd00, 0x0ec2];
            is_own || embedded_v4(address).is_some_and(is_link_local_v4)
        }
    }
}

fn is_link_local_v4(address: Ipv4Addr) -> bool {
    address.is_link_local()
}

/// Returns the address of IPv4 that one of IPv6 leads to: mapped (`::ffff:0:0/96`), compatible (`::/96`) or by NAT64
/// (`64:ff9b::/96`).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let is_embedded =
        matches!(segments[..6], [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0]);
    let [.., a, b, c, d] = address.octets();
    is_embedded.then_some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::test_server::{CannedResponse, TestServer};

    const LIMIT: Duration = Duration::from_secs(20);

    fn target(url: &Url) -> HttpTarget {
        HttpTarget::parse(url.as_str()).unwrap()
    }

    #[test]
    fn only_plain_addresses_of_http_are_accepted() {
        let refusal = |text: &str| HttpTarget::parse(text).unwrap_err().to_string();
        assert!(HttpTarget::parse("https://relay.example.com:8443/health?deep=1").is_ok());
        assert!(refusal("relay.example.com/health").starts_with("not a valid URL"));
        assert_eq!(
            refusal("file:///etc/passwd"),
            "the scheme of the URL is \"file\", not http or https"
        );
        assert_eq!(refusal("http://a:b@host/"), "the URL has a user name or a password");
        assert!(refusal(&format!("http://host/{}", "a".repeat(3000))).contains("longer than"));
    }

    #[test]
    fn link_local_addresses_are_refused_in_every_form() {
        for text in [
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.170.23/v1/credentials",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://169.254.43518/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[fd00:ec2::23]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
        ] {
            let refused = HttpTarget::parse(text).unwrap_err();
            assert!(matches!(refused, RefusedUrl::LinkLocal(_)), "{text}: {refused}");
        }
        for text in ["http://10.0.0.1/", "http://[fd00::1]/", "http://127.0.0.1/"] {
            assert!(HttpTarget::parse(text).is_ok(), "{text}");
        }
        let resolved = |text: &str| check_addresses(vec![text.parse().unwrap()]);
        assert!(resolved("10.0.0.1").is_ok());
        assert_eq!(
            resolved("169.254.169.254").unwrap_err().to_string(),
            "169.254.169.254 is a link-local address, where the credentials of this machine can be asked for"
        );
    }

    #[tokio::test]
    async fn a_response_is_read_up_to_its_bound_and_a_redirect_is_not_followed() {
        let server = TestServer::start(|request| match request.line.as_str() {
            "GET /long" => CannedResponse::Text(200, "x".repeat(MAX_PROBE_RESPONSE + 1)),
            "GET /moved" => CannedResponse::Text(302, String::new()),
            _ => CannedResponse::Text(200, "fine".into()),
        })
        .await;
        let client = HttpClient::new(HttpReach::ThisMachine);
        let get = async |path: &str| {
            let url = server.url.join(path).unwrap();
            client.send(ProbeMethod::Get, &target(&url), LIMIT).await.unwrap()
        };
        let fine = get("/fine?a=b").await;
        assert_eq!((fine.status, fine.body.as_str(), fine.is_cut), (200, "fine", false));
        let long = get("/long").await;
        assert_eq!((long.body.len(), long.is_cut), (MAX_PROBE_RESPONSE, true));
        assert_eq!(get("/moved").await.status, 302);
        let head = target(&server.url.join("/head").unwrap());
        assert_eq!(client.send(ProbeMethod::Head, &head, LIMIT).await.unwrap().body, "");
        assert_eq!(server.lines(), ["GET /fine?a=b", "GET /long", "GET /moved", "HEAD /head"]);
        let first = &server.requests()[0];
        let names: Vec<&str> = first.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert!(!names.contains(&"authorization") && !names.contains(&"cookie"), "{names:?}");
    }

    #[tokio::test]
    async fn a_post_carries_its_headers_and_returns_when_to_come_again() {
        let server = TestServer::start(|_| CannedResponse::Text(429, "slowly".into())).await;
        let client = HttpClient::for_posts();
        let headers = [("content-type".to_owned(), "text/plain".to_owned())];
        let posted = client.post(&target(&server.url), &headers, "hello".into(), LIMIT).await;
        let expected = PostResponse { status: 429, retry_after: None, body: "slowly".to_owned() };
        assert_eq!(posted, Ok(expected));
        let received = &server.requests()[0];
        assert_eq!((received.line.as_str(), received.body.as_str()), ("POST /", "hello"));
        assert_eq!(received.header("content-type"), "text/plain");
        let invalid = [("a".to_owned(), "secret\n".to_owned())];
        let refused = client.post(&target(&server.url), &invalid, String::new(), LIMIT).await;
        assert_eq!(refused, Err(ProbeError::Failed("the header a is not valid".into())));
    }

    #[tokio::test]
    async fn a_request_without_a_response_says_why() {
        let client = HttpClient::new(HttpReach::Everywhere);
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = unused.local_addr().unwrap();
        drop(unused);
        let nothing = HttpTarget::parse(&format!("http://{address}/")).unwrap();
        let error = client.send(ProbeMethod::Get, &nothing, LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "connection refused");
        let slow = TestServer::start(|_| {
            let never = Duration::from_hours(1);
            CannedResponse::After(never, Box::new(CannedResponse::Text(200, String::new())))
        })
        .await;
        let soon = Duration::from_millis(50);
        let error = client.send(ProbeMethod::Get, &target(&slow.url), soon).await.unwrap_err();
        assert_eq!(error, ProbeError::TimedOut(soon));
    }

    #[test]
    fn beside_a_simulated_cluster_only_this_machine_is_called() {
        let sends =
            |reach, text: &str| HttpClient::new(reach).sends_to(&HttpTarget::parse(text).unwrap());
        let beside = HttpReach::ThisMachine;
        assert!(sends(beside, "http://127.0.0.1:80/") && sends(beside, "http://localhost/"));
        assert!(!sends(beside, "http://relay.example.com/"));
        assert!(sends(HttpReach::Everywhere, "http://relay.example.com/"));
        assert!(!sends(HttpReach::Nowhere, "http://localhost/"));
    }
}
