//! moto's server on loopback.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use crate::{
    assets::{cache, path_from_env},
    environment::{Service, Slot, TestEnvironment},
    scratch_dir::ScratchDir,
    startup,
};
use test_support::ChildGuard;

/// The variable that names the program, so that it need not be installed.
const OVERRIDE: &str = "SOP_MOTO_SERVER";

/// The requirements that `install.sh` installs; it keeps a copy beside the installation.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The log line that moto writes once it listens.
const LISTENS: &str = "Running on http://";

/// A running server. It ends with this value, and with this process.
pub(crate) struct Moto {
    /// The address of every service.
    pub(crate) url: String,
    program: Mutex<ChildGuard>,
    // Last, so that it goes after who writes into it.
    scratch_dir: Arc<ScratchDir>,
}

impl Service for Moto {
    const NAME: &'static str = "moto";
    const DIR_PREFIX: &'static str = "moto-";
    type Assets = PathBuf;

    fn slot(environment: &TestEnvironment) -> &Slot<Self> {
        &environment.moto
    }

    fn find() -> Result<PathBuf, String> {
        if let Some(program) = path_from_env(OVERRIDE) {
            let found = program.is_file();
            return found
                .then(|| program.clone())
                .ok_or_else(|| format!("{OVERRIDE}: there is no {}", program.display()));
        }
        let dir = cache("moto");
        let how = "tests/control_plane/moto/install.sh installs it";
        match std::fs::read_to_string(dir.join("installed")) {
            Err(_) => Err(format!("there is none in {}: {how}", dir.display())),
            Ok(installed) if installed != REQUIREMENTS => {
                Err(format!("the one in {} is of another version: {how}", dir.display()))
            }
            // It leads to the Python that it was made with.
            Ok(_) if !dir.join("bin/python").exists() => {
                Err(format!("the Python of the one in {} is gone: {how}", dir.display()))
            }
            Ok(_) => Ok(dir.join("bin/moto_server")),
        }
    }

    async fn start_once(program: &PathBuf, scratch_dir: Arc<ScratchDir>) -> Result<Self, String> {
        let describe_error = |why: io::Error| format!("cannot start {}: {why}", program.display());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(describe_error)?;
        let port = listener.local_addr().map_err(describe_error)?.port().to_string();
        drop(listener);
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port]);
        let record = scratch_dir.log("record");
        command.env("MOTO_ENABLE_RECORDING", "1").env("MOTO_RECORDER_FILEPATH", &record);
        let mut started =
            ChildGuard::start(&command, &scratch_dir.log("moto")).map_err(describe_error)?;
        let url = format!("http://127.0.0.1:{port}");
        let check_alive = || match started.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(format!("moto ended at once: {}", scratch_dir.log_tail("moto"))),
        };
        startup::wait_until("moto", check_alive, async || {
            scratch_dir.log_contains("moto", LISTENS) && is_ready(&url).await
        })
        .await?;
        Ok(Self { url, program: Mutex::new(started), scratch_dir })
    }

    fn crashed(&self) -> Option<String> {
        let mut program = self.program.lock().expect("no holder panics");
        match program.try_wait() {
            Ok(None) => None,
            end => Some(self.scratch_dir.exit_message("moto", &end)),
        }
    }

    fn scratch_dir(&self) -> &ScratchDir {
        &self.scratch_dir
    }
}

impl Moto {
    /// The file in which every request is recorded.
    pub(crate) fn request_log_path(&self) -> PathBuf {
        self.scratch_dir.log("record")
    }

    /// Forgets everything.
    pub(crate) async fn reset(&self) {
        let answer = reqwest::Client::new().post(format!("{}/moto-api/reset", self.url));
        answer.send().await.unwrap().error_for_status().unwrap();
    }
}

async fn is_ready(url: &str) -> bool {
    let answer = reqwest::get(format!("{url}/moto-api/data.json")).await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
