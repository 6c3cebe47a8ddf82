//! Whether a client wants HTML: browsers and programs ask for the same path.

use axum::http::{HeaderMap, header};

/// Whether the `Accept` of a request prefers HTML to JSON. A program that names neither, or accepts anything, gets
/// JSON.
pub(in crate::server) fn prefers_html(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut html, mut json) = (None::<f32>, None::<f32>);
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality =
            parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
        let Some(quality) = quality else { continue };
        let place = match name.as_str() {
            "text/html" | "application/xhtml+xml" => &mut html,
            "application/json" => &mut json,
            _ => continue,
        };
        *place = Some(place.unwrap_or(0.0).max(quality));
    }
    html.is_some_and(|html| html > json.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_html_and_a_program_json() {
        let cases = [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", true),
            ("text/html", true),
            ("TEXT/HTML; q=0.5", true),
            ("application/json;q=0.9, text/html", true),
            ("application/json", false),
            ("application/json, text/html;q=0.9", false),
            ("application/json, text/html", false),
            ("text/html;q=0", false),
            ("text/html;q=x", false),
            ("*/*", false),
            ("text/event-stream", false),
            ("", false),
        ];
        for (accept, expected) in cases {
            let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
            assert_eq!(prefers_html(&headers), expected, "{accept}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
