//! Whether the account has the permissions that a run and its undo need, before anything is changed: all that are
//! missing at once. What cannot be checked is reported as such, and refuses no run.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use futures::{
    future::join_all,
    stream::{self, StreamExt as _},
};
use serde_json::{Map, Value};
use tokio::time::error::Elapsed;

use super::{
    CheckedRunbook, Engine, Preflight, ResumePreflight, StartError, preview::LeadingReads,
};
use crate::{
    actions,
    journal::{RunTarget, StepPath},
    permissions::{
        self, Access, AnswerSource, AwsAccess, AwsResource, AwsResourceKind, KubernetesAccess,
        Missing, Need, PermissionReport, Place, Requirement, RunbookContext, Unchecked,
    },
    platform::{
        ErrorKind,
        aws::{NodegroupArns, SimulatedCall, Simulation},
        kubernetes::AccessQuestion,
    },
};
use runbook::{EvaluationScope, Reversibility, Runbook, Step};

/// How many questions are asked at a time.
const MAX_CONCURRENT: usize = 8;
/// How long all questions together may take. A run does not need the answers.
const LIMIT: Duration = Duration::from_secs(15);
/// How long the leading steps may read before a run.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Why a permission is not checked for which there was no time.
const NO_ANSWER: &str = "no answer within 15 s";

/// The answer about one permission.
#[derive(Debug, Clone)]
enum Answer {
    Allowed,
    Missing(AnswerSource),
    Unknown(String),
}

impl Engine {
    /// Checks whether the account has the permissions that a run and its undo need. The leading steps that read are
    /// run, to find out the names that later steps use.
    pub async fn check_permissions(&self, preflight: &Preflight) -> PermissionReport {
        let reads = self.read_leading_in_time(&preflight.checked, &preflight.inputs).await;
        self.check_permissions_with(preflight, &reads).await
    }

    /// The same with what the leading steps have read.
    pub(super) async fn check_permissions_with(
        &self,
        preflight: &Preflight,
        reads: &LeadingReads,
    ) -> PermissionReport {
        let runbook = preflight.checked.runbook();
        self.check(runbook, &reads.scope, &preflight.target, |_| true, reads.why_incomplete()).await
    }

    /// Runs the leading steps that read, as far as there is time.
    pub(super) async fn read_leading_in_time(
        &self,
        checked: &CheckedRunbook,
        inputs: &Map<String, Value>,
    ) -> LeadingReads {
        let reads = tokio::time::timeout(READ_LIMIT, self.read_leading(checked, inputs)).await;
        reads.unwrap_or_else(|_| LeadingReads::none(inputs))
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
        let scope = preflight.scope();
        // A step that has changed something may have to be undone when a later one fails.
        let may_be_undone = |step: &Step| {
            run.has_decided(&StepPath::top_level(&step.id))
                && (step.call.is_some() || is_reversible(&step.action))
        };
        let needed =
            runbook.steps.iter().filter(|step| preflight.is_left(step) || may_be_undone(step));
        let needed: BTreeSet<&str> = needed.map(|step| step.id.as_str()).collect();
        let is_needed = |step: &str| needed.contains(step);
        refuse_if_denied(self.check(runbook, &scope, target, is_needed, None).await)
    }

