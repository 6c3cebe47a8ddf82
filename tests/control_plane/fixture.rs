//! A real control plane on loopback: etcd, kube-apiserver (RBAC on, ServiceAccount tokens, an audit log),
//! kube-controller-manager, kube-scheduler, and kwok in the place of the kubelets.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client, config::KubeConfigOptions, config::Kubeconfig};

use crate::{
    assets::Assets,
    balancer::Balancer,
    cluster::until,
    programs::{Ports, Specification, specifications},
    rise,
    stage::{Part, Slot, Stage},
    support::Tethered,
    workplace::Workplace,
};

/// A running control plane. It ends with this value, and with this process.
pub(crate) struct ControlPlane {
    pub(crate) client: Client,
    /// Where the accounts of the tests find the API server.
    pub(crate) balancer: Balancer,
    store_url: String,
    specifications: Vec<Specification>,
    programs: Mutex<Vec<(&'static str, Tethered)>>,
    // Last, so that it goes after those who write into it.
    workplace: Arc<Workplace>,
}

impl Part for ControlPlane {
    const NAME: &'static str = "the control plane";
    const FOLDER: &'static str = "control-plane-";
    type Assets = Assets;

    fn place(stage: &Stage) -> &Slot<Self> {
        &stage.plane
    }

    fn find() -> Result<Assets, String> {
        Assets::find()
    }

    async fn start_once(assets: &Assets, workplace: Arc<Workplace>) -> Result<Self, String> {
        let said = |why: io::Error| format!("cannot start a control plane: {why}");
        let folder = workplace.path();
        let ports = Ports::choose().map_err(said)?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        lay_out(folder, &ports, &token).map_err(said)?;
        let specifications = specifications(assets, folder, &ports);
        let mut started = Started { workplace: &workplace, programs: Vec::new() };
        started.add(&specifications[0])?;
        started.add(&specifications[1])?;
        let certificate = folder.join("certs/apiserver.crt");
        started.until("the API server's certificate", async || certificate.is_file()).await?;
        let client = client(&folder.join("kubeconfig")).await?;
        started.until("the API server", async || ready(&client).await).await?;
        for specification in &specifications[2..] {
            started.add(specification)?;
        }
        // The controller manager makes it.
        started
            .until("the controllers", async || has_default_account(&client, "default").await)
            .await?;
        let programs = Mutex::new(started.programs);
        let balancer = Balancer::start(ports.api).await.map_err(said)?;
        let store_url = ports.store();
        Ok(Self { client, balancer, store_url, specifications, programs, workplace })
    }

    fn casualty(&self) -> Option<String> {
        let mut programs = self.programs.lock().expect("nobody panics with the lock held");
        programs.iter_mut().find_map(|(name, program)| match program.ended() {
            Ok(None) => None,
            end => Some(self.workplace.last_words(name, &end)),
        })
    }

    fn workplace(&self) -> &Workplace {
        &self.workplace
    }
}

impl ControlPlane {
    /// A kubeconfig file of somebody who may do everything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.workplace.path().join("kubeconfig")
    }

    /// The certificate by which the API server is recognised.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.workplace.path().join("certs/apiserver.crt")
    }

    /// The audit log, one event a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.workplace.path().join("log/audit.log")
    }

    /// A folder for what a test writes; it goes with the control plane.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.workplace.path().join("scratch")
    }

    /// Kills the API server, and starts it again on the same port after `absence`. Nobody gets to it before it is
    /// ready, as where a load balancer stands before it.
    pub(crate) async fn restart_api_server(&self, absence: Duration) {
        self.balancer.close();
        self.restart_api_server_in_view(absence).await;
        self.balancer.open();
    }

    /// The same without the load balancer's help: one that has just started listens before it knows the roles, and
    /// refuses everybody.
    pub(crate) async fn restart_api_server_in_view(&self, absence: Duration) {
        self.stop("kube-apiserver");
        tokio::time::sleep(absence).await;
        self.start_again("kube-apiserver");
        until("the API server's return", async || ready(&self.client).await).await;
    }

    /// Restarts the API server on a store that has gone on meanwhile and has forgotten what was before: whoever wants
    /// to go on with a watch is told 410.
    pub(crate) async fn lose_the_past(&self) {
        self.balancer.close();
        self.stop("kube-apiserver");
        // Any key does; what counts is the store's revision.
        let mut revision = 0;
        for _ in 0..10 {
            let put = serde_json::json!({"key": "anV0", "value": "anV0"});
            let answer = self.store("put", &put).await;
            let text = answer["header"]["revision"].as_str().expect("etcd numbers its answers");
            revision = text.parse::<i64>().expect("a revision is a number");
        }
        self.store("compaction", &serde_json::json!({"revision": revision, "physical": true}))
            .await;
        self.restart_api_server(Duration::ZERO).await;
    }

    /// Asks etcd, through its JSON gateway.
    async fn store(&self, what: &str, request: &serde_json::Value) -> serde_json::Value {
        let url = format!("{}/v3/kv/{what}", self.store_url);
        let client = reqwest::Client::new();
        let answer = client.post(url).json(request).send().await.expect("etcd lives");
        answer.error_for_status().expect("etcd does it").json().await.expect("etcd speaks JSON")
    }

    fn stop(&self, name: &str) {
        let mut programs = self.programs.lock().expect("nobody panics with the lock held");
        programs.retain(|(running, _)| *running != name);
    }

    fn start_again(&self, name: &str) {
        let specification = self.specifications.iter().find(|one| one.name == name).unwrap();
        let started = specification.start(&self.workplace).unwrap();
        self.programs
            .lock()
            .expect("nobody panics with the lock held")
            .push((specification.name, started));
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The API server goes before its store, or it fills the log with complaints.
        if let Ok(programs) = self.programs.get_mut() {
            while programs.pop().is_some() {}
        }
    }
}

