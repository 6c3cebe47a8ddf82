//! The program's requests, as moto has recorded them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::Moto;

/// The part of the user agent that distinguishes the program's calls from those of the tests.
const PROGRAM_USER_AGENT: &str = "app/rafay-relay-sop";

/// The record from a certain moment on.
pub(crate) struct RequestLog {
    file: PathBuf,
    start: usize,
}

#[derive(Deserialize)]
struct LoggedRequest {
    headers: BTreeMap<String, String>,
    method: String,
    url: String,
    body: String,
    body_encoded: bool,
}

impl RequestLog {
    /// Starts a record of the requests that follow.
    pub(crate) fn start(moto: &Moto) -> Self {
        let file = moto.request_log_path();
        let start = std::fs::read(&file).map_or(0, |text| text.len());
        Self { file, start }
    }

    /// The parameters of each call of that name that the program has made, in order. For the services with query
    /// parameters: Auto Scaling, EC2, STS.
    pub(crate) fn calls(&self, action: &str) -> Vec<BTreeMap<String, String>> {
        let parameters = self.entries().into_iter().map(|entry| entry.parameters());
        parameters.filter(|call| call.get("Action").is_some_and(|name| name == action)).collect()
    }

    /// Returns the changes of nodegroups that were requested from EKS, in order.
    pub(crate) fn updates(&self) -> Vec<Value> {
        let entries = self.entries();
        let updates = entries.iter().filter(|entry| entry.is_update());
        updates.map(|entry| serde_json::from_slice(&entry.body()).unwrap()).collect()
    }

    /// Returns the names of the calls that change something, in order.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.entries().iter().filter_map(LoggedRequest::change).collect()
    }

    fn entries(&self) -> Vec<LoggedRequest> {
        let text = std::fs::read_to_string(&self.file).unwrap();
        // Two calls at once may be written into one another; only those of the tests are that long.
        let entries = text[self.start..].lines().filter_map(|line| serde_json::from_str(line).ok());
        entries.filter(LoggedRequest::is_of_program).collect()
    }
}

impl LoggedRequest {
    fn is_of_program(&self) -> bool {
        self.headers.values().any(|value| value.contains(PROGRAM_USER_AGENT))
    }

    fn body(&self) -> Vec<u8> {
        if self.body_encoded {
            aws_smithy_types::base64::decode(&self.body).unwrap()
        } else {
            self.body.clone().into_bytes()
        }
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        url::form_urlencoded::parse(&self.body()).into_owned().collect()
    }

    fn is_update(&self) -> bool {
        self.url.ends_with("/update-config") && self.method == "POST"
    }

    fn change(&self) -> Option<String> {
        if self.is_update() {
            return Some("UpdateNodegroupConfig".into());
        }
        let action = self.parameters().remove("Action")?;
        let is_read = ["Describe", "Get", "List"].iter().any(|verb| action.starts_with(verb));
        (!is_read).then_some(action)
    }
}
