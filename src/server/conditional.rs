//! Answers that a client has already: a client that polls sends the tag of the last answer, and gets 304 and no body
//! while nothing has changed.

use axum::{
    body::{Body, HttpBody as _},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};
use text::hex;

use super::error::ApiError;

/// Tags the JSON that a GET returns, and leaves it out where the client has it.
pub(super) async fn tag(request: Request, next: Next) -> Result<Response, ApiError> {
    let is_get = request.method() == Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    // A body whose length is not known is a stream, which must not be waited for.
    let is_tagged = is_get
        && response.status() == StatusCode::OK
        && response.body().size_hint().exact().is_some()
        && is_json(response.headers());
    if !is_tagged {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    // The body is in memory already.
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|_| ApiError::unfinished())?;
    let tag = tag_of(&body);
    let is_known = known.is_some_and(|known| names(&known, &tag));
    // Tags are visible ASCII.
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    // What changes is asked for each time; and what one person may see, another may not.
    let revalidate = HeaderValue::from_static("private, no-cache");
    parts.headers.entry(header::CACHE_CONTROL).or_insert(revalidate);
    if is_known {
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::CONTENT_TYPE);
        parts.status = StatusCode::NOT_MODIFIED;
        return Ok((parts, ()).into_response());
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json")
}

/// Returns the tag of a body. It is weak, because the same JSON may be compressed for one client and not for another.
fn tag_of(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let digits = hex(&digest[..12]);
    format!("W/\"{digits}\"")
}

/// Whether a list of tags has this one, or is `*`. Weak tags are compared without their prefix.
fn names(list: &HeaderValue, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = bare(tag);
    list.to_str().unwrap_or_default().split(',').any(|one| one.trim() == "*" || bare(one) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list_whether_weak_or_not() {
        let tag = tag_of(b"{}");
        let strong = tag.trim_start_matches("W/");
        for list in [tag.clone(), strong.to_owned(), format!("\"a\", {tag}"), "*".into()] {
            assert!(names(&HeaderValue::from_str(&list).unwrap(), &tag), "{list}");
        }
        for list in ["", "\"a\"", "W/\"b\", \"c\""] {
            assert!(!names(&HeaderValue::from_static(list), &tag), "{list}");
        }
    }
}
