//! A directory in which programs run and write their logs. It is removed when this process ends, however that ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use test_support::ChildGuard;

/// The number of log lines that are shown of a program that ended before it was ready.
const LOG_TAIL_LINES: usize = 8;

/// A directory that is removed when this process ends.
pub(crate) struct ScratchDir {
    dir: PathBuf,
    _sweeper: ChildGuard,
}

impl ScratchDir {
    /// Makes a directory whose name begins with `prefix`.
    pub(crate) fn new(prefix: &str) -> io::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))?
            // From here on the sweeper has it, which also works when nothing is dropped.
            .keep();
        let sweeper = ChildGuard::remove_dir_on_exit(&dir)?;
        fs::create_dir(dir.join("log"))?;
        Ok(Self { dir, _sweeper: sweeper })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Returns the file that has a program's output.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.dir.join(format!("log/{program}.log"))
    }

    /// Whether a program's log contains a text.
    pub(crate) fn log_contains(&self, program: &str, what: &str) -> bool {
        fs::read_to_string(self.log(program)).is_ok_and(|text| text.contains(what))
    }

    /// Returns the last lines of a program's log.
    pub(crate) fn log_tail(&self, program: &str) -> String {
        let text = fs::read_to_string(self.log(program)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Says in one line how a program ended that should still run.
    pub(crate) fn exit_message(
        &self,
        program: &str,
        end: &io::Result<Option<ExitStatus>>,
    ) -> String {
        let how = match end {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => "unknown exit status".into(),
            Err(why) => why.to_string(),
        };
        let text = fs::read_to_string(self.log(program)).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        format!("{program} has ended ({how}); its last line: {last}")
    }

    /// Copies the logs to a directory that is kept, and returns that directory.
    pub(crate) fn copy_logs(&self) -> io::Result<PathBuf> {
        let name = self.dir.file_name().expect("the directory has a name");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("logs-of").join(name);
        fs::create_dir_all(&kept)?;
        for log in fs::read_dir(self.dir.join("log"))? {
            let log = log?;
            fs::copy(log.path(), kept.join(log.file_name()))?;
        }
        Ok(kept)
    }
}
