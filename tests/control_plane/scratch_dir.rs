//! A folder in which programs run and leave their logs. It goes with this process, whatever that dies of.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use test_support::ChildGuard;

/// How much of a program's log is shown when it ended before it did its work.
const LOG_TAIL_LINES: usize = 8;

/// Such a folder.
pub(crate) struct ScratchDir {
    dir: PathBuf,
    _sweeper: ChildGuard,
}

impl ScratchDir {
    /// Makes one whose name begins with `prefix`.
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

    /// Where a program's output goes.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.dir.join(format!("log/{program}.log"))
    }

    /// Whether a program has said something.
    pub(crate) fn log_contains(&self, program: &str, what: &str) -> bool {
        fs::read_to_string(self.log(program)).is_ok_and(|text| text.contains(what))
    }

    /// What a program said last.
    pub(crate) fn log_tail(&self, program: &str) -> String {
        let text = fs::read_to_string(self.log(program)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// In one line, how a program ended that was to go on.
    pub(crate) fn exit_message(
        &self,
        program: &str,
        end: &io::Result<Option<ExitStatus>>,
    ) -> String {
        let how = match end {
            Ok(Some(status)) => status.to_string(),
            Ok(None) => "nobody knows how".into(),
            Err(why) => why.to_string(),
        };
        let text = fs::read_to_string(self.log(program)).unwrap_or_default();
        let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        format!("{program} has ended ({how}); it said last: {last}")
    }

    /// Copies the logs to where they outlive the folder, and says where.
    pub(crate) fn copy_logs(&self) -> io::Result<PathBuf> {
        let name = self.dir.file_name().expect("the folder was made with a name");
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("logs-of").join(name);
        fs::create_dir_all(&kept)?;
        for log in fs::read_dir(self.dir.join("log"))? {
            let log = log?;
            fs::copy(log.path(), kept.join(log.file_name()))?;
        }
        Ok(kept)
    }
}
