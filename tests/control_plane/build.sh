#!/usr/bin/env bash
# Builds a real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler) and kwok, which
# plays the kubelets, from the Go modules that go.mod and kwok/go.mod pin, and kubectl, from kubectl/go.mod. Needs Go and
# about 7 minutes on 2 cores; what is built already is not built again.
#
#   tests/control_plane/build.sh           into the cache directory, where the tests find it
#   tests/control_plane/build.sh --where   only prints that directory
#
# Ends with 69 where there is no Go: the tests then count as ignored.
set -euo pipefail

cache=${SOP_CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rafay-relay-sop}/control-plane
if [ "${1-}" = --where ]; then
  printf '%s\n' "$cache"
  exit
fi

cd "$(dirname "$0")"
if ! command -v go >/dev/null; then
  echo "no control plane: Go is not on PATH; the control-plane tests will be ignored" >&2
  exit 69
fi
# A workspace around this directory and flags of the calling shell must not change what is built.
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
# An older Go fetches the one that go.mod names, unless it is told not to, or cannot. Anything else is a fault.
for module in . kwok kubectl; do
  said=$(cd "$module" && go list -m 2>&1) && continue
  case $said in
    *"requires go >="* | *toolchain*)
      echo "no control plane: Go is too old for $module/go.mod; the control-plane tests will be ignored" >&2
      exit 69
      ;;
  esac
  printf 'cannot read %s/go.mod: %s\n' "$module" "$said" >&2
  exit 1
done

mkdir -p "$cache"
# Clones share the directory; a second build waits for the first.
exec 9>"$cache/.lock"
if command -v flock >/dev/null; then flock 9; fi
# Each program is put in place by a rename, so that an interrupted build leaves no incomplete program.
find "$cache" -maxdepth 1 -name '.building.*' -mmin +120 -exec rm -rf {} +
scratch=$(mktemp -d "$cache/.building.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
# In the background, a compiler does not keep bash from its traps.
compiler=
trap 'kill $compiler 2>/dev/null; exit 130' INT
trap 'kill $compiler 2>/dev/null; exit 143' TERM

version=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' go.mod)
cat go.mod go.sum kwok/go.mod kwok/go.sum > "$scratch/modules"

# Other modules make other programs of all five names. kubectl is apart: its modules are fewer, and a change of them must
# not build the control plane anew.
is_of() { cmp -s "$scratch/$1" "$cache/$2"; }
if ! is_of modules modules && ! is_of modules building; then
  rm -f "$cache"/{modules,building,etcd,kube-apiserver,kube-controller-manager,kube-scheduler,kwok}
  cp "$scratch/modules" "$cache/building"
fi

# build DIRECTORY NAME PACKAGE
build() {
  if [ -x "$cache/$2" ]; then return; fi
  echo "building $2"
  (cd "$1" && exec go build -trimpath -buildvcs=false \
    -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "$scratch/$2" "$3") 9>&- &
  compiler=$!
  wait "$compiler"
  compiler=
  mv "$scratch/$2" "$cache/$2"
}

build . etcd go.etcd.io/etcd/server/v3
for name in kube-apiserver kube-controller-manager kube-scheduler; do
  build . "$name" "k8s.io/kubernetes/cmd/$name"
done
build kwok kwok sigs.k8s.io/kwok/cmd/kwok
# Written last: its presence tells the tests that the directory is complete.
mv "$scratch/modules" "$cache/modules"

cat kubectl/go.mod kubectl/go.sum > "$scratch/kubectl-modules"
if ! is_of kubectl-modules kubectl-modules; then
  rm -f "$cache"/{kubectl,kubectl-modules}
fi
build kubectl kubectl k8s.io/kubernetes/cmd/kubectl
mv "$scratch/kubectl-modules" "$cache/kubectl-modules"
echo "the control plane is in $cache"
