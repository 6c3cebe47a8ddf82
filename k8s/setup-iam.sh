#!/usr/bin/env bash
# Makes the IAM role of the service, with exactly the permissions of k8s/iam-policy.json, for one cluster. A second run
# changes nothing. Needs the AWS CLI (1.31 or 2.14, or later) and no other program. Runs in bash 3.2 and later.
set -euo pipefail
export LC_ALL=C AWS_PAGER=''

usage() {
  cat <<'END'
usage: k8s/setup-iam.sh [--irsa | --pod-identity] --cluster NAME --region REGION --account ID [options]

  --irsa                   the role trusts the cluster's OIDC provider (IAM Roles for Service Accounts); the default
  --pod-identity           the role trusts EKS Pod Identity, and is associated with the ServiceAccount
  --cluster NAME           the EKS cluster (or CLUSTER_NAME in the environment)
  --region REGION          its region (or REGION)
  --account ID             the account of 12 digits (or ACCOUNT_ID); that of the credentials must be the same
  --namespace NAME         namespace of the ServiceAccount [rafay-core]
  --service-account NAME   its name [rafay-relay-sop]
  --role-name NAME         [rafay-relay-sop-role]
  --policy-name NAME       [rafay-relay-sop-role-policy]
  --adopt                  change a role or a policy of that name even if it was made by hand or for another cluster
  --dry-run                say what would be changed, and change nothing
END
}

fail() {
  echo "setup-iam: $1" >&2
  if [ $# -gt 1 ]; then echo "hint: $2" >&2; fi
  exit 1
}

wrong_usage() {
  echo "setup-iam: $1" >&2
  echo "hint: k8s/setup-iam.sh --help" >&2
  exit 2
}

mode=irsa
cluster=${CLUSTER_NAME-}
region=${REGION-}
account=${ACCOUNT_ID-}
namespace=rafay-core
service_account=rafay-relay-sop
role=rafay-relay-sop-role
policy=rafay-relay-sop-role-policy
adopt=
dry_run=

while [ $# -gt 0 ]; do
  case $1 in
    --*=*)
      option=${1%%=*}
      value=${1#*=}
      shift
      set -- "$option" "$value" "$@"
      ;;
  esac
  case $1 in
    --cluster | --region | --account | --namespace | --service-account | --role-name | --policy-name)
      [ $# -ge 2 ] || wrong_usage "$1 needs a value"
      ;;
  esac
  case $1 in
    --irsa) mode=irsa ;;
    --pod-identity) mode=pod-identity ;;
    --adopt) adopt=yes ;;
    --dry-run) dry_run=yes ;;
    --cluster) cluster=$2 && shift ;;
    --region) region=$2 && shift ;;
    --account) account=$2 && shift ;;
    --namespace) namespace=$2 && shift ;;
    --service-account) service_account=$2 && shift ;;
    --role-name) role=$2 && shift ;;
    --policy-name) policy=$2 && shift ;;
    -h | --help) usage && exit ;;
    *) wrong_usage "unknown argument '$1'" ;;
  esac
  shift
done

# check FLAG VALUE PATTERN WHAT
check() {
  [ -n "$2" ] || wrong_usage "$1 is missing"
  [[ $2 =~ $3 ]] || wrong_usage "$1 '$2' is not a valid $4"
}

check --cluster "$cluster" '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$' 'name of an EKS cluster'
check --region "$region" '^[a-z]{2}(-[a-z]+)+-[0-9]+$' 'AWS region, such as us-west-2'
check --account "$account" '^[0-9]{12}$' 'AWS account: it has 12 digits'
check --namespace "$namespace" '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' 'namespace'
check --service-account "$service_account" '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$' 'name of a ServiceAccount'
check --role-name "$role" '^[A-Za-z0-9+=,.@_-]{1,64}$' 'name of an IAM role'
check --policy-name "$policy" '^[A-Za-z0-9+=,.@_-]{1,128}$' 'name of an IAM policy'

