# The far side of plain.py and rsync.py: content sent and received by a POSIX shell with GNU tools.
#
# An answer is a line: the token, a word, what belongs to it. Other lines are noise. Content follows
# and precedes answers as bytes of known number. The file that is filled is locked by descriptor 9,
# the one that is read is descriptor 8.

LC_ALL=C
export LC_ALL
unset QUOTING_STYLE
set -f

pool_nl='
'
pool_format='%i %s %.9Y %.9Z'
# seconds between beats, and how many are enough for what can't be watched: sync, cp
pool_every=0.5
pool_few=1800
pool_many=14400

pool_say() {
    printf '%s %s\n' "$pool_token" "$*"
}

pool_bad() {
    pool_say bad "${1%%"$pool_nl"*}"
}

# TOKEN
pool_hello() {
    pool_token=$1
    for pool_x in cp dd head sha256sum sleep stat sync truncate; do
        command -v "$pool_x" >/dev/null || pool_say lacks "$pool_x"
    done
    # twice as fast where it is
    pool_sha256=sha256sum
    case $(openssl dgst -sha256 2>/dev/null </dev/null) in
    *e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855)
        pool_sha256='openssl dgst -sha256'
        ;;
    esac
    pool_say hello "$$"
}

pool_release() {
    exec 8<&- 9>&-
}

pool_close() {
    pool_release
    pool_say closed
}

# Say now and then that something goes on, until pool_still: MOST [watch]
# watch: only while descriptor 8 moves on
pool_beats() {
    pool_beating "$@" 9>&- &
    pool_beater=$!
}

pool_still() {
    kill "$pool_beater" 2>/dev/null
    wait "$pool_beater" 2>/dev/null
    return 0
}

pool_beating() {
    trap '' PIPE
    pool_left=$1
    pool_was=
    while [ "$pool_left" -gt 0 ]; do
        pool_left=$((pool_left - 1))
        sleep "$pool_every" </dev/null >/dev/null 2>&1 8<&- || exit
        # field 4 is the parent
        read -r pool_x 2>/dev/null </proc/self/stat || exit
        case ${pool_x##*) } in
        ?" $$ "*) ;;
        *) kill -9 0 ;;
        esac
        if [ $# = 2 ]; then
            read -r pool_x pool_o 2>/dev/null </proc/self/fdinfo/8 || exit
            [ "$pool_o" != "$pool_was" ] || continue
            pool_was=$pool_o
        fi
        # nobody listens: what goes on here is for nothing and holds the lock
        { pool_say beat; } 2>/dev/null || kill -9 0
    done
}

# Hash what descriptor 8 has: [BYTES of it]
pool_hash() {
    pool_beats 1000000 watch
    if [ $# = 1 ]; then
        pool_o=$(head -c "$1" <&8 | $pool_sha256)
    else
        pool_o=$($pool_sha256 <&8 2>&1)
    fi
    pool_x=$?
    pool_still
    # one says so before and one after it what it is of
    [ "$pool_x" != 0 ] || pool_o=${pool_o##*= } pool_o=${pool_o%% *}
    pool_say sum "${pool_o%%"$pool_nl"*}"
}

# Open a file to read it: FILE
pool_read() {
    pool_o=$({ : <"$1"; } 2>&1) && command exec 8<"$1" && return
    pool_bad "$pool_o"
    return 1
}

# --- content for here

# Open, make and lock a part: FILE
pool_open() {
    pool_release
    for pool_i in 1 2 3 4 5; do
        pool_o=$(stat -c %F -- "$1" 2>/dev/null)
        case $pool_o in
        '' | 'regular file' | 'regular empty file') ;;
        *)
            pool_bad "not a regular file but a $pool_o"
            return
            ;;
        esac
        # whoever was cut off just before the end had made it read-only already
        [ ! -f "$1" ] || [ -w "$1" ] || chmod u+w -- "$1" 2>/dev/null
        if ! pool_o=$({ : <>"$1"; } 2>&1) || ! command exec 9<>"$1"; then
            pool_bad "$pool_o"
            return
        fi
        if command -v flock >/dev/null; then
            flock -n 9
            [ $? != 1 ] || break
        fi
        # who had the lock before may have put the file where it belongs
        pool_o=$(stat -c '%d %i %s' -- - "$1" <&9) &&
            [ "${pool_o%%"$pool_nl"*}" = "${pool_o##*"$pool_nl"}" ] || continue
        pool_say part "${pool_o##* }"
        return
    done
    pool_release
    pool_say busy
}

