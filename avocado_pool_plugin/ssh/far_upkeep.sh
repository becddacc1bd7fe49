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
    # enough to tell the parent of nearly all images, and far less to send
    pool_full=$pool_top pool_top=768
    pool_each 'pool_files "$pool_want"' "$@"
    pool_top=$pool_full
}

# Tell whether there is a directory: ROOT
pool_exists() {
    [ ! -d "$1" ] || printf '+exists yes\n'
}

# Complain of directories that can't be listed: ROOT BELOW
pool_open() {
    ls -U -- "$1/." >/dev/null || {
        [ ! -e "$1" ] || [ -d "$1" ] || printf 'ls: %s: is no directory\n' "$1"
        return 1
    }
    set +f
    if [ -n "$2" ]; then
        set -- "$1/$2"/ "$1/$2"/*/
    else
        set -- "$1"/*/ "$1"/*/*/
    fi
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

# Look at all files of ours: ROOT BELOW
pool_notes() {
    pool_open "$1" "$2" || return
    set +f
    case $2 in
    '') set -- "$1"/.pool "$1"/*/.pool "$1"/*/*/.pool ;;
    */*) set -- "$1/$2"/.pool ;;
    *) set -- "$1/$2"/.pool "$1/$2"/*/.pool ;;
    esac
    for pool_m in "$@"; do
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

# Look at the files in directories of ours, as far as they are there: DIRECTORY...
pool_ours() {
    for pool_d in "$@"; do
        [ -e "$pool_d" ] || continue
        ls -U -- "$pool_d/." >/dev/null || return
        pool_own "$pool_d"
    done
    return 0
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
        mv -nT -- "$1" "$2" || [ -e "$2" ] || return
        # for some that is no failure if somebody else took the name just now
        [ ! -e "$1" ] || {
            printf '+taken\n'
            return 1
        }
    fi
    pool_d=${2%/*}
    [ "$3" != yes ] || sync -- "${pool_d:-/}"
}

# Name what is where a state would be by its name, and is no file: ROOT BELOW
pool_strays() {
    pool_open "$1" "$2" || return
    set +f
    case $2 in
    '') set -- "$1"/*/*.state "$1"/*/*/*.qcow2 ;;
    */*) set -- "$1/$2"/*.qcow2 ;;
    *) set -- "$1/$2"/*.state "$1/$2"/*/*.qcow2 ;;
    esac
    set -f
    for pool_p in "$@"; do
        [ -f "$pool_p" ] || [ ! -e "$pool_p" ] || pool_say stray "$pool_p"
    done
}

# Have QEMU check an image: JSON
pool_check_image() {
    command -v qemu-img >/dev/null || {
        printf '+lacks qemu-img\n'
        return 0
    }
    pool_beats "$pool_patience"
    qemu-img check -q -U "$1" </dev/null
    pool_s=$?
    pool_still
    return "$pool_s"
}
