//! Refuses requests that a browser makes before its user has asked for them: `GET /run` starts a run, as it did in the
//! original service.

use axum::{extract::Request, http::HeaderMap, middleware::Next, response::Response};

use super::error::ApiError;

/// The headers by which browsers and previews of pages say that no person has asked for the request yet.
const PURPOSE_HEADERS: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];

/// The purposes of such requests. `Sec-Purpose` may say more after a semicolon: `prefetch;prerender`.
const PURPOSES: [&str; 3] = ["prefetch", "prerender", "preview"];

/// The layer in front of every mutating route.
pub(super) async fn reject_prefetch(request: Request, next: Next) -> Result<Response, ApiError> {
    if is_prefetch(request.headers()) {
        return Err(ApiError::forbidden("a prefetch starts nothing"));
    }
    Ok(next.run(request).await)
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    let values = PURPOSE_HEADERS.iter().flat_map(|name| headers.get_all(*name));
    values.filter_map(|value| value.to_str().ok()).any(|value| {
        let value = value.to_ascii_lowercase();
        PURPOSES.iter().any(|purpose| value.contains(purpose))
    })
}