# Hash the begin of a part: FILE BYTES
pool_begin() {
    pool_read "$1" || return
    pool_hash "$2"
    exec 8<&-
}

# Cut a part off and fill stretches of it with what comes in: FILE BYTES, where and how much in turn
pool_fill() {
    if ! pool_o=$(truncate -c -s "$2" -- "$1" 2>&1); then
        pool_bad "$pool_o"
        return
    fi
    pool_p=$1
    shift 2
    pool_say ready
    while [ $# -gt 0 ]; do
        pool_o=$(dd "of=$pool_p" bs=64K "seek=$1" "count=$2" status=none oflag=seek_bytes \
            iflag=fullblock,count_bytes conv=notrunc,nocreat,sparse 2>&1) || pool_give_up "$pool_o"
        shift 2
    done
    pool_say filled
}

# What comes in now is content of an unknown number of bytes: never take it for commands.
pool_give_up() {
    pool_say lost "${1%%"$pool_nl"*}"
    pool_release
    exec cat >/dev/null
}

# Say what a part contains: FILE BYTES FSYNC
pool_finish() {
    if ! pool_o=$(truncate -c -s "$2" -- "$1" 2>&1); then
        pool_bad "$pool_o"
        return
    fi
    if [ "$3" = yes ]; then
        pool_beats "$pool_few"
        pool_o=$(sync -- "$1" 2>&1)
        pool_x=$?
        pool_still
        if [ "$pool_x" != 0 ]; then
            pool_bad "$pool_o"
            return
        fi
    fi
    pool_read "$1" || return
    pool_hash
    pool_stamp
    exec 8<&-
}

# Make a part a copy: FILE OLD
pool_copy() {
    pool_beats "$pool_many"
    pool_o=$(cp --reflink=auto --sparse=always -- "$2" "$1" 2>&1)
    pool_x=$?
    pool_still
    if [ "$pool_x" = 0 ]; then
        pool_say copied
    else
        pool_bad "$pool_o"
    fi
}

# Make zeros of a part holes where they take room: FILE, and of how many 512 bytes that is
pool_dig() {
    pool_x=$(stat -c %b -- "$1") || pool_x=0
    if [ "$pool_x" -gt "$2" ] && command -v fallocate >/dev/null; then
        pool_beats "$pool_many"
        fallocate --dig-holes -- "$1" 2>/dev/null
        pool_still
    fi
    pool_say dug
}

# --- content from here

# Open a file: FILE
pool_source() {
    pool_release
    if ! pool_o=$(stat -L -c %F -- "$1" 2>&1); then
        pool_bad "$pool_o"
        return
    fi
    case $pool_o in
    'regular file' | 'regular empty file') ;;
    *)
        pool_bad "not a regular file but a $pool_o"
        return
        ;;
    esac
    pool_read "$1" && pool_stamp
}

# Tell what changes when the file does.
pool_stamp() {
    pool_say stamp "$(stat -c "$pool_format" -- - <&8)"
}

# Tell how much of the file is no hole: blocks, and bytes of one.
pool_allocated() {
    pool_say allocated "$(stat -c '%b %B' -- - <&8)"
}

# Send a stretch of the file, and after each CHUNK of bytes how much of them there was: FROM TO CHUNK
pool_send() {
    exec 3>&1
    pool_at=$1
    while [ "$pool_at" -lt "$2" ]; do
        pool_n=$(($2 - pool_at))
        [ "$pool_n" -le "$3" ] || pool_n=$3
        pool_o=$(dd if=/proc/self/fd/8 bs=1M "skip=$pool_at" "count=$pool_n" \
            iflag=fullblock,count_bytes,skip_bytes 2>&1 >&3 3>&-)
        # the last line begins with the number of bytes, if it came to reading any
        pool_x=${pool_o##*"$pool_nl"}
        pool_x=${pool_x%% *}
        case $pool_x in
        '') exit 1 ;;
        *[!0-9]*) pool_x=0 ;;
        esac
        [ "$pool_x" = "$pool_n" ] || head -c "$((pool_n - pool_x))" /dev/zero
        pool_say sent "$pool_x" "${pool_o%%"$pool_nl"*}"
        [ "$pool_x" = "$pool_n" ] || break
        pool_at=$((pool_at + pool_n))
    done
    exec 3>&-
}
