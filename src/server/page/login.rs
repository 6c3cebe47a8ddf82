//! The page that asks for the token, and whether a browser has a session.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use jiff::Timestamp;

use super::render::{self, Chrome, LoginPage};
use crate::server::auth::COOKIE;

/// Returns the page that asks for the token. `next` is the path to return to, and `error` is why the last attempt was
/// refused.
pub(in crate::server) fn login_page(next: &str, error: Option<&str>) -> Response {
    let status = if error.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    let page = LoginPage {
        chrome: Chrome::new("Log in", Timestamp::now()).class("narrow"),
        next: next.to_owned(),
        error: error.map(str::to_owned),
    };
    render::page(status, &page)
}

/// Whether the browser has logged in, so that it can log out. Nothing else is decided by this.
pub(super) fn is_signed_in(headers: &HeaderMap) -> bool {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut names = cookies
        .flat_map(|value| value.split(';'))
        .map(|cookie| cookie.split('=').next().unwrap_or_default().trim());
    names.any(|name| name == COOKIE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_among_other_cookies() {
        let headers =
            |cookie: &str| [(header::COOKIE, cookie.parse().unwrap())].into_iter().collect();
        assert!(is_signed_in(&headers("a=b; sop_session=x")));
        assert!(!is_signed_in(&headers("a=sop_session; not_sop_session=x")));
        assert!(!is_signed_in(&HeaderMap::new()));
    }

    #[test]
    fn the_path_to_return_to_is_escaped() {
        let response = login_page("/runs/\"><script>", Some("the token is not the service's"));
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
    }
}
