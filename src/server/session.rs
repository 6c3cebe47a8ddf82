//! The login of browsers: a person shows the token once, and the browser has a cookie from then on. No script of a page
//! can read the cookie, and no other site's page can make the browser send it.

use axum::{
    Router,
    extract::Query,
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use url::form_urlencoded;

use super::{
    Service,
    auth::{Access, COOKIE},
    body::{self, RequestBody},
    error::ApiError,
    limits, page,
};

/// The routes of the login.
pub(super) fn router(service: &Service, access: &Access) -> Router<Service> {
    let limits = service.limits();
    let (for_login, for_logout) = (access.clone(), access.clone());
    let log_in = post(move |body| async move { log_in(&for_login, body).await });
    let log_out = post(move || async move { log_out(&for_logout) });
    Router::new()
        .route("/login", body::receiving(limits::limited(get(form).merge(log_in), limits), service))
        .route("/logout", limits::limited(log_out, limits))
}

#[derive(Deserialize)]
struct FormQuery {
    next: Option<String>,
}

async fn form(Query(FormQuery { next }): Query<FormQuery>) -> Response {
    page::login_page(own_path(next.as_deref()), None)
}

async fn log_in(access: &Access, RequestBody(body): RequestBody) -> Response {
    let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let field = |name| fields.iter().find(|(other, _)| other == name).map(|(_, value)| value);
    let next = own_path(field("next").map(String::as_str));
    let token = field("token").map_or("", |token| token.trim());
    match access.log_in(token).await {
        Ok(session) => with_cookie(access, &session, Redirect::to(next).into_response()),
        Err(error) => {
            let status = error.status();
            let mut response = page::login_page(next, Some(error.message()));
            *response.status_mut() = status;
            response
        }
    }
}

fn log_out(access: &Access) -> Response {
    with_cookie(access, "", Redirect::to("/").into_response())
}

/// Sets the cookie for as long as the browser is open; removes it, where there is no session.
fn with_cookie(access: &Access, session: &str, mut response: Response) -> Response {
    let secure = if access.uses_tls { "; Secure" } else { "" };
    let age = if session.is_empty() { "; Max-Age=0" } else { "" };
    let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict{secure}{age}");
    match HeaderValue::from_str(&cookie) {
        Ok(mut value) => {
            value.set_sensitive(true);
            response.headers_mut().insert(header::SET_COOKIE, value);
            response
        }
        // A token is visible ASCII where it was accepted.
        Err(_) => ApiError::unfinished().into_response(),
    }
}

/// Returns the path of this service to which a browser goes on: another site's address is not one.
fn own_path(next: Option<&str>) -> &str {
    let is_own = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.chars().all(|c| c.is_ascii_graphic() && c != '\\')
    };
    next.filter(is_own).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_goes_on_to_a_path_of_this_service_only() {
        assert_eq!(own_path(Some("/runs/a?b=c")), "/runs/a?b=c");
        for other in ["//evil.example", "/\\evil.example", "https://evil.example", "", "a", "/\nb"]
        {
            assert_eq!(own_path(Some(other)), "/", "{other:?}");
        }
    }
}
