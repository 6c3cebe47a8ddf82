//! `ServiceAccounts` that may do what a runbook needs, and nothing else.

use std::{collections::BTreeMap, path::PathBuf, sync::Mutex, time::Duration};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
    core::v1::{Secret, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use rafay_relay_sop::{
    permissions::{
        RbacNames, Requirement, RunbookContext, Subject as Subjects, merge, of_runbook,
        of_snapshot, roles,
    },
    platform::kubernetes::{LEASE_NAME, LEASE_NAMESPACE},
};
use runbook::EvaluationScope;
use serde_json::Map;

use crate::fixture::{ControlPlane, kubeconfig};

/// The namespace whose UID identifies the cluster. Every run reads it.
const IDENTITY_NAMESPACE: &str = "kube-system";

/// What a run does with the lease of the cluster.
pub(crate) const LEASE_VERBS: [&str; 3] = ["get", "create", "update"];

/// What a run does with its objects, where a cluster keeps it.
pub(crate) const STORE_VERBS: [(&str, &[&str]); 3] = [
    ("runbookruns", &["get", "list", "watch", "create", "patch"]),
    ("runbookruns/status", &["patch"]),
    ("runevents", &["get", "list", "create", "delete"]),
];

/// A `ServiceAccount`, as it is used from outside the cluster.
pub(crate) struct TestServiceAccount {
    /// Identifies the account in the audit log, where earlier tests may have used the same name.
    pub(crate) uid: String,
    /// A kubeconfig that reads the token from the file `token`, as a pod does.
    pub(crate) kubeconfig: PathBuf,
    /// The file with the token.
    pub(crate) token: PathBuf,
    namespace: String,
    name: String,
    /// The secrets to which the tokens are bound, in the order in which they were made.
    bound_to: Mutex<Vec<String>>,
}

/// The permissions that are derived from a runbook. Its namespaces must have values by default.
pub(crate) fn requirements_of(text: &str) -> Vec<Requirement> {
    requirements_with(text, &[])
}

/// The permissions that are derived from a runbook with these inputs, each as `NAME=VALUE`.
fn requirements_with(text: &str, inputs: &[&str]) -> Vec<Requirement> {
    let checked = test_support::checked(text).unwrap_or_else(|why| panic!("{why}"));
    let input = |text: &&str| {
        let (name, value) = text.split_once('=').expect("an input has a value");
        (name.to_owned(), checked.runbook().parse_input(name, value).expect("a value of its type"))
    };
    let given: Map<String, serde_json::Value> = inputs.iter().map(input).collect();
    let inputs = checked.runbook().bind_known(&given).unwrap();
    let (scope, context) = (EvaluationScope::new(&inputs), RunbookContext::default());
    merge(of_runbook(checked.runbook(), &scope, &context))
}

/// The permissions of an account, besides those that every run needs.
#[derive(Default)]
pub(crate) struct Grant {
    cluster: Vec<PolicyRule>,
    /// The rules in the account's own namespace.
    namespace: Vec<PolicyRule>,
    /// The rules in named namespaces.
    others: BTreeMap<String, Vec<PolicyRule>>,
    /// The verbs on the lease of the cluster.
    lease: Vec<&'static str>,
}

impl Grant {
    /// Returns exactly the permissions that are derived from a runbook.
    pub(crate) fn for_runbook(text: &str) -> Self {
        Self::of(&requirements_of(text))
    }

    /// Returns the permissions that are derived from a runbook with these inputs, and those of a rehearsal of it.
    pub(crate) fn for_plan(text: &str, inputs: &[&str]) -> Self {
        let mut all = requirements_with(text, inputs);
        all.extend(of_snapshot(&RunbookContext::default()));
        Self::of(&merge(all))
    }

    /// Returns the permissions of requirements, and that to hold the lease.
    pub(crate) fn of(requirements: &[Requirement]) -> Self {
        let mut grant = Self::for_lease();
        let subject = Subjects::Group("not bound".into());
        for role in roles(requirements, &RbacNames { role: "derived".into(), subject }) {
            let [role, _] = role.to_json();
            let rules: Vec<PolicyRule> = serde_json::from_value(role["rules"].clone()).unwrap();
            match role["metadata"]["namespace"].as_str() {
                Some(namespace) => {
                    grant.others.entry(namespace.to_owned()).or_default().extend(rules);
                }
                None => grant.cluster.extend(rules),
            }
        }
        grant
    }

    /// Removes a verb on a resource in each namespace.
    pub(crate) fn without(mut self, verb: &str, resource: &str) -> Self {
        for rules in self.others.values_mut().chain([&mut self.namespace]) {
            let of_it = |rule: &&mut PolicyRule| rule.resources == Some(vec![resource.to_owned()]);
            for rule in rules.iter_mut().filter(of_it) {
                rule.verbs.retain(|granted| granted != verb);
            }
            rules.retain(|rule| !rule.verbs.is_empty());
        }
        self
    }

    /// Returns no permission.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Adds a permission in the account's namespace.
    pub(crate) fn with(mut self, rule: PolicyRule) -> Self {
        self.namespace.push(rule);
        self
    }

    /// Returns the permission to hold the lease of the cluster, and nothing else.
    pub(crate) fn for_lease() -> Self {
        Self { lease: LEASE_VERBS.to_vec(), ..Self::default() }
    }

    /// Returns the permission to keep runs in the account's namespace, with Kubernetes Events of their steps, and to hold
    /// the lease of the cluster.
    pub(crate) fn for_store() -> Self {
        Self::for_lease().and_store()
    }

    /// Adds the permission to keep runs in the account's namespace.
    pub(crate) fn and_store(mut self) -> Self {
        for (resource, verbs) in STORE_VERBS {
            self.namespace.push(rule("sop.rafay.dev", resource, verbs));
        }
        self.namespace.push(rule("events.k8s.io", "events", &["create", "patch"]));
        self
    }

    /// Adds the permission to write Kubernetes Events on what runs change, as the service does.
    pub(crate) fn and_object_events(mut self) -> Self {
        self.cluster.push(rule("events.k8s.io", "events", &["create"]));
        self
    }

    /// Removes a verb on the lease of the cluster.
    pub(crate) fn without_on_lease(mut self, verb: &str) -> Self {
        self.lease.retain(|granted| *granted != verb);
        self
    }
}

pub(crate) fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        api_group: Some("rbac.authorization.k8s.io".into()),
        kind: kind.into(),
        name: name.to_owned(),
    }
}

