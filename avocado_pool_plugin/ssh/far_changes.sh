# --- changing files

# Make a directory that the same people can use as the one it is in: DIRECTORY FSYNC
pool_like_parent() {
    [ ! -d "$1" ] || return 0
    pool_d=$1 pool_changed=''
    until [ -d "${pool_d:-/}" ]; do
        pool_d=${pool_d%/*}
        pool_ref pool_changed "${pool_d:-/}"
    done
    mkdir -p -- "$1" || return
    pool_x=$(stat -L -c %a -- "${1%/*}/.") || return
    # one may not if it is somebody else's
    chgrp --reference="${1%/*}/." -- "$1" 2>/dev/null &&
        chmod "$(printf %o "$((0$pool_x & 03777))")" -- "$1" 2>/dev/null
    [ "$2" != yes ] || eval "sync -- $pool_changed"
}

# Write a new file: FILE TEXT
pool_put() {
    # without a program first; a program says why it fails, which a shell may not
    { printf %s "$2" >"$1"; } 2>/dev/null || printf %s "$2" | cat >"$1" || pool_undo "$1"
}

# Write a new file of any bytes: FILE BASE64
pool_decode() {
    printf %s "$2" | base64 -d >"$1" || pool_undo "$1"
}

# Write a new file of many bytes, which are to be sent as base64 after "+go": FILE SIZE
# SIZE: of the base64
pool_receive() {
    pool_like_parent "${1%/*}" no || return
    printf '+go\n'
    head -c "$2" | { base64 -d >"$1" || { cat >/dev/null && pool_undo "$1"; }; }
}

pool_undo() {
    rm -f -- "$1"
    return 1
}

# Let a written file replace another one: TEMPORARY FILE FSYNC
pool_rename() {
    [ "$3" != yes ] || sync -- "$1" || pool_undo "$1" || return
    mv -fT -- "$1" "$2" || pool_undo "$1" || return
    [ "$3" != yes ] || sync -- "${2%/*}"
}

# FILE BASE64 ID FSYNC
pool_write() {
    pool_like_parent "${1%/*}" no || return
    pool_decode "$1.$3.tmp" "$2" && pool_rename "$1.$3.tmp" "$1" "$4"
}

# Write a file unless there is one: FILE BASE64 ID
pool_create() {
    pool_like_parent "${1%/*}" no || return
    [ ! -e "$1" ] || return 0
    pool_decode "$1.$3.tmp" "$2" || return
    pool_s=0
    if ln -T -- "$1.$3.tmp" "$1" 2>/dev/null; then
        printf '+created\n'
    elif [ ! -e "$1" ]; then
        # no hard links here; a name that somebody took just now is no failure
        mv -nT -- "$1.$3.tmp" "$1" || [ -e "$1" ] || pool_s=1
        [ -e "$1.$3.tmp" ] || printf '+created\n'
    fi
    rm -f -- "$1.$3.tmp"
    return "$pool_s"
}

# Say what a process needs: FILE BASE64 ID
pool_pin() {
    pool_x=${1%/*}
    [ -d "$pool_x" ] || pool_like_parent "${pool_x%/*}" no && pool_write "$1" "$2" "$3" no
}

# Say that it still does, by writing what is there already: FILE
pool_beat() {
    [ -f "$1" ] && printf '{' 1<>"$1"
}

# Note that files are used now: NOTE...
pool_used() {
    for pool_p in "$@"; do
        [ -d "${pool_p%/*}" ] || { [ -d "${pool_p%/*/*}" ] && pool_like_parent "${pool_p%/*}" no; } ||
            continue
        [ -e "$pool_p" ]
        pool_x=$?
        { printf '' >"$pool_p"; } 2>/dev/null || continue
        [ "$pool_x" = 0 ] || chmod 666 -- "$pool_p" 2>/dev/null
    done
    return 0
}

# FILE
pool_discard() {
    rm -f -- "$1"
}

# Go on with what somebody else has begun: FILE NAME
pool_take() {
    mv -T -- "$1" "$2" 2>/dev/null
}

# Remove temporary files unless somebody writes to them: FILE...
pool_drop() {
    for pool_p in "$@"; do
        if [ -n "$pool_flock" ]; then
            flock -n "$pool_p" rm -f -- "$pool_p" || continue
        else
            rm -f -- "$pool_p" || continue
        fi
        printf '+dropped %s\n' "$pool_p"
    done
    return 0
}

# Put a finished file in its place, with its record, and what it replaces into the trash:
# PART PATH KEPT OLDEST ID LOOSE FSYNC MADE LOOSENED LEAVES START MIDDLE END
# KEPT: what the old file becomes; LOOSENED: record that keeps that true while it has two names, put
# at LOOSE; MADE: inode, size and mtime that the part has to have, empty for any; LEAVES: temporary
# file; START, MIDDLE, END: the record but for the file's stamps
pool_commit() {
    pool_part=$1 pool_path=$2 pool_kept=$3 pool_oldest=$4 pool_id=$5 pool_loose=$6 pool_sync=$7
    pool_meta=${2%/*}/.pool
    pool_base=$pool_meta/${2##*/}
    pool_mine=$pool_base.next-$pool_id
    pool_wanted=$8
    shift 8
    [ "$pool_sync" != yes ] || pool_beats "$pool_patience"
    pool_place "$@"
    pool_s=$?
    [ "$pool_sync" != yes ] || pool_still
    return "$pool_s"
}