directory=$(cd "$(dirname "$0")" && pwd)
for file in iam-policy.json iam-trust-policy.json iam-trust-policy-pod-identity.json; do
  [ -r "$directory/$file" ] || fail "cannot read $directory/$file" "run the script where the repository has it"
done
command -v aws > /dev/null || fail "the AWS CLI is not on PATH" "install it: https://aws.amazon.com/cli"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
result=
changes=0

# Makes a call that reads, and keeps the output in `result`. Returns 1 where AWS answers with the error CODE.
# read_aws CODE ARGUMENTS...
read_aws() {
  local code=$1
  shift
  result=
  if result=$(aws --region "$region" "$@" 2> "$scratch/error"); then return 0; fi
  if grep -q "($code)" "$scratch/error"; then return 1; fi
  fail "aws $1 $2 failed: $(tr -s '\n' ' ' < "$scratch/error")"
}

# Makes a change, or only says which.
# change WHAT ARGUMENTS...
change() {
  local what=$1
  shift
  changes=$((changes + 1))
  if [ -n "$dry_run" ]; then
    echo "would $what"
    return
  fi
  aws --region "$region" "$@" > /dev/null 2> "$scratch/error" ||
    fail "cannot $what: $(tr -s '\n' ' ' < "$scratch/error")"
  echo "$what: done"
}

unchanged() { echo "$1: nothing to do"; }

# Whether two JSON documents are the same but for white space. IAM keeps a document as it was written.
is_same() { [ "$(tr -d '[:space:]' <<< "$1")" = "$(tr -d '[:space:]' <<< "$2")" ]; }

# Which cluster a role or a policy was made for, as a tag of it says.
tag_key=rafay-relay-sop/cluster
tag_value=$region/$cluster

# Keeps that tag in `result`; nothing where there is none.
# read_tag ARGUMENTS...
read_tag() {
  read_aws NoSuchEntity iam "$@" --query "Tags[?Key=='$tag_key'].Value" --output text || result=
}

# Refuses to change what was made by another hand or for another cluster: its pods would lose their permissions.
# ensure_own WHAT TAGS
ensure_own() {
  if [ "$2" = "$tag_value" ] || [ -n "$adopt" ]; then return; fi
  case $2 in
    '' | None) fail "$1 exists, is different, and was not made by this script" \
      "choose another name with --role-name and --policy-name, or pass --adopt to change it" ;;
    *) fail "$1 exists, and is for cluster $2" \
      "choose other names for this cluster with --role-name and --policy-name, or pass --adopt to change it" ;;
  esac
}

# Who and where

if ! read_aws NoMatch sts get-caller-identity --query '[Account,Arn]' --output text; then fail "no identity"; fi
caller_account=$(cut -f1 <<< "$result")
caller=$(cut -f2 <<< "$result")
[ "$caller_account" = "$account" ] ||
  fail "the credentials are of account $caller_account ($caller), not of $account" "check AWS_PROFILE, or --account"
# arn:aws:, or aws-us-gov and aws-cn elsewhere
partition=$(cut -d: -f2 <<< "$caller")

read_aws ResourceNotFoundException eks describe-cluster --name "$cluster" \
  --query 'cluster.[identity.oidc.issuer, computeConfig.enabled]' --output text ||
  fail "cluster $cluster not found in $region" "aws eks list-clusters --region $region"
