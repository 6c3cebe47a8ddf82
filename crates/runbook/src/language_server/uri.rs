//! The URIs of files.

use std::path::{Path, PathBuf};

/// Returns the path of a `file:` URI.
pub(super) fn to_path(uri: &str) -> Option<PathBuf> {
    let path = uri.strip_prefix("file://")?;
    // The host is empty, or this one.
    let path = path.strip_prefix("localhost").unwrap_or(path);
    let path = decode(path)?;
    let is_drive = |path: &str| path.as_bytes().get(1) == Some(&b':');
    Some(match path.strip_prefix('/') {
        Some(rest) if is_drive(rest) => PathBuf::from(rest),
        Some(_) => PathBuf::from(path),
        None => return None,
    })
}

/// Returns the URI of a file.
pub(super) fn from_path(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let mut uri = "file://".to_owned();
    let path = absolute.to_string_lossy().replace('\\', "/");
    if !path.starts_with('/') {
        uri.push('/');
    }
    for byte in path.bytes() {
        match plain(byte) {
            true => uri.push(char::from(byte)),
            false => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_uri_agree() {
        let path = Path::new("/home/ä b/r#1/x%y.yaml");
        let uri = from_path(path);
        assert_eq!(uri, "file:///home/%C3%A4%20b/r%231/x%25y.yaml");
        assert_eq!(to_path(&uri).as_deref(), Some(path));
        assert_eq!(to_path("file:///c%3A/x.yaml"), Some(PathBuf::from("c:/x.yaml")));
        for uri in ["untitled:Untitled-1", "file://", "file:///%4", "file:///%FF", "file://other"] {
            assert_eq!(to_path(uri), None, "{uri}");
        }
    }
}
