//! The kinds of objects that a snapshot reads, and what it keeps of each. Secrets are not among them.

use super::fields::Fields;
use crate::platform::kubernetes::ListedKind;

/// A kind of objects that is read as a whole.
pub(super) struct SnapshotKind {
    pub(super) kind: ListedKind,
    /// The prediction that is not possible where the objects cannot be read.
    pub(super) unpredicted: &'static str,
    /// The fields beside metadata.
    fields: &'static str,
    /// Whether objects of the kind may be there in another version, where this one is not served.
    pub(super) has_other_versions: bool,
}

/// The fields of the metadata of every object. Of the annotations only [`is_kept_annotation`] stays.
const METADATA: &str = "metadata{name namespace uid generateName creationTimestamp deletionTimestamp \
    deletionGracePeriodSeconds generation labels annotations ownerReferences finalizers}";

/// The fields of the spec of a pod, and of a template. Environment, command lines, and what comes from Secrets are not
/// among them.
const POD_SPEC: &str = "nodeName nodeSelector affinity tolerations topologySpreadConstraints priority \
    priorityClassName preemptionPolicy schedulerName schedulingGates{name} readinessGates{conditionType} \
    restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds overhead hostNetwork resources \
    volumes{name emptyDir{} persistentVolumeClaim{claimName} ephemeral{}} \
    containers{CONTAINER} initContainers{CONTAINER}";

/// The fields of a container. Of its probe stays how often it asks, and not what.
const CONTAINER: &str = "name image resources restartPolicy ports{containerPort hostPort name protocol} \
    readinessProbe{initialDelaySeconds periodSeconds timeoutSeconds successThreshold failureThreshold \
    httpGet{port} tcpSocket{port} grpc{port} exec{}}";

/// The fields of the status of a container. What a container wrote when it ended is not among them.
const CONTAINER_STATUS: &str = "name image ready started restartCount \
    state{running{startedAt} waiting{reason} terminated{exitCode reason startedAt finishedAt}} \
    lastState{terminated{exitCode reason startedAt finishedAt}}";

const POD_STATUS: &str = "status{phase reason qosClass startTime observedGeneration nominatedNodeName \
    conditions{type status reason lastTransitionTime observedGeneration} \
    containerStatuses{STATUS} initContainerStatuses{STATUS}}";

const TEMPLATE: &str = "template{metadata{labels annotations} spec{POD}}";

/// The conditions that a controller writes, with its message.
const CONDITIONS: &str =
    "conditions{type status reason message lastTransitionTime lastUpdateTime observedGeneration}";

const fn core(
    kind: &'static str,
    resource: &'static str,
    fields: &'static str,
    unpredicted: &'static str,
) -> SnapshotKind {
    grouped("", kind, resource, fields, unpredicted)
}

const fn grouped(
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    fields: &'static str,
    unpredicted: &'static str,
) -> SnapshotKind {
    let kind = ListedKind { group, version: "v1", kind, resource };
    SnapshotKind { kind, unpredicted, fields, has_other_versions: false }
}

/// The nodes, which are read first: what else is read follows from them.
pub(super) static NODES: SnapshotKind = core(
    "Node",
    "nodes",
    "spec{taints unschedulable providerID} \
     status{capacity allocatable addresses conditions{type status reason message lastHeartbeatTime lastTransitionTime} \
     nodeInfo{architecture operatingSystem osImage kernelVersion containerRuntimeVersion kubeletVersion \
     kubeProxyVersion}}",
    "nothing",
);

/// The pods, without which nothing can be predicted.
pub(super) static PODS: SnapshotKind = core("Pod", "pods", "spec{POD} POD_STATUS", "nothing");

/// A ConfigMap, of which only those that are wanted are read.
pub(super) static CONFIG_MAP: SnapshotKind =
    core("ConfigMap", "configmaps", "data immutable", "steps that read it");

