//! Refuses requests that a browser sends without its user having asked this service for them. `GET /run` starts a run,
//! as it did in the original service, so a mere picture on a page could otherwise scale a cluster.
//!
//! Two layers: [`reject_cross_site`] refuses what is known to come from another site's page, on every route.
//! [`reject_browser_get`] refuses on mutating routes what may: a prefetch, and every GET of a browser that does not
//! prove that a page of this service sent it. Over plain HTTP a browser sends no fetch metadata, a page can keep its
//! own address back (`referrerpolicy=no-referrer`), and a GET has no `Origin`: such a request names no other site.
//!
//! A page whose name was rebound to this service's address passes for a page of the service. It has no token; where
//! none is needed, the service must know the name by which the page calls it.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, Method, header},
    middleware::Next,
    response::Response,
};

use super::{
    auth::{Access, Reach},
    error::ApiError,
};

/// The headers by which browsers and previews of pages say that no person has asked for the request yet.
const PURPOSE_HEADERS: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// The purposes of such requests. `Sec-Purpose` may say more after a semicolon: `prefetch;prerender`.
const PURPOSES: [&str; 3] = ["prefetch", "prerender", "preview"];

/// Headers that browsers send and that no page can leave out. Of programs that send some of them by themselves (fetch
/// in Node, Java, PowerShell), a POST or a token is expected.
const BROWSER_HEADERS: [&str; 4] =
    ["accept-language", "upgrade-insecure-requests", "origin", "referer"];

/// The layer in front of every route.
pub(super) async fn reject_cross_site(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    check_origin(request.headers(), &access.reach).map_err(ApiError::forbidden)?;
    Ok(next.run(request).await)
}

/// The layer in front of every mutating route.
pub(super) async fn reject_browser_get(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let headers = request.headers();
    if is_same_origin(headers) && !access.knows_name(host_name(host(headers))) {
        return Err(ApiError::forbidden(
            "a page of this service can start something only at an IP address, at localhost, or at a name that \
             `serve` was given with --host-name, because the service has no token",
        ));
    }
    if is_prefetch(headers) {
        return Err(ApiError::forbidden("a prefetch starts nothing"));
    }
    // A browser adds `Origin` to every POST, which the other layer has checked.
    if request.method() == Method::GET
        && is_browser(headers)
        && !is_same_origin(headers)
        && !has_token(headers)
    {
        return Err(ApiError::forbidden(
            "a browser's GET starts nothing, because any page can make the browser send it; \
             send a POST, or use curl",
        ));
    }
    Ok(next.run(request).await)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The address by which the client calls this service; empty when it does not say.
fn host(headers: &HeaderMap) -> &str {
    text(headers, header::HOST).unwrap_or_default()
}

fn check_origin(headers: &HeaderMap, reach: &Reach) -> Result<(), &'static str> {
    let host = host(headers);
    if let Reach::ThisMachine { host: listened } = reach {
        let name = host_name(host);
        if !is_loopback(name) && !name.eq_ignore_ascii_case(listened) {
            return Err("the service listens on loopback: address it as localhost or 127.0.0.1");
        }
    }
    // Fetch metadata: `none` is a person who typed the address, `same-origin` a page of this service.
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or_default());
    if site.is_some_and(|site| !matches!(site, "none" | "same-origin")) {
        return Err("requests from another site's page are refused");
    }
    let pages = [header::ORIGIN, header::REFERER];
    if pages.into_iter().any(|name| is_of_host(headers, name, host) == Some(false)) {
        return Err("requests from another site's page are refused");
    }
    Ok(())
}

/// Whether the page that a header names is of this host; none without the header.
fn is_of_host(headers: &HeaderMap, name: HeaderName, host: &str) -> Option<bool> {
    let page = headers.get(name)?.to_str().unwrap_or_default();
    let page_host = page.split_once("://").map_or(page, |(_, rest)| rest);
    let page_host = page_host.split('/').next().unwrap_or_default();
    Some(page_host.eq_ignore_ascii_case(host))
}

