# --- probes of what the file system of a pool can do; told to a shell when somebody asks

# Tell what a directory is and what is free there: DIRECTORY
pool_probe_place() {
    pool_o=$(stat -L -c '%F' -- "$1") || {
        pool_probe_above "$1"
        return 1
    }
    printf '+type %s\n+mode %s\n' "$pool_o" "$(stat -L -c '%a %G' -- "$1")"
    printf '+umask %s\n' "$(umask)"
    pool_x=$(stat -f -c '%S %a %b %d %c %T' -- "$1") || return
    printf '+room %s\n' "$pool_x"
    pool_o=$(ls -A -U --quoting-style=c -- "$1/.") || return
    [ -n "$pool_o" ] || printf '+empty\n'
}

# Tell which directory above is there, and whether it can be written: DIRECTORY
pool_probe_above() {
    pool_d=$1
    until [ -d "${pool_d:-/}" ]; do
        pool_d=${pool_d%/*}
    done
    printf '+above %s\n' "${pool_d:-/}"
    [ ! -w "${pool_d:-/}" ] || printf '+writable\n'
}

# Make a working directory, and remove what was left by others a day ago: DIRECTORY
pool_probe_make() {
    mkdir -- "$1" && pool_like_parent "$1/.pool" no || return
    pool_clock=$(stat -c %Y -- "$1") || return
    set +f
    for pool_p in "${1%-*}"-$pool_16; do
        pool_x=$(stat -c %Y -- "$pool_p" 2>/dev/null) &&
            [ $((pool_clock - pool_x)) -gt 86400 ] && rm -rf -- "$pool_p"
    done
    set -f
}

pool_probe_drop() {
    case ${1##*/} in
    .doctor-$pool_16) rm -rf -- "$1" ;;
    esac
}

# Replace a file under the eyes of a reader: DIRECTORY ROUNDS
pool_probe_rename() {
    printf 'whole\n' >"$1/renamed" || return
    pool_probe_reader "$1" &
    pool_x=$! pool_left=$2 pool_s=0
    while [ "$pool_left" -gt 0 ] && [ "$pool_s" = 0 ]; do
        pool_left=$((pool_left - 1))
        printf 'whole\n' >"$1/new" && mv -fT -- "$1/new" "$1/renamed"
        pool_s=$?
    done
    printf x >"$1/stop" || kill "$pool_x"
    wait "$pool_x"
    return "$pool_s"
}

# DIRECTORY; ends by itself if nobody tells it to
pool_probe_reader() {
    pool_left=100000
    while [ "$pool_left" -gt 0 ] && [ ! -e "$1/stop" ]; do
        pool_left=$((pool_left - 1)) pool_o=
        { read -r pool_o <"$1/renamed"; } 2>/dev/null
        [ "$pool_o" = whole ] || {
            printf '+torn %s\n' "${pool_o:-absent}"
            return
        }
    done
}

# Try what can be done with files: DIRECTORY
pool_probe_files() {
    head -c 65536 /dev/zero >"$1/one" && printf x >"$1/two" || return
    cp --reflink=always -- "$1/one" "$1/clone" 2>/dev/null && printf '+reflink\n'
    ln -T -- "$1/one" "$1/link" 2>/dev/null && printf '+links\n'
    # data at 4 MiB, and nothing before
    if dd if="$1/one" of="$1/sparse" bs=65536 seek=64 2>/dev/null; then
        sync -- "$1/sparse" || return
        stat --printf '+sparse %b %B %s\n' -- "$1/sparse"
    fi
}

# Tell times that the file system stamps on changes: DIRECTORY MOST
pool_probe_times() {
    pool_left=$2
    while [ "$pool_left" -gt 0 ]; do
        pool_left=$((pool_left - 1))
        printf x >"$1/two" && stat --printf '+at %.9Z\n' -- "$1/two" || return
    done
}

# Change a file so that size and modification time stay: DIRECTORY SECONDS to wait before
pool_probe_stamps() {
    cp -p -- "$1/two" "$1/old" && stat --printf '+was %i %s %.9Y %.9Z\n' -- "$1/two" || return
    sleep "$2"
    stat --printf '+stayed %i %s %.9Y %.9Z\n' -- "$1/two"
    printf y >"$1/two" && touch -m -r "$1/old" -- "$1/two" || return
    stat --printf '+is %i %s %.9Y %.9Z\n' -- "$1/two"
}

pool_probe_nothing() {
    :
}