/// The programs so far, while the rest is being started.
struct Started<'a> {
    workplace: &'a Workplace,
    programs: Vec<(&'static str, Tethered)>,
}

impl Started<'_> {
    fn add(&mut self, specification: &Specification) -> Result<(), String> {
        let started = specification.start(self.workplace);
        let started =
            started.map_err(|why| format!("cannot start {}: {why}", specification.name))?;
        self.programs.push((specification.name, started));
        Ok(())
    }

    /// Waits for a condition that the programs so far are to bring about.
    async fn until(&mut self, what: &str, holds: impl AsyncFnMut() -> bool) -> Result<(), String> {
        rise::until(what, || self.all_live(), holds).await
    }

    fn all_live(&mut self) -> Result<(), String> {
        for (name, program) in &mut self.programs {
            if !matches!(program.ended(), Ok(None)) {
                let said = self.workplace.last_lines(name);
                return Err(format!("{name} ended at once: {said}"));
            }
        }
        Ok(())
    }
}

fn lay_out(folder: &Path, ports: &Ports, token: &str) -> io::Result<()> {
    for part in ["certs", "scratch"] {
        fs::create_dir_all(folder.join(part))?;
    }
    fs::write(folder.join("tokens.csv"), format!("{token},admin,admin,system:masters\n"))?;
    fs::write(folder.join("stages.yaml"), include_str!("stages.yaml"))?;
    // Only what the ServiceAccounts of the tests do is of interest: a watch when it begins, all else when it is done.
    fs::write(
        folder.join("audit-policy.yaml"),
        "apiVersion: audit.k8s.io/v1\n\
         kind: Policy\n\
         omitStages: [RequestReceived]\n\
         rules:\n\
         - {level: Metadata, userGroups: ['system:serviceaccounts'], verbs: [watch], omitStages: [ResponseComplete]}\n\
         - {level: Metadata, userGroups: ['system:serviceaccounts'], omitStages: [ResponseStarted]}\n\
         - {level: None}\n",
    )?;
    // The API server signs its own certificate, and puts its authority's beside it in the same file.
    let url = format!("https://127.0.0.1:{}", ports.api);
    let certificate = folder.join("certs/apiserver.crt");
    fs::write(folder.join("kubeconfig"), kubeconfig(&url, &certificate, &format!("token: {token}")))
}

/// A kubeconfig of one context, for a user described by one line of YAML.
pub(crate) fn kubeconfig(url: &str, certificate: &Path, user: &str) -> String {
    let mut text = String::from("apiVersion: v1\nkind: Config\ncurrent-context: real\n");
    let certificate = certificate.display();
    let _ = writeln!(
        text,
        "clusters: [{{name: real, cluster: {{server: \"{url}\", certificate-authority: \"{certificate}\"}}}}]\n\
         users: [{{name: user, user: {{{user}}}}}]\n\
         contexts: [{{name: real, context: {{cluster: real, user: user}}}}]"
    );
    text
}

async fn client(kubeconfig: &Path) -> Result<Client, String> {
    let said = |why: &dyn std::fmt::Display| format!("{}: {why}", kubeconfig.display());
    let config = Kubeconfig::read_from(kubeconfig).map_err(|why| said(&why))?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .map_err(|why| said(&why))?;
    // A test wants to see a refusal, not to have it repeated for minutes.
    config.default_retry = false;
    Client::try_from(config).map_err(|why| said(&why))
}

async fn ready(client: &Client) -> bool {
    let request = axum::http::Request::get("/readyz").body(Vec::new()).expect("the path is one");
    client.request_text(request).await.is_ok()
}

/// Pods cannot be made in a namespace before this account is there.
pub(crate) async fn has_default_account(client: &Client, namespace: &str) -> bool {
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    matches!(accounts.get_opt("default").await, Ok(Some(_)))
}
