# --- throwing files away

# Make the trash and remove what was in it for long enough: FILE in it, OLDEST second to keep
# OLDEST is by the clock of who asks, which may be ahead; that of the file system counts as well
pool_trash() {
    pool_like_parent "${1%/*/*}" no && pool_like_parent "${1%/*}" no || return
    pool_expired "${1%/*}" "$2"
    [ -n "$pool_thrown" ] || return 0
    pool_probe=${1%/*/*}/.clock-$pool_token.tmp
    if { printf '' >"$pool_probe"; } 2>/dev/null && pool_stamp "$pool_probe"; then
        pool_expired "${1%/*}" "$((${pool_clock%?????????} - pool_kept_for))"
    fi
    rm -f -- "$pool_probe"
    # what may not be removed, somebody else's, is no reason to throw nothing away
    eval "pool_each 'rm -f --' $pool_thrown" 2>/dev/null
    return 0
}

# Refer to what was thrown away before a second: TRASH SECOND
pool_expired() {
    pool_old=$2 pool_thrown=''
    set +f
    set -- "$1"/*
    set -f
    for pool_p in "$@"; do
        pool_x=${pool_p##*/}
        pool_x=${pool_x%%-*}
        case $pool_x in
        '' | *[!0-9]* | ?????????????*) continue ;;
        esac
        [ "$pool_x" -ge "$pool_old" ] || pool_ref pool_thrown "$pool_p"
    done
}

# Copy the record of what became KEPT, be it one whose writer was killed before it committed: KEPT
pool_keep() {
    pool_stamp "$1" || return
    set -- "$1" $pool_file
    set +f
    set -- "$@" "$pool_base.json" "$pool_base".next-$pool_16
    set -f
    pool_k=$1 pool_i=$2 pool_m=$4
    shift 4
    for pool_p in "$@"; do
        [ -f "$pool_p" ] && pool_x=$(cat -- "$pool_p") || continue
        case $pool_x in
        *"\"inode\": $pool_i"[!0-9]*) ;;
        *) continue ;;
        esac
        case $pool_x in
        *"\"mtime_ns\": $pool_m"[!0-9]*)
            cp -- "$pool_p" "$pool_k.json"
            return
            ;;
        esac
    done
    [ ! -f "$pool_base.json" ] || cp -- "$pool_base.json" "$pool_k.json"
}

# Throw a file away, with all that is known about it: PATH KEPT OLDEST FSYNC
pool_remove() {
    if [ -L "$1" ]; then
        rm -f -- "$1" && printf '+removed\n'
        return
    fi
    stat -- "$1" >/dev/null || {
        printf '+absent\n'
        return 1
    }
    pool_trash "$2" "$3" && mv -fT -- "$1" "$2" || return
    pool_base=${1%/*}/.pool/${1##*/}
    pool_keep "$2"
    # nothing else tells what it contains once the record beside its place is gone
    [ "$4" != yes ] || [ ! -f "$2.json" ] || sync -- "$2.json" || return
    pool_d=${1%/*} pool_sync=$4
    set +f
    set -- "$pool_base".next-$pool_16
    set -f
    rm -rf -- "$pool_base.json" "$pool_base.seen" "$pool_base.leaves" "$pool_base.used" \
        "$pool_base.users" "$@" || return
    [ "$pool_sync" != yes ] || sync -- "${pool_d:-/}" || return
    printf '+removed\n'
}