    /// Checks the permissions of the steps of which `is_meant` is true. `unread` says why the names that a leading step
    /// was to read are not known.
    async fn check(
        &self,
        runbook: &Runbook,
        scope: &EvaluationScope,
        target: &RunTarget,
        is_meant: impl Fn(&str) -> bool,
        unread: Option<String>,
    ) -> PermissionReport {
        let account = target.aws.as_ref().map(|aws| aws.account.clone());
        let context = RunbookContext { account, ..RunbookContext::default() };
        let of_run = permissions::of_run(runbook);
        // Of a called runbook, the step that calls it counts.
        let top = |step: &str| step.split('/').next().unwrap_or_default().to_owned();
        let is_of_step =
            |need: &Need| matches!(need, Need::Step { step, .. } if is_meant(&top(step)));
        let of_steps = permissions::of_runbook(runbook, scope, &context)
            .into_iter()
            .filter(|requirement| requirement.needed_by.iter().any(is_of_step));
        // A narrow one is asked for even where a wide one covers it: the wide one may be unknown.
        let requirements = permissions::merge_equal(of_run.into_iter().chain(of_steps));
        let deadline = tokio::time::Instant::now() + LIMIT;
        let questions = requirements.iter().enumerate().map(|(at, requirement)| {
            let answered = async move {
                let answer = tokio::time::timeout_at(deadline, self.answer(requirement)).await;
                (at, answered_in_time(answer))
            };
            (matches!(requirement.access, Access::Aws(_)), answered)
        });
        // What is slow must not hold up the other questions. The futures are made before they are streamed: a closure
        // that borrows both could not be sent between threads.
        let (aws, kubernetes): (Vec<_>, Vec<_>) = questions.partition(|(is_aws, _)| *is_aws);
        let asked = |questions: Vec<(bool, _)>| {
            let questions: Vec<_> = questions.into_iter().map(|(_, question)| question).collect();
            stream::iter(questions).buffered(MAX_CONCURRENT).collect::<Vec<(usize, _)>>()
        };
        let simulated = tokio::time::timeout_at(deadline, self.simulate(&requirements, target));
        let (of_aws, of_kubernetes, simulated) =
            tokio::join!(asked(aws), asked(kubernetes), simulated);
        let mut simulated = simulated.unwrap_or_default();
        let unread = unread.unwrap_or_else(|| "its resource is known only in the run".into());
        let mut answers: Vec<(usize, Option<Answer>)> =
            of_aws.into_iter().chain(of_kubernetes).collect();
        answers.sort_unstable_by_key(|(at, _)| *at);
        let answers = answers.into_iter().map(|(at, answer)| {
            answer
                .or_else(|| simulated.remove(&at))
                .unwrap_or_else(|| Answer::Unknown(unread.clone()))
        });
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
        if let Some(Unchecked { requirement, reason }) = report.unchecked.first() {
            let (count, permission) = (report.unchecked.len(), requirement.describe());
            tracing::info!(
                runbook = runbook.name,
                count,
                permission,
                reason,
                "permissions are not checked"
            );
        }
        report.without_repetitions()
    }

    /// Asks about one permission; `None` for an AWS call that cannot be tried.
    async fn answer(&self, requirement: &Requirement) -> Option<Answer> {
        match &requirement.access {
            Access::Kubernetes(access) => Some(self.review(access).await),
            Access::Aws(access) => self.try_read(access).await,
        }
    }

    async fn review(&self, access: &KubernetesAccess) -> Answer {
        let KubernetesAccess { place, group, resource, name, verb } = access;
        // What is allowed in every namespace is allowed in the one that the run will find.
        let namespace = place.namespace().and_then(permissions::Value::known);
        let name = name.as_ref().and_then(permissions::Value::known);
        let question = AccessQuestion { verb, group, resource, namespace, name };
        let answered =
            async { self.platform.reader().kubernetes().await?.is_allowed(question).await };
        match answered.await {
            Ok(true) => Answer::Allowed,
            Ok(false) if *place == Place::NamespaceAtRunTime => {
                Answer::Unknown("its namespace is known only in the run".into())
            }
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
            AwsResource::Region(region) | AwsResource::AutoScalingGroup { region, .. } => {
                (region, None, None)
            }
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

    /// Lets IAM simulate the AWS changes of which the nodegroup is known. Returns the answers by the position of the
    /// requirement.
    async fn simulate(
        &self,
        requirements: &[Requirement],
        target: &RunTarget,
    ) -> BTreeMap<usize, Answer> {
        let Some(aws) = &target.aws else { return BTreeMap::new() };
        let mut nodegroups: BTreeMap<(&str, &str, &str), Result<NodegroupArns, String>> =
            BTreeMap::new();
        let mut answers = BTreeMap::new();
        let (mut positions, mut calls) = (Vec::new(), Vec::new());
        for (at, requirement) in requirements.iter().enumerate() {
            if let Some((region, name)) = change_of_group(requirement) {
                match self.read_group(region, name).await {
                    Ok((arn, tags)) => {
                        positions.push((at, region));
                        let kind = AwsResourceKind::AutoScalingGroup;
                        calls.push(simulated_call(requirement, kind, (&arn, &tags), region));
                    }
                    Err(reason) => {
                        answers.insert(at, Answer::Unknown(reason));
                    }
                }
                continue;
            }
            let Some((kind, place)) = change_of_nodegroup(requirement) else { continue };
            let (region, cluster, nodegroup) = place;
            let arns = match nodegroups.entry(place) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    unknown.insert(self.read_arns(region, cluster, nodegroup).await)
                }
            };
            match arns {
                Ok(arns) => {
                    positions.push((at, region));
                    let on = match kind {
                        AwsResourceKind::AutoScalingGroup => (&arns.group, &arns.group_tags),
                        AwsResourceKind::Cluster
                        | AwsResourceKind::Nodegroup
                        | AwsResourceKind::ClusterAndNodegroup => {
                            (&arns.nodegroup, &arns.nodegroup_tags)
                        }
                    };
                    calls.push(simulated_call(requirement, kind, on, region));
                }
                Err(reason) => {
                    answers.insert(at, Answer::Unknown(reason.clone()));
                }
            }
        }
        // All at once: where IAM is not reached, a run waits for one time limit and not for one for each call.
        let asked = positions
            .iter()
            .zip(&calls)
            .map(|((_, region), call)| self.platform.simulate_policy(&aws.identity, region, call));
        let asked: Vec<_> = asked.collect();
        let simulated = join_all(asked).await;
        answers
            .extend(positions.iter().map(|(at, _)| *at).zip(simulated.into_iter().map(answer_of)));
        answers
    }

