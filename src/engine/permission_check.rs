//! Whether the account has the permissions that a run and its undo need, before anything is changed: all that are
//! missing at once. What cannot be checked is reported as such, and refuses no run.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt as _};

use super::{Engine, Preflight, ResumePreflight, StartError};
use crate::{
    journal::{RunTarget, StepPath, StepProgress},
    permissions::{
        self, Access, AnswerSource, AwsAccess, AwsResource, AwsResourceKind, KubernetesAccess,
        Missing, Need, PermissionReport, Place, Requirement, RunbookContext, Unchecked,
    },
    platform::{ErrorKind, aws::SimulatedCall, kubernetes::AccessQuestion},
};
use runbook::{EvaluationScope, Runbook};

/// How many questions are asked at a time.
const MAX_CONCURRENT: usize = 8;
/// The UUID at the end of an ARN that a policy cannot know.
const ANY_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// The answer about one permission.
enum Answer {
    Allowed,
    Missing(AnswerSource),
    Unknown(String),
}

impl Engine {
    /// Checks whether the account has the permissions that a run and its undo need. The leading steps that read are
    /// run, to find out the names that later steps use.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub async fn check_permissions(
        &self,
        preflight: &Preflight,
    ) -> Result<PermissionReport, StartError> {
        let reads = self.read_leading(&preflight.checked, &preflight.inputs).await;
        self.check_permissions_with(preflight, &reads.scope).await
    }

    /// The same with what the leading steps have read.
    pub(super) async fn check_permissions_with(
        &self,
        preflight: &Preflight,
        scope: &EvaluationScope,
    ) -> Result<PermissionReport, StartError> {
        let runbook = preflight.checked.runbook();
        self.check(runbook, scope, &preflight.target, |_| true).await
    }

    /// Refuses to continue a run whose remaining steps would fail, or could not be undone, for want of a permission. A
    /// run that is rolled back is never refused: it is not known which permissions only going forward needs. Does
    /// nothing where the checks were left out.
    ///
    /// # Errors
    /// [`StartError::NotPermitted`] with everything that is missing.
    pub(super) async fn ensure_permitted_to_continue(
        &self,
        preflight: &ResumePreflight,
        target: &RunTarget,
    ) -> Result<(), StartError> {
        if !self.checks_permissions || preflight.rolls_back() {
            return Ok(());
        }
        let (run, runbook) = (preflight.run(), preflight.checked().runbook());
        let mut scope = EvaluationScope::new(preflight.inputs());
        for step in &runbook.steps {
            let recorded = run.step(&StepPath::top_level(&step.id));
            if let Some(output) = recorded.and_then(StepProgress::output) {
                scope.insert(&step.id, output);
            }
        }
        let left = runbook.steps.iter().filter(|step| preflight.is_left(step));
        let left: BTreeSet<&str> = left.map(|step| step.id.as_str()).collect();
        let is_left = |step: &str| left.contains(step);
        refuse_if_denied(self.check(runbook, &scope, target, is_left).await?)
    }

    /// Checks the permissions of the steps of which `is_meant` is true.
    async fn check(
        &self,
        runbook: &Runbook,
        scope: &EvaluationScope,
        target: &RunTarget,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<PermissionReport, StartError> {
        let account = target.aws.as_ref().map(|aws| aws.account.clone());
        let context = RunbookContext { account, ..RunbookContext::default() };
        let of_run = permissions::of_run(runbook);
        let is_of_step = |need: &Need| matches!(need, Need::Step { step, .. } if is_meant(step));
        let of_steps = permissions::of_runbook(runbook, scope, &context)
            .into_iter()
            .filter(|requirement| requirement.needed_by.iter().any(is_of_step));
        let requirements = permissions::merge(of_run.into_iter().chain(of_steps));
        let simulated = self.simulate(&requirements, target).await;
        let answers = requirements.iter().enumerate().map(|(at, requirement)| {
            let simulated = simulated.get(&at).cloned();
            async move { self.answer(requirement, simulated).await }
        });
        // Made before they are streamed: a closure that borrows both could not be sent between threads.
        let answers: Vec<_> = answers.collect();
        let answers: Vec<Answer> = stream::iter(answers).buffered(MAX_CONCURRENT).collect().await;
        let mut report = PermissionReport::default();
        for (requirement, answer) in requirements.into_iter().zip(answers) {
            match answer {
                Answer::Allowed => report.allowed += 1,
                Answer::Missing(source) => report.missing.push(Missing { requirement, source }),
                Answer::Unknown(reason) => {
                    report.unchecked.push(Unchecked { requirement, reason });
                }
            }
        }
        for Unchecked { requirement, reason } in &report.unchecked {
            let permission = requirement.describe();
            tracing::debug!(
                runbook = runbook.name,
                permission,
                reason,
                "cannot check a permission"
            );
        }
        Ok(report)
    }

    async fn answer(
        &self,
        requirement: &Requirement,
        simulated: Option<Result<bool, String>>,
    ) -> Answer {
        match &requirement.access {
            Access::Kubernetes(access) => self.review(access).await,
            Access::Aws(access) => match self.try_read(access).await {
                Some(answer) => answer,
                None => match simulated {
                    Some(Ok(true)) => Answer::Allowed,
                    Some(Ok(false)) => Answer::Missing(AnswerSource::Simulated),
                    Some(Err(reason)) => Answer::Unknown(reason),
                    None => Answer::Unknown("its resource is known only in the run".into()),
                },
            },
        }
    }

    async fn review(&self, access: &KubernetesAccess) -> Answer {
        let KubernetesAccess { place, group, resource, name, verb } = access;
        let namespace = match place {
            Place::Cluster => None,
            Place::Namespace(namespace) => namespace.known(),
            Place::NamespaceAtRunTime => {
                return Answer::Unknown("its namespace is known only in the run".into());
            }
        };
        let name = name.as_ref().and_then(permissions::Value::known);
        let question = AccessQuestion { verb, group, resource, namespace, name };
        let answered =
            async { self.platform.reader().kubernetes().await?.is_allowed(question).await };
        match answered.await {
            Ok(true) => Answer::Allowed,
            Ok(false) => Answer::Missing(AnswerSource::AccessReview),
            Err(error) => Answer::Unknown(error.to_string()),
        }
    }

    /// Tries a read, if its region is known and it is a read; `None` where it cannot be tried.
    async fn try_read(&self, access: &AwsAccess) -> Option<Answer> {
        if !permissions::is_read(&access.action) {
            return None;
        }
        let (region, cluster, nodegroup) = match &access.resource {
            AwsResource::Region(region) => (region, None, None),
            AwsResource::OfCluster { region, cluster, nodegroup, .. } => {
                (region, cluster.known(), nodegroup.as_ref().and_then(permissions::Value::known))
            }
            AwsResource::Role { .. } => return None,
        };
        let aws = match self.platform.reader().aws(region.known()?).await {
            Ok(aws) => aws,
            Err(error) => return Some(Answer::Unknown(error.to_string())),
        };
        Some(match aws.try_read(&access.action, cluster, nodegroup).await? {
            Ok(()) => Answer::Allowed,
            Err(error) if is_refusal(&error) => Answer::Missing(AnswerSource::Tried),
            Err(error) => Answer::Unknown(error.to_string()),
        })
    }

    /// Lets IAM simulate the AWS requirements of which the resource is known. Returns the answers by the position of
    /// the requirement.
    async fn simulate(
        &self,
        requirements: &[Requirement],
        target: &RunTarget,
    ) -> BTreeMap<usize, Result<bool, String>> {
        let Some(aws) = &target.aws else { return BTreeMap::new() };
        let calls = requirements.iter().enumerate().filter_map(|(at, requirement)| {
            let Access::Aws(access) = &requirement.access else { return None };
            let (region, call) = simulated_call(access)?;
            Some((at, region, call))
        });
        let (mut positions, mut calls_by_position, mut any_region) = (Vec::new(), Vec::new(), None);
        for (at, region, call) in calls {
            positions.push(at);
            calls_by_position.push(call);
            any_region = Some(region);
        }
        let Some(region) = any_region else { return BTreeMap::new() };
        let answers =
            self.platform.simulate_policy(&aws.identity, &region, &calls_by_position).await;
        match answers {
            Ok(answers) => positions.into_iter().zip(answers.into_iter().map(Ok)).collect(),
            Err(error) => {
                let reason = match is_refusal(&error) {
                    true => "not checkable without iam:SimulatePrincipalPolicy".to_owned(),
                    false => format!("IAM did not simulate it: {error}"),
                };
                positions.into_iter().map(|at| (at, Err(reason.clone()))).collect()
            }
        }
    }
}

