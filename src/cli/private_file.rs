//! Files that only their owner can read, written as a whole or not at all.

use std::{
    io::{self, Write as _},
    path::Path,
};

use tempfile::NamedTempFile;

/// The reaction to a file that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// The file is replaced, with its permissions; a link is, and not the file that it leads to.
    Replaced,
    /// The file is left, and that is an error.
    Kept,
}

/// Writes a text to a file. What is no file, such as `/dev/stdout`, is written to as it is.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(path: &Path, text: &str, existing: Existing) -> io::Result<()> {
    let written = match (existing, std::fs::metadata(path)) {
        (Existing::Replaced, Ok(found)) if !found.is_file() => std::fs::write(path, text),
        _ => write_file(path, text, existing),
    };
    written.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
    })
}

fn write_file(path: &Path, text: &str, existing: Existing) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    // In the same directory, so that it can take its name; with mode 0600.
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    let persisted = match existing {
        Existing::Replaced => file.persist(path),
        Existing::Kept => file.persist_noclobber(path),
    };
    persisted.map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_that_exists_is_replaced_with_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        std::fs::write(&path, "a longer text before").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, "text", Existing::Replaced).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("plan.json"), dir.path().join("other"));
        std::fs::write(&other, "other").unwrap();
        symlink(&other, &path).unwrap();
        write(&path, "text", Existing::Replaced).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "other");
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn a_file_that_is_to_be_kept_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("world.yaml");
        write(&path, "first", Existing::Kept).unwrap();
        let error = write(&path, "second", Existing::Kept).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(error.to_string().starts_with(&format!("cannot write {}: ", path.display())));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
    }

    #[test]
    fn what_is_not_a_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        symlink("/dev/null", &path).unwrap();
        write(&path, "text", Existing::Replaced).unwrap();
        assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
    }
}