impl TestServiceAccount {
    /// Returns an account that is there already, with the permissions that it has.
    pub(crate) async fn existing(plane: &ControlPlane, namespace: &str, name: &str) -> Self {
        let mut account = Self::unmade(plane, namespace, name);
        let accounts = Api::<ServiceAccount>::namespaced(plane.client.clone(), namespace);
        let found = accounts.get(name).await.unwrap();
        account.uid = found.metadata.uid.expect("what is there has a UID");
        account.write_kubeconfig(plane).await;
        account.wait_until_permitted("get", "namespaces", IDENTITY_NAMESPACE).await;
        account
    }

    /// Makes an account that may do what is granted, and waits until the API server knows.
    pub(crate) async fn new(
        plane: &ControlPlane,
        namespace: &str,
        name: &str,
        grant: Grant,
    ) -> Self {
        let mut account = Self::unmade(plane, namespace, name);
        let client = &plane.client;
        let object: ServiceAccount = account.named_object();
        let made = create(Api::namespaced(client.clone(), namespace), &object).await;
        account.uid = made.metadata.uid.expect("what is made has a UID");
        let has_lease = grant.lease.contains(&"update");
        account.apply_grant(client, grant).await;
        account.write_kubeconfig(plane).await;
        account.wait_until_permitted("get", "namespaces", IDENTITY_NAMESPACE).await;
        if has_lease {
            account
                .wait_until_allowed(ResourceAttributes {
                    verb: Some("update".into()),
                    group: Some("coordination.k8s.io".into()),
                    resource: Some("leases".into()),
                    name: Some(LEASE_NAME.into()),
                    namespace: Some(LEASE_NAMESPACE.into()),
                    ..ResourceAttributes::default()
                })
                .await;
        }
        account
    }

