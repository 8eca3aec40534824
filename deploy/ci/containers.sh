#!/bin/sh
# Builds the image, starts docker-compose.yml with Podman and runs smoke.py against it. Needs root,
# Debian's podman buildah runc netavark aardvark-dns iptables debootstrap catatonit, and .venv.
# For machines without Docker and without an image registry: base images are built from Debian
# packages, so this tests the files of this repository, not the official images. All data is in one
# folder, which is removed at the end (LAB=folder keeps the base images for the next run).
set -eu
cd "$(dirname "$0")/../.."

skip() {
    echo "containers: SKIPPED: $*"
    exit 0
}
[ "$(uname -s)" = Linux ] || skip "needs Linux"
[ "$(id -u)" = 0 ] || skip "needs root"
for tool in podman buildah runc iptables-save debootstrap catatonit; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
[ -x .venv/bin/podman-compose ] || skip "podman-compose is not in .venv: run make install"

kept=${LAB:-}
lab=${kept:-$(mktemp -d)}
mkdir -p "$lab"
forwarding=$(cat /proc/sys/net/ipv4/ip_forward)
netavark_rules() {
    for table in nat filter; do
        iptables-save -t "$table" | sed -n "s/^-A \(.*NETAVARK.*\)/$table \1/p"
    done
}
rules_before=$(netavark_rules)

compose() {
    .venv/bin/podman-compose --podman-run-args=--pull=never --podman-build-args="$build" \
        -p gwsmoke -f docker-compose.yml -f deploy/ci/compose.podman.yml "$@"
}

# netavark leaves its iptables chains behind. Remove them, unless they existed before this run.
remove_rules() {
    [ -z "$rules_before" ] || return 0
    netavark_rules | grep -v ' NETAVARK[^ ]* ' | while read -r table rule; do
        # shellcheck disable=SC2086 # a rule is several words
        eval iptables -t "$table" -D $rule
    done
    for table in nat filter; do
        iptables-save -t "$table" | sed -n 's/^:\(NETAVARK[^ ]*\) .*/\1/p' >"$lab/chains"
        while read -r chain; do iptables -t "$table" -F "$chain"; done <"$lab/chains"
        while read -r chain; do iptables -t "$table" -X "$chain"; done <"$lab/chains"
    done
}

clean() {
    status=$?
    trap - EXIT INT TERM
    podman pod rm -fa >/dev/null 2>&1 || true
    compose down -v -t 5 >"$lab/down.log" 2>&1 || cat "$lab/down.log"
    podman rm -fa >/dev/null 2>&1 || true
    podman network prune -f >/dev/null 2>&1 || true
    remove_rules || echo "containers: some NETAVARK rules could not be removed"
    echo "$forwarding" >/proc/sys/net/ipv4/ip_forward
    if [ -z "$kept" ]; then
        podman system reset -f >/dev/null 2>&1 || true
        umount "$lab/store/overlay" 2>/dev/null || true
        rm -rf "$lab"
    fi
    exit "$status"
}

# overlay: vfs copies the image for seconds at each start. runc: crun refuses hybrid cgroups.
configure() {
    cat >"$lab/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$lab/store"
runroot = "$lab/run"
END
    cat >"$lab/containers.conf" <<END
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "$lab/tmp"
[network]
network_backend = "netavark"
network_config_dir = "$lab/networks"
END
    export CONTAINERS_STORAGE_CONF="$lab/storage.conf" CONTAINERS_CONF="$lab/containers.conf"
}

stand_in() { # NAME COMMAND TAR-OPTIONS...
    name=localhost/stand-in/$1:bookworm command=$2
    shift 2
    podman image exists "$name" && return
    tar -C "$lab/base" --exclude=./etc/apt/sources.list --exclude='./var/cache/apt/*' "$@" -c . |
        podman import -q -c "CMD [\"$command\"]" \
            -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$name"
}

make_bases() {
    if [ ! -e "$lab/base/.made" ]; then
        # shellcheck disable=SC2016 # expanded by apt
        mirror=$(apt-get indextargets --format '$(SITE)' | head -1)
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,redis-server \
            bookworm "$lab/base" "$mirror" >"$lab/debootstrap.log" || {
            tail -5 "$lab/debootstrap.log"
            return 1
        }
        mkdir -p "$lab/base/data"
        chroot "$lab/base" chown redis:redis /data
        touch "$lab/base/.made"
    fi
    stand_in python python3 --exclude='./usr/bin/redis-*'
    stand_in redis redis-server
}

secret() { # NAME KEY VALUE, in the format of Podman 4 for pods
    podman secret rm "$1" >/dev/null 2>&1 || true
    printf '{"%s": "%s"}' "$2" "$(printf %s "$3" | base64)" | podman secret create "$1" - >/dev/null
}

# The host's certificates, for a host whose package index is behind a proxy with its own CA.
certificates=/etc/ssl/certs
build="--isolation=chroot --network=host --pull-never --format=docker"
build="$build --volume=$certificates:$certificates:ro"

export GATEWAY_PORT="${GATEWAY_PORT:-18473}"
unset RUNCOMFY_API_TOKEN
trap clean EXIT
trap 'exit 130' INT TERM
configure
echo "containers: building the base images"
make_bases
echo "containers: building the image"
compose build service >"$lab/build.log" 2>&1 || {
    tail -30 "$lab/build.log"
    exit 1
}
podman image ls --filter dangling=false --format 'containers: {{.Repository}} {{.Size}}' | sort
secret gateway-redis GATEWAY_REDIS_URL redis://redis:6379/1
secret gateway-runcomfy GATEWAY_RUNCOMFY_TOKEN simulated
.venv/bin/python deploy/ci/smoke.py --project gwsmoke --port "$GATEWAY_PORT" \
    --play deploy/k8s/base/settings.yaml deploy/k8s/base/service.yaml deploy/k8s/base/worker.yaml -- \
    .venv/bin/podman-compose --podman-run-args=--pull=never -p gwsmoke \
    -f docker-compose.yml -f deploy/ci/compose.podman.yml