/// The other kinds, in the order in which a scenario lists them.
pub(super) static OTHER_KINDS: [SnapshotKind; 16] = [
    core(
        "Namespace",
        "namespaces",
        "spec status{phase}",
        "the identity of the cluster, and what is in a namespace that ends",
    ),
    core("ResourceQuota", "resourcequotas", "spec status", "whether a quota refuses more pods"),
    core("LimitRange", "limitranges", "spec", "requests that a LimitRange sets or refuses"),
    core(
        "PersistentVolume",
        "persistentvolumes",
        "spec{capacity accessModes claimRef{kind namespace name uid} storageClassName nodeAffinity volumeMode \
         persistentVolumeReclaimPolicy} status{phase}",
        "in which zone a pod with a volume can run",
    ),
    core(
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "spec{accessModes resources storageClassName volumeName volumeMode} status{phase capacity accessModes}",
        "in which zone a pod with a volume can run",
    ),
    grouped(
        "apps",
        "Deployment",
        "deployments",
        "spec{replicas selector strategy minReadySeconds revisionHistoryLimit progressDeadlineSeconds paused TEMPLATE} \
         status{observedGeneration replicas updatedReplicas readyReplicas availableReplicas unavailableReplicas \
         terminatingReplicas collisionCount CONDITIONS}",
        "changes of deployments",
    ),
    grouped(
        "apps",
        "ReplicaSet",
        "replicasets",
        "spec{replicas selector minReadySeconds TEMPLATE} \
         status{observedGeneration replicas fullyLabeledReplicas readyReplicas availableReplicas terminatingReplicas \
         CONDITIONS}",
        "rollouts, and which pods belong to which deployment",
    ),
    grouped(
        "apps",
        "StatefulSet",
        "statefulsets",
        "spec{replicas selector serviceName podManagementPolicy updateStrategy minReadySeconds revisionHistoryLimit \
         ordinals volumeClaimTemplates{metadata{name}} TEMPLATE} \
         status{observedGeneration replicas readyReplicas currentReplicas updatedReplicas availableReplicas \
         currentRevision updateRevision collisionCount CONDITIONS}",
        "changes of stateful sets, and what replaces their pods",
    ),
    grouped(
        "apps",
        "DaemonSet",
        "daemonsets",
        "spec{selector updateStrategy minReadySeconds revisionHistoryLimit TEMPLATE} \
         status{observedGeneration currentNumberScheduled numberMisscheduled desiredNumberScheduled numberReady \
         updatedNumberScheduled numberAvailable numberUnavailable collisionCount CONDITIONS}",
        "the pods of daemon sets on new nodes",
    ),
    grouped(
        "batch",
        "Job",
        "jobs",
        "spec{parallelism completions completionMode backoffLimit activeDeadlineSeconds ttlSecondsAfterFinished suspend \
         selector TEMPLATE} \
         status{active ready succeeded failed terminating startTime completionTime conditions{type status reason \
         lastProbeTime lastTransitionTime}}",
        "the ends of jobs, and what replaces their pods",
    ),
    grouped(
        "batch",
        "CronJob",
        "cronjobs",
        "spec{schedule timeZone suspend concurrencyPolicy startingDeadlineSeconds jobTemplate{spec{TEMPLATE}}} \
         status{lastScheduleTime lastSuccessfulTime}",
        "jobs that begin meanwhile",
    ),
    grouped(
        "policy",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        "spec status{observedGeneration currentHealthy desiredHealthy disruptionsAllowed expectedPods CONDITIONS}",
        "whether a budget refuses an eviction",
    ),
    SnapshotKind {
        kind: ListedKind {
            group: "autoscaling",
            version: "v2",
            kind: "HorizontalPodAutoscaler",
            resource: "horizontalpodautoscalers",
        },
        unpredicted: "whether an autoscaler owns the replicas of a workload",
        fields: "spec status{observedGeneration lastScaleTime currentReplicas desiredReplicas \
                 conditions{type status reason lastTransitionTime}}",
        has_other_versions: true,
    },
    grouped(
        "scheduling.k8s.io",
        "PriorityClass",
        "priorityclasses",
        "value globalDefault preemptionPolicy",
        "the priorities of new pods",
    ),
    grouped(
        "storage.k8s.io",
        "StorageClass",
        "storageclasses",
        "provisioner reclaimPolicy volumeBindingMode allowVolumeExpansion allowedTopologies",
        "where new volumes are made",
    ),
    SnapshotKind {
        kind: ListedKind {
            group: "keda.sh",
            version: "v1alpha1",
            kind: "ScaledObject",
            resource: "scaledobjects",
        },
        unpredicted: "whether KEDA owns the replicas of a workload",
        fields: "spec{scaleTargetRef{apiVersion kind name} minReplicaCount maxReplicaCount idleReplicaCount}",
        has_other_versions: false,
    },
];

/// The configurations of admission webhooks, of which only the rules are looked at.
pub(super) static WEBHOOKS: [SnapshotKind; 2] = [
    grouped(
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        "webhooks{name rules}",
        "whether an admission webhook changes or refuses new pods",
    ),
    grouped(
        "admissionregistration.k8s.io",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        "webhooks{name rules}",
        "whether an admission webhook refuses new pods",
    ),
];

impl SnapshotKind {
    /// Returns the fields that are kept.
    pub(super) fn fields(&self) -> Fields {
        let text = format!("{METADATA} {}", self.fields);
        let text = text
            .replace("POD_STATUS", POD_STATUS)
            .replace("TEMPLATE", TEMPLATE)
            .replace("CONDITIONS", CONDITIONS)
            .replace("{POD}", &format!("{{{POD_SPEC}}}"))
            .replace("{CONTAINER}", &format!("{{{CONTAINER}}}"))
            .replace("{STATUS}", &format!("{{{CONTAINER_STATUS}}}"));
        Fields::parse(&text)
    }
}

/// The annotations that are kept, where they are not known by their prefix.
const ANNOTATIONS: [&str; 5] = [
    "controller.kubernetes.io/pod-deletion-cost",
    "deprecated.daemonset.template.generation",
    "kubectl.kubernetes.io/restartedAt",
    "kubernetes.io/config.mirror",
    "kwok.x-k8s.io/node",
];

/// The beginnings of the keys of further annotations that are kept.
const ANNOTATION_PREFIXES: [&str; 7] = [
    "autoscaling.keda.sh/",
    "cluster-autoscaler.kubernetes.io/",
    "deployment.kubernetes.io/",
    "karpenter.k8s.aws/",
    "karpenter.sh/",
    "rafay-relay-sop/",
    "sop.rafay.dev/",
];

/// Returns whether an annotation steers a controller or is one of this program. Any other may hold anything.
pub(super) fn is_kept_annotation(key: &str) -> bool {
    ANNOTATIONS.contains(&key) || ANNOTATION_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// Returns every kind that a snapshot lists.
pub(super) fn listed_kinds() -> impl Iterator<Item = &'static SnapshotKind> {
    [&NODES, &PODS].into_iter().chain(&OTHER_KINDS).chain(&WEBHOOKS)
}