    fn unmade(plane: &ControlPlane, namespace: &str, name: &str) -> Self {
        Self {
            uid: String::new(),
            kubeconfig: plane.test_dir().join(format!("{namespace}-{name}.kubeconfig")),
            token: plane.test_dir().join(format!("{namespace}-{name}.token")),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            bound_to: Mutex::default(),
        }
    }

    /// Writes a token, and a kubeconfig that names its file.
    async fn write_kubeconfig(&self, plane: &ControlPlane) {
        self.renew_token(plane).await;
        let user = format!("tokenFile: \"{}\"", self.token.display());
        let url = format!("https://127.0.0.1:{}", plane.load_balancer.port);
        let text = kubeconfig(&url, &plane.certificate(), &user);
        std::fs::write(&self.kubeconfig, text).unwrap();
    }

    /// Lets it do what is granted, and nothing else, from some time soon.
    pub(crate) async fn replace_grant(&self, plane: &ControlPlane, grant: Grant) {
        self.apply_grant(&plane.client, grant).await;
    }

    /// Lets it do something else from now on: what is granted, of which this is new.
    pub(crate) async fn regrant(
        &self,
        plane: &ControlPlane,
        grant: Grant,
        (verb, resource): (&str, &str),
    ) {
        self.apply_grant(&plane.client, grant).await;
        self.wait_until_permitted(verb, resource, "any").await;
    }

    /// Returns a client with the token that is in the file now, which it does not read again.
    pub(crate) async fn client_with_current_token(&self, plane: &ControlPlane) -> Client {
        let token = std::fs::read_to_string(&self.token).unwrap();
        let url = format!("https://127.0.0.1:{}", plane.load_balancer.port);
        let text = kubeconfig(&url, &plane.certificate(), &format!("token: {token}"));
        client_of(Kubeconfig::from_yaml(&text).unwrap()).await
    }

