//! Refuses requests that another site's page makes a browser send. `GET /run` starts a run, as it did in the original
//! service, so a mere picture on a page could otherwise scale a cluster.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};

use super::{auth::Access, error::ApiError};

/// The layer.
pub(super) async fn reject_cross_site(
    State(access): State<Access>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    check_origin(request.headers(), access.loopback_only).map_err(ApiError::forbidden)?;
    Ok(next.run(request).await)
}

fn check_origin(headers: &HeaderMap, loopback_only: bool) -> Result<(), &'static str> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    if loopback_only && !is_loopback(host_name(host)) {
        return Err("the service listens on loopback: address it as localhost or 127.0.0.1");
    }
    // Fetch metadata: `none` is a person who typed the address, `same-origin` our own page.
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if site.is_some_and(|site| !matches!(site, "none" | "same-origin")) {
        return Err("requests from another site's page are refused");
    }
    // Over plain http a browser sends no fetch metadata, and for a picture no origin either: the referrer tells.
    for page in [header::ORIGIN, header::REFERER].into_iter().filter_map(text) {
        let page_host = page.split_once("://").map_or(page, |(_, rest)| rest);
        let page_host = page_host.split('/').next().unwrap_or_default();
        if !page_host.eq_ignore_ascii_case(host) {
            return Err("requests from another site's page are refused");
        }
    }
    Ok(())
}

/// The host without its port.
fn host_name(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
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
        let cases: [(&[(&str, &str)], bool); 10] = [
            (&[("host", "localhost:8080")], true),
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
        for (pairs, passes) in cases {
            assert_eq!(check_origin(&headers(pairs), true).is_ok(), passes, "{pairs:?}");
        }
    }

    #[test]
    fn a_service_in_a_cluster_may_have_any_name() {
        let pairs = [("host", "rafay-relay-sop.rafaycore:8080")];
        assert!(check_origin(&headers(&pairs), false).is_ok());
    }
}
