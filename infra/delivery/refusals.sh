# What the delivery's scripts say before they do anything: how they are used, what they miss. They read it, nobody runs it.

refuse() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 2
}

# The head of the script, without its signs.
help() {
    sed -n '2,/^set -eu$/{/^#/s/^# \{0,1\}//p;}' "infra/delivery/${0##*/}"
}

# wants NAME WHAT: the variable has a value.
wants() {
    eval "[ -n \"\${$1:-}\" ]" || refuse "$1 is not set: $2"
}

# needs PROGRAM…
needs() {
    for program; do
        command -v "$program" >/dev/null || refuse "$program is not installed"
    done
}

needs_buildx() {
    needs docker
    docker buildx version >/dev/null 2>&1 || refuse "docker has no plugin buildx: install it (Debian: docker-buildx)"
}

# image_of WORDS…: the one word names an image of ours.
image_of() {
    case ${1:-} in -h | --help) help && exit ;; esac
    [ $# = 1 ] && [ -n "$1" ] && [ -f "infra/docker/$1.Dockerfile" ] ||
        refuse "no image${*:+ '$*'}: TARGET is serving or pipeline"
}
