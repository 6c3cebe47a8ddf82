//! The style sheet, the script and the icon. They are compiled in, and their addresses change with their content, so
//! that a browser asks for each once.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::engine::digest;

/// A file that pages refer to.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "style.css",
        media_type: "text/css; charset=utf-8",
        content: include_str!("assets/style.css"),
    },
    Asset {
        name: "app.js",
        media_type: "text/javascript; charset=utf-8",
        content: include_str!("assets/app.js"),
    },
    Asset {
        name: "icon.svg",
        media_type: "image/svg+xml",
        content: include_str!("assets/icon.svg"),
    },
];

/// The part of the addresses that changes with the content of any of the files.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let all: String = ASSETS.iter().map(|asset| asset.content).collect();
    digest(&all).chars().take(16).collect()
});

/// Returns the directory of the files' addresses.
pub(super) fn base() -> String {
    format!("/assets/{}", *HASH)
}

/// `GET /assets/{hash}/{name}`. A hash of another version is answered with what there is now, which no cache keeps.
pub(super) async fn asset(Path((hash, name)): Path<(String, String)>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let cache = match hash == *HASH {
        true => "public, max-age=31536000, immutable",
        false => "no-store",
    };
    let headers = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CACHE_CONTROL, cache),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_small_and_evaluates_no_text() {
        let script = ASSETS.iter().find(|asset| asset.name == "app.js").unwrap().content;
        assert!(script.len() < 7 * 1024, "{} bytes", script.len());
        for word in ["eval(", "new Function", "document.write", ".style."] {
            assert!(!script.contains(word), "{word}");
        }
    }
}
