//! moto's server on loopback.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use crate::{
    assets::{cache, folder_in},
    rise,
    stage::{Part, Slot, Stage},
    support::Tethered,
    workplace::Workplace,
};

/// Names the program, for whoever does not want to install it.
const OVERRIDE: &str = "SOP_MOTO_SERVER";

/// What `install.sh` installs; it leaves a copy beside it.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// What it says once the port is its own.
const LISTENS: &str = "Running on http://";

/// A running server. It ends with this value, and with this process.
pub(crate) struct Moto {
    /// The address of every service.
    pub(crate) url: String,
    program: Mutex<Tethered>,
    // Last, so that it goes after who writes into it.
    workplace: Arc<Workplace>,
}

impl Part for Moto {
    const NAME: &'static str = "moto";
    const FOLDER: &'static str = "moto-";
    type Assets = PathBuf;

    fn place(stage: &Stage) -> &Slot<Self> {
        &stage.moto
    }

    fn find() -> Result<PathBuf, String> {
        if let Some(program) = folder_in(OVERRIDE) {
            let found = program.is_file();
            return found
                .then(|| program.clone())
                .ok_or_else(|| format!("{OVERRIDE}: there is no {}", program.display()));
        }
        let folder = cache("moto");
        let how = "tests/control_plane/moto/install.sh installs it";
        match std::fs::read_to_string(folder.join("installed")) {
            Err(_) => Err(format!("there is none in {}: {how}", folder.display())),
            Ok(installed) if installed != REQUIREMENTS => {
                Err(format!("the one in {} is of another version: {how}", folder.display()))
            }
            // It leads to the Python that it was made with.
            Ok(_) if !folder.join("bin/python").exists() => {
                Err(format!("the Python of the one in {} is gone: {how}", folder.display()))
            }
            Ok(_) => Ok(folder.join("bin/moto_server")),
        }
    }

    async fn start_once(program: &PathBuf, workplace: Arc<Workplace>) -> Result<Self, String> {
        let said = |why: io::Error| format!("cannot start {}: {why}", program.display());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(said)?;
        let port = listener.local_addr().map_err(said)?.port().to_string();
        drop(listener);
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port]);
        let record = workplace.log("record");
        command.env("MOTO_ENABLE_RECORDING", "1").env("MOTO_RECORDER_FILEPATH", &record);
        let mut started = Tethered::start(&command, &workplace.log("moto")).map_err(said)?;
        let url = format!("http://127.0.0.1:{port}");
        let lives = || match started.ended() {
            Ok(None) => Ok(()),
            _ => Err(format!("moto ended at once: {}", workplace.last_lines("moto"))),
        };
        rise::until("moto", lives, async || workplace.says("moto", LISTENS) && answers(&url).await)
            .await?;
        Ok(Self { url, program: Mutex::new(started), workplace })
    }

    fn casualty(&self) -> Option<String> {
        let mut program = self.program.lock().expect("nobody panics with the lock held");
        match program.ended() {
            Ok(None) => None,
            end => Some(self.workplace.last_words("moto", &end)),
        }
    }

    fn workplace(&self) -> &Workplace {
        &self.workplace
    }
}

impl Moto {
    /// The file in which every request is recorded.
    pub(crate) fn record(&self) -> PathBuf {
        self.workplace.log("record")
    }

    /// Forgets everything.
    pub(crate) async fn reset(&self) {
        let answer = reqwest::Client::new().post(format!("{}/moto-api/reset", self.url));
        answer.send().await.unwrap().error_for_status().unwrap();
    }
}

async fn answers(url: &str) -> bool {
    let answer = reqwest::get(format!("{url}/moto-api/data.json")).await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
