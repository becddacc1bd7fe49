# --- changing a few bytes of states; told to a shell when it is first needed

# Print how files begin: BYTES FILE...
pool_begins() {
    pool_begin=$1
    shift
    pool_each 'pool_texts "$pool_begin"' "$@"
}

# Look at all files that may be states, root images or locks by their endings: ROOT
pool_others() {
    set +f
    set -- "$1"/*.qcow2 "$1"/*.state "$1"/*.lock \
        "$1"/*/*.qcow2 "$1"/*/*.state "$1"/*/*.lock \
        "$1"/*/*/*.qcow2 "$1"/*/*/*.state "$1"/*/*/*.lock \
        "$1"/*/*/*/*.qcow2 "$1"/*/*/*/*.state "$1"/*/*/*/*.lock \
        "$1"/*/*/*/*/*.qcow2 "$1"/*/*/*/*/*.state "$1"/*/*/*/*/*.lock
    set -f
    pool_each 'stat --printf "$pool_status" --' "$@"
}

# Tell the sha256 of a file as if some bytes of it were others: FILE AT COUNT BASE64
pool_sum_changed() {
    pool_beats 1000000
    pool_o=$({
        head -c "$2" -- "$1"
        printf %s "$4" | base64 -d
        tail -c "+$(($2 + $3 + 1))" -- "$1"
    } | sha256sum)
    pool_still
    printf '+sum %s\n' "${pool_o%% *}"
}

# Print bytes of a file as base64: FILE AT COUNT
pool_bytes() {
    dd "if=$1" "bs=$3" count=1 "skip=$2" iflag=skip_bytes,fullblock status=none | base64 -w0
}

# Write some bytes of a file in one step, if it still is what it was: FILE STAMP AT COUNT OLD NEW FSYNC
# STAMP: inode, size and mtime; OLD, NEW: base64
pool_change() {
    pool_mode=
    if [ "$(pool_bytes "$1" "$3" "$4")" != "$6" ]; then
        pool_stamp "$1" || return
        if [ "$pool_file" != "$2" ] || [ "$(pool_bytes "$1" "$3" "$4")" != "$5" ]; then
            printf '+changed\n'
            return 1
        fi
        if [ ! -w "$1" ]; then
            pool_mode=$(stat -L -c %a -- "$1") && chmod u+w -- "$1" || return
        fi
        printf %s "$6" | base64 -d | dd "of=$1" "bs=$4" count=1 iflag=fullblock "seek=$3" \
            oflag=seek_bytes conv=notrunc,nocreat status=none
        [ -z "$pool_mode" ] || chmod "$pool_mode" -- "$1"
        [ "$(pool_bytes "$1" "$3" "$4")" = "$6" ] || return
    fi
    [ "$7" != yes ] || sync -- "$1"
}

# Tell a file's stamp once every later change of it will show in it: FILE PROBE
pool_trusted() {
    for pool_i in 1 2 3 4; do
        printf x >"$2" && pool_stamp "$2" "$1" || return
        if [ "$pool_clock" -gt "$pool_changed" ]; then
            printf '+stamp %s %s\n' "$pool_file" "$pool_changed"
            break
        fi
        sleep 0.005
    done
    rm -f -- "$2"
}
