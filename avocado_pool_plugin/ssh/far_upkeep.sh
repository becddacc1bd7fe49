# --- what the keeper of a pool looks at and does; told to a shell when it is first needed

# Look at all that may be states: WHAT ROOT BELOW
# WHAT as for pool_files; BELOW: an object id, one with an image, or nothing for all
pool_survey() {
    pool_want=$1
    pool_open "$2" "$3" || return
    set +f
    case $3 in
    '') set -- "$2"/*/*.state "$2"/*/*.qcow2 "$2"/*/*/*.qcow2 ;;
    */*) set -- "$2/$3"/*.qcow2 ;;
    *) set -- "$2/$3"/*.state "$2/$3"/*.qcow2 "$2/$3"/*/*.qcow2 ;;
    esac
    set -f
    for pool_p in "$@"; do
        [ ! -L "$pool_p" ] || pool_say symlink "$pool_p"
    done
    pool_each 'pool_files "$pool_want"' "$@"
}

# Complain of directories that can't be listed: ROOT BELOW
pool_open() {
    ls -U -- "$1/." >/dev/null || return
    set +f
    set -- "${1%/}/${2:-*}"/ "${1%/}/${2:-*}"/*/
    set -f
    for pool_d in "$@"; do
        [ ! -d "$pool_d" ] || { [ -r "$pool_d" ] && [ -x "$pool_d" ]; } ||
            ls -U -- "$pool_d." >/dev/null
    done
    return 0
}

# KEY NAME, unless it can't be told
pool_say() {
    case $2 in
    *[[:cntrl:]]*) ;;
    *) printf '+%s %s\n' "$1" "$2" ;;
    esac
}

# Look at all files of ours: ROOT
pool_notes() {
    pool_open "$1" '' || return
    set +f
    for pool_m in "$1"/.pool "$1"/*/.pool "$1"/*/*/.pool; do
        [ -d "$pool_m" ] || continue
        set -f
        pool_own "$pool_m"
        set +f
    done
    set -f
}

# DIRECTORY of ours
pool_own() {
    set +f
    set -- "$1"/* "$1"/.[!.]* "$1"/*/*
    set -f
    pool_each 'stat --printf "$pool_status" --' "$@"
}

# Read small files, as far as they are there: FILE...
pool_read() {
    pool_each 'pool_texts "$pool_most"' "$@"
}

# Remove files of ours: FILE...
pool_forget() {
    rm -f -- "$@"
}

# Rename a file to a name that is not taken: OLD NEW FSYNC
pool_move_new() {
    [ ! -e "$2" ] && [ ! -L "$2" ] || {
        printf '+taken\n'
        return 1
    }
    if ln -T -- "$1" "$2" 2>/dev/null; then
        rm -f -- "$1" || return
    elif [ -e "$2" ]; then
        printf '+taken\n'
        return 1
    else
        # no hard links here
        mv -nT -- "$1" "$2" || return
    fi
    pool_d=${2%/*}
    [ "$3" != yes ] || sync -- "${pool_d:-/}"
}