    /// Puts a fresh token into the file. It is bound to a secret of its own.
    pub(crate) async fn renew_token(&self, plane: &ControlPlane) {
        let secrets = Api::<Secret>::namespaced(plane.client.clone(), &self.namespace);
        let mut secret: Secret = self.named_object();
        secret.metadata.name = Some(format!("{}-{}", self.name, uuid::Uuid::new_v4().simple()));
        let secret = secrets.create(&PostParams::default(), &secret).await.unwrap();
        let accounts = Api::<ServiceAccount>::namespaced(plane.client.clone(), &self.namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(3600),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Secret".into()),
                name: secret.metadata.name.clone(),
                uid: secret.metadata.uid,
            }),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let response = accounts
            .create_token_request(&self.name, &PostParams::default(), &request)
            .await
            .unwrap();
        let token = response.status.and_then(|status| status.token).expect("it was asked for");
        std::fs::write(&self.token, token).unwrap();
        let name = secret.metadata.name.expect("it was given one");
        self.bound_to.lock().expect("no holder panics").push(name);
    }

    /// Makes the token invalid that was in the file at first, as if its time were over.
    pub(crate) async fn revoke_first_token(&self, plane: &ControlPlane) {
        let first = self.bound_to.lock().expect("no holder panics")[0].clone();
        let secrets = Api::<Secret>::namespaced(plane.client.clone(), &self.namespace);
        secrets.delete(&first, &DeleteParams::default()).await.unwrap();
    }

    async fn apply_grant(&self, client: &Client, mut grant: Grant) {
        grant.cluster.push(PolicyRule {
            resource_names: Some(vec![IDENTITY_NAMESPACE.to_owned()]),
            ..rule("", "namespaces", &["get"])
        });
        // Names outside of its namespace carry the namespace, so that two accounts do not meet.
        let wide_name = format!("{}-{}", self.namespace, self.name);
        let metadata = ObjectMeta { name: Some(wide_name.clone()), ..ObjectMeta::default() };
        let role = ClusterRole {
            metadata: metadata.clone(),
            rules: Some(grant.cluster),
            ..ClusterRole::default()
        };
        let role_ref = role_ref("ClusterRole", &wide_name);
        let binding = ClusterRoleBinding { role_ref, metadata, subjects: Some(self.subjects()) };
        create(Api::all(client.clone()), &role).await;
        create(Api::all(client.clone()), &binding).await;
        let own = grant.others.entry(self.namespace.clone()).or_default();
        own.extend(grant.namespace);
        for (namespace, rules) in grant.others {
            self.grant_in(client, &namespace, &wide_name, rules).await;
        }
        // What is to be created has no name yet for the authorizer.
        let lease_rule = |verb: &&str| PolicyRule {
            resource_names: (*verb != "create").then(|| vec![LEASE_NAME.to_owned()]),
            ..rule("coordination.k8s.io", "leases", &[*verb])
        };
        let lease_rules: Vec<PolicyRule> = grant.lease.iter().map(lease_rule).collect();
        if !lease_rules.is_empty() {
            self.grant_in(client, LEASE_NAMESPACE, &wide_name, lease_rules).await;
        }
    }

    /// Grants permissions in one namespace, by a role and a binding of that name.
    async fn grant_in(&self, client: &Client, namespace: &str, name: &str, rules: Vec<PolicyRule>) {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let role = Role { metadata: metadata.clone(), rules: Some(rules) };
        let role_ref = role_ref("Role", name);
        let binding = RoleBinding { role_ref, metadata, subjects: Some(self.subjects()) };
        create(Api::namespaced(client.clone(), namespace), &role).await;
        create(Api::namespaced(client.clone(), namespace), &binding).await;
    }

    fn subjects(&self) -> Vec<Subject> {
        vec![Subject {
            kind: "ServiceAccount".into(),
            name: self.name.clone(),
            namespace: Some(self.namespace.clone()),
            ..Subject::default()
        }]
    }

    fn named_object<K: kube::Resource<DynamicType = ()> + Default>(&self) -> K {
        let mut object = K::default();
        object.meta_mut().name = Some(self.name.clone());
        object.meta_mut().namespace = Some(self.namespace.clone());
        object
    }

    /// Waits until the account may make a call in its namespace.
    async fn wait_until_permitted(&self, verb: &str, resource: &str, name: &str) {
        self.wait_until_allowed(ResourceAttributes {
            verb: Some(verb.into()),
            resource: Some(resource.into()),
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            ..ResourceAttributes::default()
        })
        .await;
    }

    /// Waits until the authorizer, which has its own watch on roles, permits the call.
    async fn wait_until_allowed(&self, call: ResourceAttributes) {
        let client = self.client().await;
        let reviews = Api::<SelfSubjectAccessReview>::all(client);
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(call),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        for _ in 0..200 {
            let response = reviews.create(&PostParams::default(), &review).await;
            if response.is_ok_and(|review| review.status.is_some_and(|status| status.allowed)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{}/{} does not get its permissions", self.namespace, self.name);
    }

    /// A client that acts as this account.
    pub(crate) async fn client(&self) -> Client {
        client_of(Kubeconfig::read_from(&self.kubeconfig).unwrap()).await
    }
}

async fn client_of(kubeconfig: Kubeconfig) -> Client {
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Makes an object; one that an earlier test has left is replaced.
async fn create<K>(api: Api<K>, object: &K) -> K
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug,
    K: serde::de::DeserializeOwned + serde::Serialize,
{
    let name = object.meta().name.as_deref().unwrap();
    // Not there is as good as gone.
    let _ = api.delete(name, &DeleteParams::default()).await;
    api.create(&PostParams::default(), object).await.unwrap()
}