issuer=$(cut -f1 <<< "$result")
issuer=${issuer#https://}
is_auto_mode=$(cut -f2 <<< "$result")
echo "account $account, cluster $cluster in $region, as $caller"

# fill FILE: the file with its placeholders replaced
fill() {
  sed -e "s|oidc\.eks\.REGION\.amazonaws\.com/id/OIDC_ID|$issuer|g" \
    -e "s|arn:aws:|arn:$partition:|g" \
    -e "s|ACCOUNT_ID|$account|g" \
    -e "s|REGION|$region|g" \
    -e "s|:role/rafay-relay-sop-role\"|:role/$role\"|g" \
    -e "s|system:serviceaccount:rafay-core:rafay-relay-sop|system:serviceaccount:$namespace:$service_account|" \
    -e "s|\(kubernetes-namespace\": \"\)rafay-core|\1$namespace|" \
    -e "s|\(kubernetes-service-account\": \"\)rafay-relay-sop|\1$service_account|" \
    -e "s|CLUSTER|$cluster|g" "$directory/$1"
}

# What is there: absent, current or different. Nothing is changed before all of it is known.

if [ "$mode" = irsa ]; then
  case $issuer in
    */*) ;;
    *) fail "cluster $cluster has no OIDC issuer" "use --pod-identity" ;;
  esac
  provider_arn=arn:$partition:iam::$account:oidc-provider/$issuer
  provider_is=absent
  if read_aws NoSuchEntity iam get-open-id-connect-provider --open-id-connect-provider-arn "$provider_arn" \
    --query 'ClientIDList' --output text; then
    case $'\t'$result$'\t' in
      *$'\t'sts.amazonaws.com$'\t'*) provider_is=current ;;
      *) provider_is=different ;;
    esac
  fi
  trust=$(fill iam-trust-policy.json)
else
  trust=$(fill iam-trust-policy-pod-identity.json)
fi

policy_arn=arn:$partition:iam::$account:policy/$policy
document=$(fill iam-policy.json)
policy_is=absent
if read_aws NoSuchEntity iam get-policy --policy-arn "$policy_arn" --query Policy.DefaultVersionId --output text; then
  version=$result
  read_aws NoSuchEntity iam get-policy-version --policy-arn "$policy_arn" --version-id "$version" \
    --query PolicyVersion.Document --output json || fail "policy $policy has no version $version any more"
  policy_is=current
  if ! is_same "$result" "$document"; then
    policy_is=different
    read_tag list-policy-tags --policy-arn "$policy_arn"
    policy_tag=$result
    ensure_own "policy $policy" "$policy_tag"
    read_aws NoSuchEntity iam list-policy-versions --policy-arn "$policy_arn" \
      --query 'Versions[].VersionId' --output text || result=
    versions=$(tr '\t' '\n' <<< "$result" | sed 's/^v//' | sort -n)
  fi
fi

role_arn=arn:$partition:iam::$account:role/$role
role_is=absent
is_attached=
if read_aws NoSuchEntity iam get-role --role-name "$role" --query Role.AssumeRolePolicyDocument --output json; then
  role_is=current
  if ! is_same "$result" "$trust"; then
    role_is=different
    read_tag list-role-tags --role-name "$role"
    role_tag=$result
    ensure_own "role $role" "$role_tag"
  fi
  read_aws NoSuchEntity iam list-attached-role-policies --role-name "$role" \
    --query "AttachedPolicies[?PolicyArn=='$policy_arn'].PolicyArn" --output text || result=
  if [ "$result" = "$policy_arn" ]; then is_attached=yes; fi
fi

# The OIDC provider

if [ "$mode" = irsa ]; then
  case $provider_is in
    current) unchanged "OIDC provider $issuer" ;;
    different)
      change "add the audience sts.amazonaws.com to OIDC provider $issuer" \
        iam add-client-id-to-open-id-connect-provider \
        --open-id-connect-provider-arn "$provider_arn" --client-id sts.amazonaws.com
      ;;
    absent)
      change "create OIDC provider $issuer" \
        iam create-open-id-connect-provider --url "https://$issuer" --client-id-list sts.amazonaws.com
      ;;
  esac
fi

# The policy

case $policy_is in
  current) unchanged "policy $policy" ;;
  different)
    # IAM keeps five versions at most.
    if [ "$(wc -l <<< "$versions")" -ge 5 ]; then
      oldest=$(grep -vx "${version#v}" <<< "$versions" | head -n 1)
      change "delete version v$oldest of policy $policy, the oldest of five" \
        iam delete-policy-version --policy-arn "$policy_arn" --version-id "v$oldest"
    fi
    change "set a new version of policy $policy" \
      iam create-policy-version --policy-arn "$policy_arn" --policy-document "$document" --set-as-default
    if [ "$policy_tag" != "$tag_value" ]; then
      change "tag policy $policy with the cluster" \
        iam tag-policy --policy-arn "$policy_arn" --tags "Key=$tag_key,Value=$tag_value"
    fi
    ;;
  absent)
    change "create policy $policy" \
      iam create-policy --policy-name "$policy" --policy-document "$document" \
      --description "What rafay-relay-sop may do" --tags "Key=$tag_key,Value=$tag_value"
    ;;
esac

# The role

case $role_is in
  current) unchanged "role $role" ;;
  different)
    change "update the trust policy of role $role" \
      iam update-assume-role-policy --role-name "$role" --policy-document "$trust"
    if [ "$role_tag" != "$tag_value" ]; then
      change "tag role $role with the cluster" \
        iam tag-role --role-name "$role" --tags "Key=$tag_key,Value=$tag_value"
    fi
    ;;
  absent)
    change "create role $role" \
      iam create-role --role-name "$role" --assume-role-policy-document "$trust" \
      --description "rafay-relay-sop in EKS cluster $cluster" --tags "Key=$tag_key,Value=$tag_value"
    # Other services learn of it a moment later.
    [ -n "$dry_run" ] || aws --region "$region" iam wait role-exists --role-name "$role"
    ;;
esac
if [ -n "$is_attached" ]; then
  unchanged "policy of role $role"
else
  change "attach policy $policy to role $role" \
    iam attach-role-policy --role-name "$role" --policy-arn "$policy_arn"
fi

# The association

if [ "$mode" = pod-identity ]; then
  read_aws NoMatch eks list-pod-identity-associations --cluster-name "$cluster" --namespace "$namespace" \
    --service-account "$service_account" --query 'associations[].associationId' --output text || result=
  association=$result
  account_of="ServiceAccount $namespace/$service_account"
  if [ -z "$association" ] || [ "$association" = None ]; then
    change "associate $account_of with role $role" \
      eks create-pod-identity-association --cluster-name "$cluster" --namespace "$namespace" \
      --service-account "$service_account" --role-arn "$role_arn"
  else
    read_aws NoMatch eks describe-pod-identity-association --cluster-name "$cluster" \
      --association-id "$association" --query association.roleArn --output text || result=
    if [ "$result" = "$role_arn" ]; then
      unchanged "association of $account_of"
    else
      change "associate $account_of with role $role instead of ${result##*/}" \
        eks update-pod-identity-association --cluster-name "$cluster" --association-id "$association" \
        --role-arn "$role_arn"
    fi
  fi
  case $is_auto_mode in
    [Tt]rue) ;;
    *)
      if ! read_aws ResourceNotFoundException eks describe-addon --cluster-name "$cluster" \
        --addon-name eks-pod-identity-agent --query addon.status --output text; then
        echo "hint: the cluster lacks the agent of EKS Pod Identity; pods get no credentials without it:"
        echo "  aws eks create-addon --cluster-name $cluster --region $region --addon-name eks-pod-identity-agent"
      elif [ "$result" != ACTIVE ]; then
        echo "hint: the add-on eks-pod-identity-agent is $result; pods get no credentials until it is ACTIVE"
      fi
      ;;
  esac
fi

# What is next

if [ "$changes" = 0 ]; then
  echo "everything was there already: nothing was changed"
elif [ -n "$dry_run" ]; then
  echo "dry run: nothing was changed"
fi
if [ "$mode" = irsa ]; then
  echo "next: sed 's/ACCOUNT_ID/$account/g' k8s/deployment.yaml | kubectl apply -f -"
  if [ "$role" != rafay-relay-sop-role ] || [ "$partition" != aws ]; then
    echo "      with the ServiceAccount's annotation eks.amazonaws.com/role-arn: $role_arn"
  fi
else
  echo "next: kubectl apply -f k8s/crds.yaml && kubectl apply -k k8s/overlays/pod-identity"
fi
echo "      A pod that runs already gets the credentials when it is replaced:"
echo "      kubectl -n $namespace rollout restart deployment/rafay-relay-sop"