    async fn read_arns(
        &self,
        region: &str,
        cluster: &str,
        nodegroup: &str,
    ) -> Result<NodegroupArns, String> {
        let read = async {
            self.platform.reader().aws(region).await?.nodegroup_arns(cluster, nodegroup).await
        };
        match read.await {
            Ok(Some(arns)) => Ok(arns),
            Ok(None) => Err(format!("nodegroup {nodegroup} or its Auto Scaling group not found")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Reads the ARN and the tags of an Auto Scaling group.
    async fn read_group(
        &self,
        region: &str,
        name: &str,
    ) -> Result<(String, BTreeMap<String, String>), String> {
        let names = [name.to_owned()];
        let read = async {
            let aws = self.platform.reader().aws(region).await?;
            aws.describe_auto_scaling_groups(&names).await
        };
        match read.await.map(|groups| groups.into_iter().next()) {
            Ok(Some(group)) => Ok((group.arn, group.tags)),
            Ok(None) => Err(format!("Auto Scaling group {name} not found")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Returns the region and the name of a known Auto Scaling group that an AWS call changes.
fn change_of_group(requirement: &Requirement) -> Option<(&str, &str)> {
    let Access::Aws(AwsAccess { action, resource }) = &requirement.access else { return None };
    let AwsResource::AutoScalingGroup { region, name: Some(name), .. } = resource else {
        return None;
    };
    let place = (region.known()?, name.known()?);
    (!permissions::is_read(action)).then_some(place)
}

/// Returns an answer, or that there was none in time.
fn answered_in_time(answer: Result<Option<Answer>, Elapsed>) -> Option<Answer> {
    answer.unwrap_or_else(|_| Some(Answer::Unknown(NO_ANSWER.into())))
}

fn answer_of(simulated: Result<Simulation, crate::platform::Error>) -> Answer {
    match simulated {
        Ok(Simulation::Allowed) => Answer::Allowed,
        Ok(Simulation::Denied) => Answer::Missing(AnswerSource::Simulated),
        Ok(Simulation::Depends(keys)) => {
            Answer::Unknown(format!("the policy has conditions on {}", keys.join(", ")))
        }
        Err(error) if is_refusal(&error) => {
            Answer::Unknown("not checkable without iam:SimulatePrincipalPolicy".into())
        }
        Err(error) => Answer::Unknown(format!("IAM did not simulate it: {error}")),
    }
}

fn is_reversible(action: &str) -> bool {
    let action = actions::find(action);
    action.is_some_and(|action| action.reversibility() == Reversibility::Reversible)
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

/// Returns the kind and the place of an AWS change of a known nodegroup: its region, cluster and name.
fn change_of_nodegroup(requirement: &Requirement) -> Option<(AwsResourceKind, (&str, &str, &str))> {
    let Access::Aws(AwsAccess { action, resource }) = &requirement.access else { return None };
    let AwsResource::OfCluster { kind, region, cluster, nodegroup, .. } = resource else {
        return None;
    };
    let place = (region.known()?, cluster.known()?, nodegroup.as_ref()?.known()?);
    (!permissions::is_read(action)).then_some((*kind, place))
}

/// Returns a change as IAM simulates it: on the resources that there are, with their tags.
fn simulated_call(
    requirement: &Requirement,
    kind: AwsResourceKind,
    (resource, tags): (&String, &BTreeMap<String, String>),
    region: &str,
) -> SimulatedCall {
    let action = match &requirement.access {
        Access::Aws(access) => access.action.clone(),
        Access::Kubernetes(_) => String::new(),
    };
    let prefixes = match kind {
        AwsResourceKind::AutoScalingGroup => &["aws:ResourceTag", "autoscaling:ResourceTag"][..],
        AwsResourceKind::Cluster
        | AwsResourceKind::Nodegroup
        | AwsResourceKind::ClusterAndNodegroup => &["aws:ResourceTag"][..],
    };
    let of_tag = |(key, value): (&String, &String)| {
        let key = key.clone();
        let value = value.clone();
        prefixes.iter().map(move |prefix| (format!("{prefix}/{key}"), value.clone()))
    };
    let context = tags.iter().flat_map(of_tag);
    let context = context.chain([("aws:RequestedRegion".to_owned(), region.to_owned())]).collect();
    SimulatedCall { action, resources: vec![resource.clone()], context }
}