/// Returns an error when something required is missing.
pub(super) fn refuse_if_denied(report: PermissionReport) -> Result<(), StartError> {
    match report.is_denied() {
        true => Err(StartError::NotPermitted(Box::new(report))),
        false => Ok(()),
    }
}

/// Whether a call was refused for want of a permission, and not for its credentials.
fn is_refusal(error: &crate::platform::Error) -> bool {
    error.kind() == ErrorKind::Denied
        && ["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"]
            .contains(&error.code())
}

/// Returns a change as IAM simulates it, with its region; `None` where its resource is not known.
fn simulated_call(access: &AwsAccess) -> Option<(String, SimulatedCall)> {
    if permissions::is_read(&access.action) {
        return None;
    }
    let AwsResource::OfCluster { kind, region, account, cluster, nodegroup } = &access.resource
    else {
        return None;
    };
    let (region, account) = (region.known()?, account.known()?);
    let (cluster, nodegroup) = (cluster.known()?, nodegroup.as_ref()?.known()?);
    let partition = permissions::Partition::of_region(region).name();
    let eks = |rest: String| format!("arn:{partition}:eks:{region}:{account}:{rest}");
    let of_cluster = || eks(format!("cluster/{cluster}"));
    let of_nodegroup = || eks(format!("nodegroup/{cluster}/{nodegroup}/{ANY_UUID}"));
    let resources = match kind {
        AwsResourceKind::Cluster => vec![of_cluster()],
        AwsResourceKind::Nodegroup => vec![of_nodegroup()],
        AwsResourceKind::ClusterAndNodegroup => vec![of_cluster(), of_nodegroup()],
        AwsResourceKind::AutoScalingGroup => vec![format!(
            "arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:{ANY_UUID}:autoScalingGroupName/eks-{nodegroup}-{ANY_UUID}"
        )],
    };
    let context = permissions::condition(&access.resource);
    let values =
        context.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
    let context = values.chain([("aws:RequestedRegion".into(), region.to_owned())]).collect();
    Some((region.to_owned(), SimulatedCall { action: access.action.clone(), resources, context }))
}