/// Whether the request proves that a page of this service sent it.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let host = host(headers);
    match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => [header::ORIGIN, header::REFERER]
            .into_iter()
            .any(|name| is_of_host(headers, name, host) == Some(true)),
    }
}

/// Whether the request has a bearer token. No page can make a browser send one: that would need the service's consent
/// first.
fn has_token(headers: &HeaderMap) -> bool {
    let scheme = text(headers, header::AUTHORIZATION).and_then(|value| value.split(' ').next());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"))
}

fn is_browser(headers: &HeaderMap) -> bool {
    let accepts =
        |part: &str| text(headers, header::ACCEPT).is_some_and(|value| value.contains(part));
    let agent = text(headers, header::USER_AGENT).unwrap_or_default();
    headers.keys().any(|name| name.as_str().starts_with("sec-"))
        || PURPOSE_HEADERS.iter().chain(&BROWSER_HEADERS).any(|name| headers.contains_key(*name))
        || accepts("text/html")
        || accepts("image/")
        // Every browser calls itself so. A page cannot change the name: that would need the service's consent first.
        || agent.starts_with("Mozilla/")
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    let values = PURPOSE_HEADERS.iter().flat_map(|name| headers.get_all(*name));
    values.filter_map(|value| value.to_str().ok()).any(|value| {
        let value = value.to_ascii_lowercase();
        PURPOSES.iter().any(|purpose| value.contains(purpose))
    })
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

/// Whether every resolver takes the name for this machine, so that no other site can have it.
pub(super) fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn requests_of_other_sites_are_rejected() {
        let cases: [(&[(&str, &str)], bool); 13] = [
            (&[("host", "localhost:8080")], true),
            (&[("host", "LOCALHOST.:8080")], true),
            (&[("host", "sop.localhost:8080")], true),
            (&[("host", "build-7:8080")], true),
            (&[("host", "127.0.0.1:8080"), ("sec-fetch-site", "none")], true),
            (&[("host", "[::1]:8080")], true),
            (&[("host", "127.0.0.1:80"), ("origin", "http://127.0.0.1:80")], true),
            (&[("host", "127.0.0.1:80"), ("referer", "http://127.0.0.1:80/x")], true),
            (&[("host", "127.0.0.1:80"), ("referer", "http://evil.example/x")], false),
            (&[("host", "evil.example:8080")], false),
            (&[("host", "localhost:8080"), ("origin", "http://evil.example")], false),
            (&[("host", "localhost:8080"), ("origin", "null")], false),
            (&[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")], false),
        ];
        let reach = Reach::ThisMachine { host: "build-7".into() };
        for (pairs, passes) in cases {
            assert_eq!(check_origin(&headers(pairs), &reach).is_ok(), passes, "{pairs:?}");
        }
    }

    #[test]
    fn a_service_in_a_cluster_may_have_any_name() {
        let pairs = [("host", "rafay-relay-sop.rafaycore:8080")];
        assert!(check_origin(&headers(&pairs), &Reach::Network { names: Vec::new() }).is_ok());
    }

    #[test]
    fn a_browser_is_told_from_a_program() {
        let programs: [&[(&str, &str)]; 4] = [
            &[("user-agent", "curl/8.5.0"), ("accept", "*/*")],
            &[
                ("user-agent", "python-requests/2.32"),
                ("accept", "*/*"),
                ("accept-encoding", "gzip"),
            ],
            &[("user-agent", "Go-http-client/1.1")],
            &[],
        ];
        for program in programs {
            assert!(!is_browser(&headers(program)), "{program:?}");
        }
        // As a script's element sends it over plain HTTP, without a referrer.
        let script: [&[(&str, &str)]; 3] = [
            &[("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"), ("accept", "*/*")],
            &[("accept-language", "en-US,en;q=0.9"), ("accept", "*/*")],
            &[("accept", "image/avif,image/webp,*/*;q=0.8")],
        ];
        for browser in script {
            assert!(is_browser(&headers(browser)), "{browser:?}");
        }
    }
}
