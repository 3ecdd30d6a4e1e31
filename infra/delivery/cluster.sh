# What deploy and roll-back share: access to a cluster, and which releases worked in it. They read it, nobody runs it.
#
# The cluster itself keeps that, in the ConfigMap `release`: `current` and `previous` are the versions of the last two
# releases that worked, `current.yaml` and `previous.yaml` their manifests; `tried` is one that was sent and has not worked;
# `turn` is whose turn it is, by a name that nobody else has.

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

# KUBE_CONFIG is the access, as text. By hand it may be missing: kubectl has settings of its own.
reach() {
    if [ -n "${KUBE_CONFIG:-}" ]; then
        (umask 077 && printf '%s\n' "$KUBE_CONFIG" >"$dir/kubeconfig")
        export KUBECONFIG="$dir/kubeconfig"
    elif [ -n "${CI:-}" ]; then
        refuse "KUBE_CONFIG is empty: the environment has no such secret, or its caller does not pass the name on"
    elif [ -z "${KUBERNETES_SERVICE_HOST:-}" ] && ! kubectl config current-context >/dev/null 2>&1; then
        # It would ask localhost:8080, where a server of ours may be.
        refuse "kubectl knows no cluster: choose one (kubectl config use-context), or set KUBE_CONFIG"
    fi
}

# Writes the keys of the ConfigMap as files to $dir/release.
recall() {
    rm -rf "$dir/release"
    mkdir "$dir/release"
    kubectl --namespace mlops get configmap release --ignore-not-found --output json >"$dir/release.json" \
        2>"$dir/said" || refuse "the cluster does not tell what worked there: $(tail -n 1 "$dir/said")"
    python3 -c '
import json, pathlib, sys
text = pathlib.Path(sys.argv[1] + ".json").read_text()
for key, value in json.loads(text or "{}").get("data", {}).items():
    pathlib.Path(sys.argv[1], key).write_text(value)' "$dir/release"
}

# The other way round.
remember() {
    kubectl --namespace mlops create configmap release --from-file="$dir/release" --dry-run=client --output yaml \
        >"$dir/release.yaml"
    kubectl apply --server-side --force-conflicts --filename "$dir/release.yaml" >/dev/null
}

# Remembers that it is this run's turn. Whoever had it, on a machine that was given up for lost maybe, writes no more.
take_turn() {
    printf '%s' "${dir##*/}" >"$dir/release/turn"
    remember
}

# Before anything is remembered of what was done in a turn.
still_ours() {
    recall
    [ "$(known turn)" = "${dir##*/}" ] || refuse "another deploy or roll-back has begun in this cluster: it has the last word"
}

# What the ConfigMap has under a key; nothing where it has none.
known() {
    [ ! -f "$dir/release/$1" ] || cat "$dir/release/$1"
}

# What works() is told: otherwise a release would be sent and taken back for the want of it.
wants_what_is_tried() {
    wants SMOKE_URL "where to try the service, or none"
    [ "$SMOKE_URL" = none ] && return
    wants SMOKE_EVENT "an event as JSON, without its id and time"
    wants SMOKE_ID "the column of the event's id"
}

# Sends manifests, waits for the rollout and tries the service, at SMOKE_URL (make smoke); `none`: it is not tried.
works() {
    kubectl apply --filename "$1" && kubectl --namespace mlops rollout status deployment/serving --timeout 10m &&
        { [ "$SMOKE_URL" = none ] || make --no-print-directory smoke; }
}