# LOOSENED LEAVES START MIDDLE END; whenever this ends, the old file is there with its record, or
# the new one with its pending or its committed one
pool_place() {
    chmod a-wxst -- "$pool_part" || return
    [ "$pool_sync" != yes ] || sync -- "$pool_part" || return
    pool_stamp "$pool_part" || return
    if [ -n "$pool_wanted" ] && [ "$pool_file" != "$pool_wanted" ]; then
        printf '+changed\n'
        return 1
    fi
    pool_made=$pool_json pool_same=$pool_file
    pool_put "$pool_mine.tmp" "$3$pool_made$4null$5" || return
    pool_rename "$pool_mine.tmp" "$pool_mine" "$pool_sync" || return
    # these are the old file's
    [ ! -e "$pool_base.leaves" ] || rm -f -- "$pool_base.leaves"
    if [ -e "$pool_path" ] && [ ! -L "$pool_path" ]; then
        pool_supersede "$1" || return
    else
        mv -fT -- "$pool_part" "$pool_path" || return
    fi
    pool_d=${pool_path%/*}
    [ "$pool_sync" != yes ] || sync -- "${pool_d:-/}" || return
    pool_settle "$3" "$4" "$5" || printf '+pending\n'
    [ -z "$2" ] || pool_rename "$2" "$pool_base.leaves" no || printf '+leafless\n'
}

# Replace a file: LOOSENED
pool_supersede() {
    if [ -n "$1" ]; then
        pool_put "$pool_loose.tmp" "$1" || return
        pool_rename "$pool_loose.tmp" "$pool_loose" "$pool_sync" || return
    fi
    pool_s=kept
    pool_trash "$pool_kept" "$pool_oldest" && ln -T -- "$pool_path" "$pool_kept" || pool_s=lost
    mv -fT -- "$pool_part" "$pool_path" || return
    if [ "$pool_s" = lost ]; then
        printf '+unkept\n'
    else
        pool_keep "$pool_kept"
    fi
    [ -z "$1" ] || rm -f -- "$pool_loose"
}

# Learn a file's stamp, and what its file system's clock said just before: [PROBE] FILE
pool_stamp() {
    pool_o=$(stat -L -c '%i %s %.9Y %.9Z' -- "$@") || return
    set -- $pool_o
    pool_clock=${4%.*}${4#*.}
    [ $# = 4 ] || shift 4
    pool_file="$1 $2 ${3%.*}${3#*.}"
    pool_changed=${4%.*}${4#*.}
    pool_json="{\"inode\": $1, \"size\": $2, \"mtime_ns\": ${3%.*}${3#*.}"
    pool_json="$pool_json, \"ctime_ns\": $pool_changed}"
}

# Commit the record of a file that is in place: START MIDDLE END
pool_settle() {
    pool_probe=$pool_meta/.clock-$pool_id.tmp
    pool_trusted=null
    for pool_i in 1 2 3 4; do
        printf x >"$pool_probe" && pool_stamp "$pool_probe" "$pool_path" || return
        if [ "$pool_clock" -gt "$pool_changed" ]; then
            pool_trusted=$pool_json
            break
        fi
        sleep 0.005
    done
    if [ "$pool_file" != "$pool_same" ]; then
        # another writer came after us, its record counts
        rm -f -- "$pool_probe" "$pool_mine"
        return
    fi
    pool_put "$pool_base.json.$pool_id.tmp" "$1$pool_made$2$pool_trusted$3" || return
    pool_rename "$pool_base.json.$pool_id.tmp" "$pool_base.json" "$pool_sync" || return
    [ "$pool_trusted" = null ] || printf '+stamp %s %s\n' "$pool_file" "$pool_changed"
    set +f
    set -- "$pool_base".next-$pool_16
    set -f
    if [ $# -gt 1 ]; then
        # one of them may still write its record over ours, or ours went over its record just now:
        # ours has to stay findable, and so that it sees others, also if its file is there by now
        pool_stamp "$pool_path" && pool_stale "$@"
        pool_mine=$pool_probe
    fi
    rm -f -- "$pool_probe" "$pool_mine"
}

# Drop records of writers that never committed: FILE...
pool_stale() {
    for pool_p in "$@"; do
        pool_x=$(stat -c %Y -- "$pool_p") && [ $((${pool_clock%?????????} - pool_x)) -gt 3600 ] &&
            rm -f -- "$pool_p"
    done
}
