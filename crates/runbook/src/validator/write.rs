//! Writes a fixed text in place of the file that it was read from.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Replaces the text of a file at once: a reader sees the old text or the new one, and a failure leaves the old one.
/// The permissions stay, and so does a link to the file.
///
/// # Errors
/// The file has another text than `old` by now, or the new one cannot be written.
pub(super) fn replace(path: &Path, old: &str, new: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let permissions = fs::metadata(&path)?.permissions();
    let (temporary, mut file) = create_beside(&path)?;
    let written = file
        .write_all(new.as_bytes())
        .and_then(|()| file.set_permissions(permissions))
        .and_then(|()| file.sync_all())
        .and_then(|()| ensure_unchanged(&path, old))
        .and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// An editor may have saved the file meanwhile.
fn ensure_unchanged(path: &Path, old: &str) -> io::Result<()> {
    if fs::read(path)? == old.as_bytes() {
        return Ok(());
    }
    Err(io::Error::other("the file was changed meanwhile"))
}

/// Creates a hidden file in the same directory, which is on the same file system. Hidden files are not checked.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    const MAX_TRIES: u32 = 100;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut last = io::Error::other("no name is free");
    for number in 0..MAX_TRIES {
        let temporary = path.with_file_name(format!(".{name}.{}-{number}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
